import pytest
from conftest import REPOSITORY, params_with

from nomosaurus.errors import ParamsError
from nomosaurus.params import load_params


def written(tmp_path, change) -> str:
    """The one line that a changed params.yaml gets."""
    path = tmp_path / "params.yaml"
    path.write_text(change((REPOSITORY / "params.yaml").read_text("utf-8")), "utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    return message


def test_the_repositorys_own_params_are_accepted():
    load_params(REPOSITORY / "params.yaml")


def test_wrong_type_names_key_rule_and_value(tmp_path):
    message = written(tmp_path, lambda text: text.replace("hidden_size: ", "hidden_size: big #"))
    assert "model.hidden_size must be a whole number, got 'big'" in message


def test_whole_number_is_not_silently_taken_for_true(tmp_path):
    message = written(tmp_path, lambda text: text.replace("lowercase: true", "lowercase: 1"))
    assert "data.lowercase must be true or false, got 1" in message


def test_out_of_range_names_the_range(tmp_path):
    message = written(tmp_path, lambda text: text.replace("top_p: 1.0", "top_p: 1.5"))
    assert "sample.top_p must be less than or equal to 1, got 1.5" in message


def test_unknown_key_names_the_one_that_was_meant(tmp_path):
    message = written(tmp_path, lambda text: text.replace("hidden_size:", "hiden_size:"))
    assert "unknown key model.hiden_size" in message
    assert "did you mean hidden_size?" in message


def test_missing_key_is_named(tmp_path):
    message = written(tmp_path, lambda text: text.replace("  cell: ", "  # cell: "))
    assert "model.cell is missing" in message


@pytest.mark.parametrize("value", ["2", "most"])
def test_number_or_word_names_the_numbers_rule(tmp_path, value):
    message = written(tmp_path, lambda t: t.replace("ngram_weight: auto", f"ngram_weight: {value}"))
    assert "model.ngram_weight must be" in message


def test_choice_lists_what_there_is(tmp_path):
    message = written(tmp_path, lambda text: text.replace("device: auto", "device: tpu"))
    assert "train.device must be 'auto', 'cpu', 'cuda' or 'mps', got 'tpu'" in message


def test_key_given_twice_is_refused(tmp_path):
    message = written(tmp_path, lambda text: text + "\nseed: 2\n")
    assert "line" in message
    assert "duplicate key" in message


def test_broken_yaml_names_the_line(tmp_path):
    message = written(tmp_path, lambda text: text + "\n]\n")
    assert "not valid YAML" in message


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
    text = (REPOSITORY / "params.yaml").read_text("utf-8")
    before = f"learning_rate: {params_with().train.learning_rate}"
    assert before in text
    path.write_text(text.replace(before, "learning_rate: 1e-3"), "utf-8")
    assert load_params(path).train.learning_rate == 0.001


def test_params_do_not_change_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        params_with().model.hidden_size = 5


def test_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="run from the repository's root"):
        load_params(tmp_path / "params.yaml")
