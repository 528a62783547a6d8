import math

import pytest
from conftest import FROZEN, REPOSITORY, params_with

from nomosaurus.errors import ParamsError
from nomosaurus.params import Recipe, auto_batch_size, load_params, parse_params


def written(tmp_path, change) -> str:
    """The one line that a changed params.yaml gets."""
    path = tmp_path / "params.yaml"
    text = (FROZEN / "params.yaml").read_text("utf-8")
    changed = change(text)
    assert changed != text
    path.write_text(changed, "utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    return message


def test_the_repositorys_own_params_are_accepted():
    load_params(REPOSITORY / "params.yaml")


@pytest.mark.parametrize(
    "value, instead, said",
    [
        ("num_layers: ", "num_layers: big #", "model.num_layers must be a whole number, got 'big'"),
        ("lowercase: true", "lowercase: 1", "data.lowercase must be true or false, got 1"),
        ("top_p: 1.0", "top_p: 1.5", "sample.top_p must be less than or equal to 1, got 1.5"),
        (
            "hidden_size:",
            "hiden_size:",
            "unknown key model.hiden_size (value 'auto'); did you mean hidden_size?",
        ),
        ("  cell: ", "  # cell: ", "model.cell is missing"),
    ],
)
def test_a_wrong_value_names_key_rule_and_value(tmp_path, value, instead, said):
    assert said in written(tmp_path, lambda text: text.replace(value, instead))


@pytest.mark.parametrize(
    ("line", "wrong", "message"),
    [
        (
            "  temperature: 0.7",
            "  # temperature: 0.7",
            "sample.temperature is missing; every value has its place in params.yaml",
        ),
        (
            "temperature: 0.7",
            "temprature: 0.7",
            "unknown key sample.temprature (value 0.7); did you mean temperature?",
        ),
        (
            "prefix: ''",
            "prefix: 7",
            "sample.prefix must be text (quote it if it looks like a number)",
        ),
        ("avoid: []", "avoid: rex", "sample.avoid must be a list, got 'rex'"),
        ("given: ''", "given:", "sample.given must be text"),
        (
            "max_length: 0 ",
            "max_length: 4 #",
            "sample.max_length must be at least min_length, got 4 with min_length 5",
        ),
    ],
)
def test_what_is_sampled_has_no_default_and_the_rules_of_a_request(tmp_path, line, wrong, message):
    def change(text):
        assert line in text
        return text.replace(line, wrong).replace("min_length: 1 ", "min_length: 5 ")

    assert message in written(tmp_path, change)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("ngram_weight", "2", "must be less than or equal to 1, got 2"),
        ("ngram_weight", "most", "must be a number or 'auto', got 'most'"),
        ("hidden_size", "0", "must be greater than or equal to 1, got 0"),
        ("hidden_size", "big", "must be a whole number or 'auto', got 'big'"),
        ("hidden_size", "1.5", "must be a whole number or 'auto', got 1.5"),
    ],
)
def test_number_or_auto_names_the_rule(tmp_path, key, value, rule):
    message = written(tmp_path, lambda t: t.replace(f"{key}: auto", f"{key}: {value}"))
    assert f"model.{key} {rule}" in message


def test_choice_lists_what_there_is(tmp_path):
    message = written(tmp_path, lambda text: text.replace("device: auto", "device: tpu"))
    assert "train.device must be 'auto', 'cpu', 'cuda' or 'mps', got 'tpu'" in message


def test_an_encoding_must_be_known(tmp_path):
    message = written(tmp_path, lambda text: text.replace("encoding: auto", "encoding: utf-9"))
    assert "data.encoding must be auto, or an encoding such as cp1252, got 'utf-9'" in message
    for no_text in ("rot13", "base64"):
        message = written(
            tmp_path, lambda text, no=no_text: text.replace("encoding: auto", f"encoding: {no}")
        )
        assert "data.encoding must be auto" in message


def test_key_given_twice_is_refused(tmp_path):
    message = written(tmp_path, lambda text: text + "\nseed: 2\n")
    assert "line" in message
    assert "duplicate key" in message


def test_broken_yaml_names_the_line(tmp_path):
    message = written(tmp_path, lambda text: text + "\n]\n")
    assert "not valid YAML" in message


@pytest.mark.parametrize(
    ("line", "wrong", "message"),
    [
        ("margin_nats: 0.0", "margin_nats: -0.1", "promote.margin_nats must be greater than or"),
        ("min_novelty: 0.3", "min_novelty: 1.5", "promote.min_novelty must be less than or"),
        ("registered_model: nomosaurus", "registered_model: a/b", "promote.registered_model is"),
    ],
)
def test_what_a_champion_must_show_has_its_ranges(tmp_path, line, wrong, message):
    assert message in written(tmp_path, lambda text: text.replace(line, wrong))


def test_held_out_shares_leave_half_to_learn(tmp_path):
    message = written(
        tmp_path,
        lambda text: text.replace("validation_share: 0.1", "validation_share: 0.3").replace(
            "test_share: 0.1", "test_share: 0.3"
        ),
    )
    assert "must be at most 0.5, got 0.6" in message


def test_exponent_without_a_point_is_a_number(tmp_path):
    path = tmp_path / "params.yaml"
    text = (FROZEN / "params.yaml").read_text("utf-8")
    before = "learning_rate: auto"
    assert before in text
    path.write_text(text.replace(before, "learning_rate: 1e-3"), "utf-8")
    assert load_params(path).train.learning_rate == 0.001


def test_params_do_not_change_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        params_with().model.hidden_size = 5


@pytest.mark.parametrize(
    "section, key",
    [
        *(("model", key) for key in ("hidden_size", "num_layers", "members", "ngram_max_order")),
        *(("train", key) for key in ("max_epochs", "patience", "batch_size", "num_threads")),
        ("train", "clip_norm"),
        ("data", "max_length"),
        ("evaluate", "bootstrap_samples"),
        ("crossvalidate", "folds"),
        *(("sample", key) for key in ("count", "seed", "temperature", "top_k", "min_length")),
        *(("sample", key) for key in ("max_length", "min_distance", "max_bits")),
        ("promote", "margin_nats"),
    ],
)
def test_every_size_has_an_upper_bound(section, key):
    content = load_params(FROZEN / "params.yaml").model_dump()
    for huge in (10**10, 10**40, 10**400, math.inf, math.nan):
        if huge == 10**10 and key == "seed":
            continue
        content[section][key] = (
            huge if isinstance(content[section][key], int | str) else float(min(huge, 1e300))
        )
        with pytest.raises(ParamsError, match=rf"{section}\.{key} must be") as caught:
            parse_params(content, "params.yaml")
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", ["prefix", "match", "avoid"])
def test_texts_have_an_upper_bound_and_are_not_repeated_whole(key):
    content = load_params(FROZEN / "params.yaml").model_dump()
    content["sample"][key] = ["a" * 100_000] if key == "avoid" else "a" * 100_000
    with pytest.raises(ParamsError, match=rf"sample\.{key}.* at most 1000 ") as caught:
        parse_params(content, "params.yaml")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        *("[" * 5000 + "]" * 5000, "{a: " * 5000 + "}" * 5000, "[" * 300 + "]" * 300),
        *("9" * 5000, "2001-99-99", "!!int x", "&a [*a, *a]", "1e999999", "!!binary x"),
    ],
)
def test_no_value_of_yaml_gives_a_traceback(tmp_path, value):
    said = written(
        tmp_path, lambda text: text.replace("hidden_size: auto", f"hidden_size: {value}")
    )
    assert len(said) < 500


def test_aliases_that_stand_for_millions_of_values_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    assert len(written(tmp_path, lambda text: text + "\n".join(lines))) < 500


def test_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match=r'not found; restore it with "git checkout'):
        load_params(tmp_path / "params.yaml")


def settled(num_names: int, **sections) -> Recipe:
    content = load_params(FROZEN / "params.yaml").model_dump()
    for section, values in sections.items():
        content[section] |= values
    return Recipe.for_list(parse_params(content, "params.yaml"), num_names)


def numbers_in(recipe: Recipe) -> list[str]:
    return [
        f"{name}.{key}"
        for name in ("model", "train")
        for key, value in getattr(recipe, name)
        if value == "auto"
    ]


@pytest.mark.parametrize("num_names", [1, 20, 200, 1_128, 5_000, 5_001, 21_163, 10**5, 2 * 10**6])
def test_auto_is_settled_for_lists_of_every_size(num_names):
    recipe = settled(num_names)
    # These two are settled where the model is fitted, and where the device is known.
    assert numbers_in(recipe) == ["model.ngram_weight", "train.device"]
    Recipe.model_validate(recipe.model_dump())
    assert 8 <= recipe.train.batch_size <= 256
    # Hours on two cores are too many: names seen in all, networks together.
    seen = num_names * recipe.train.max_epochs * recipe.model.members
    assert seen <= 20_000_000


def test_auto_batches_leave_about_nine_an_epoch():
    # 9 * 16 = 144 <= 200, 9 * 128 = 1152 is nearest to 1128 among powers of two.
    sizes = [auto_batch_size(n) for n in (1, 40, 200, 1_128, 2_400, 10**7)]
    assert sizes == [8, 8, 16, 128, 256, 256]


def test_a_number_in_params_wins_over_the_lists_size():
    recipe = settled(1_128, model={"members": 3}, train={"batch_size": 50})
    assert (recipe.model.members, recipe.train.batch_size) == (3, 50)
    params = load_params(FROZEN / "params.yaml")
    assert "model.hidden_size" in recipe.settled(params)
