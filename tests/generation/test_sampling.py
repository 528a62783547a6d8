import math
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import NAMES, make_model, params_with, with_fixed_logits

from nomosaurus.generation.sampling import BLOCK, Drawer, Drawing, choose, draw_samples, restrict
from nomosaurus.model.mixture import Mixture, fit_mixture
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe
from nomosaurus.training.loop import train_network
from nomosaurus.training.processes import member_tasks

LOGITS = torch.tensor([[1.0, 2.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])


def first(model, count, seed=0, **drawing):
    return list(islice(draw_samples(model.mixture, Drawing(**drawing), seed), count))


def test_temperature_worked_by_hand():
    # Logits 0 and log 4 at temperature 2: 1 and 4 ** 0.5 = 2, so one third and two thirds.
    logits = torch.tensor([[0.0, math.log(4)]])
    expected = torch.tensor([[1 / 3, 2 / 3]])
    torch.testing.assert_close(restrict(logits, Drawing(temperature=2)), expected)


def test_top_k_leaves_the_k_likeliest_in_proportion():
    probabilities = restrict(LOGITS, Drawing(top_k=2))
    assert (probabilities > 0).tolist() == [[False, True, False, True], [True, True, False, False]]
    plain = restrict(LOGITS, Drawing())
    assert probabilities[0, 3] / probabilities[0, 1] == pytest.approx(
        (plain[0, 3] / plain[0, 1]).item()
    )


def test_top_p_leaves_the_fewest_that_reach_it():
    # Softmax of 1, 2, 0, 3: 0.087, 0.237, 0.032, 0.644. To reach 0.7 it takes two, and for
    # 0.64 one is enough. Of four equal quarters, 0.7 takes three.
    kept = (restrict(LOGITS, Drawing(top_p=0.7)) > 0).sum(1)
    assert kept.tolist() == [2, 3]
    assert (restrict(LOGITS, Drawing(top_p=0.64)) > 0).sum(1).tolist() == [1, 3]


@pytest.mark.parametrize("drawing", [Drawing(top_k=1), Drawing(top_p=1e-9), Drawing(top_k=99)])
def test_some_character_is_always_left(drawing):
    torch.testing.assert_close(restrict(LOGITS, drawing).sum(1), torch.ones(2))


def test_choice_inverts_the_distribution():
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.75]] * 5, dtype=torch.double)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.9, np.nextafter(1, 0)], dtype=torch.double)
    assert choose(probabilities, uniform).tolist() == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("count", [1, 10, BLOCK, BLOCK + 1])
def test_fewer_samples_are_the_head_of_more(count):
    model = make_model()
    many = first(model, 2 * BLOCK + 50)
    for one, other in zip(first(model, count), many, strict=False):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.log_prob == other.log_prob


def test_seeds_give_different_names():
    model = make_model()
    names = {tuple(s.ids.tolist()) for seed in range(3) for s in first(model, 3, seed)}
    assert len(names) > 3


@pytest.mark.slow
def test_frequencies_follow_the_distribution():
    # Every step: the end 0.5, a 0.3, b 0.2. So "" is drawn with 0.5, "a" with 0.15.
    model = make_model(["ab", "ba"])
    fixed = with_fixed_logits(model, np.log([0.5, 0.3, 0.2]).tolist())
    drawn = [tuple(s.ids.tolist()) for s in first(fixed, 20_000)]
    for ids, p in {(): 0.5, (1,): 0.15, (2,): 0.1, (1, 2): 0.03}.items():
        deviation = np.sqrt(p * (1 - p) / len(drawn))
        assert abs(drawn.count(ids) / len(drawn) - p) < 5 * deviation


@pytest.mark.slow
def test_log_probability_is_the_models_own():
    model = make_model()
    samples = first(model, 300, temperature=0.7, top_k=3, prefixes=((1, 2),))
    assert any(s.ended for s in samples)
    for sample in samples:
        if sample.ended:
            text = model.vocabulary.decode(sample.ids)
            name = EncodedNames.from_names([text], model.vocabulary)
            assert -sample.log_prob == pytest.approx(model.mixture.name_nats(name)[0], abs=1e-4)


def test_every_name_begins_with_the_prefix():
    assert all(s.ids[:2].tolist() == [3, 1] for s in first(make_model(), 50, prefixes=((3, 1),)))


def shares(mixture, **drawing):
    """The probability that each of all samples is drawn with, by its ids and whether it ended."""
    drawer = Drawer(mixture, Drawing(**drawing), seed=0)
    found = {}
    while not drawer.is_dry:
        samples = drawer.draw()
        drawer.leave_out(samples)
        found |= {(tuple(s.ids.tolist()), s.ended): s.share for s in samples}
    assert sum(found.values()) == pytest.approx(1, abs=1e-4)
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("categories", [None, {"ab": "x", "ba": "y", "bb": "x"}])
def test_several_prefixes_give_the_distribution_of_names_that_begin_with_any(
    temperature, categories
):
    # Every name of two letters or fewer, and all that is longer, is drawn once with prefixes and
    # once without. Its share with them is its share without, over that of all that begin so.
    mixture = make_model(["ab", "ba", "bb"], categories).mixture
    everything = shares(mixture, max_length=2, temperature=temperature)
    prefixes = ((1,), (2, 1))  # a, ba
    wanted = {
        name: share
        for name, share in everything.items()
        if any(name[0][: len(prefix)] == prefix for prefix in prefixes)
    }
    assert len(wanted) == 1 + 2 * 2 + 2  # a; aa and ab, ended or not; ba, ended or not
    total = sum(wanted.values())
    found = shares(mixture, prefixes=prefixes, max_length=2, temperature=temperature)
    assert found.keys() == wanted.keys()
    for name, share in found.items():
        assert share == pytest.approx(wanted[name] / total, rel=1e-4)


def test_names_of_several_prefixes_come_in_proportion_with_some_left_out():
    # Every step: the end 0.5, a 0.3, b 0.2. Of what begins with a (0.3) or ba (0.06), "a" (0.15)
    # is left out; of the 0.21 that is left, 0.06 begins with ba.
    drawer = Drawer(fixed_model().mixture, Drawing(prefixes=((1,), (2, 1))), seed=1)
    drawer.leave_out([s for s in drawer.draw() if s.ids.tolist() == [1]])
    assert drawer.share_left_out == pytest.approx(0.15 / 0.36)
    drawn = [tuple(s.ids.tolist()) for _ in range(20) for s in drawer.draw()]
    assert (1,) not in drawn
    for ids, p in {(2, 1): 0.03 / 0.21, (1, 1): 0.045 / 0.21, (2, 1, 2): 0.006 / 0.21}.items():
        deviation = np.sqrt(p * (1 - p) / len(drawn))
        assert abs(drawn.count(ids) / len(drawn) - p) < 5 * deviation, ids


def test_a_prefix_is_not_subject_to_top_k():
    # The likeliest alone is the end: so each prefix is a whole name, drawn with its own share.
    found = shares(fixed_model().mixture, prefixes=((1,), (2, 1)), top_k=1)
    expected = {((1,), True): 0.3 / 0.36, ((2, 1), True): 0.06 / 0.36}
    assert found == pytest.approx(expected)


def test_a_name_at_the_limit_is_marked_unless_it_ends_there():
    model = make_model(["ab", "ba"])
    endless = with_fixed_logits(model, [-1e9, 0.0, 0.0])
    for sample in first(endless, 5, max_length=4):
        assert len(sample.ids) == 4
        assert not sample.ended
    likely_end = with_fixed_logits(model, [0.0, 0.0, 0.0])
    full = [s for s in first(likely_end, 2000, max_length=2) if len(s.ids) == 2]
    # With room for two letters, a third of those with two end right there.
    share = np.mean([s.ended for s in full])
    assert abs(share - 1 / 3) < 5 * np.sqrt(2 / 9 / len(full))


def test_prefix_as_long_as_the_limit():
    samples = first(make_model(), 20, prefixes=((1, 1),), max_length=2)
    assert all(s.ids.tolist() == [1, 1] for s in samples)


def fixed_model():
    """Every step: the end 0.5, a 0.3, b 0.2."""
    return with_fixed_logits(make_model(["ab", "ba"]), np.log([0.5, 0.3, 0.2]).tolist())


def test_a_sample_knows_the_probability_that_it_was_drawn_with():
    for sample in first(fixed_model(), 200, max_length=3):
        letters = 0.3 ** (sample.ids == 1).sum() * 0.2 ** (sample.ids == 2).sum()
        assert sample.share == pytest.approx(letters * 0.5)  # to end has 0.5, and so has not to
    # Of the end and a alone, at temperature 1/2: 25 / 34 and 9 / 34.
    for sample in first(fixed_model(), 50, temperature=0.5, top_k=2):
        assert sample.share == pytest.approx((9 / 34) ** len(sample.ids) * 25 / 34)


def test_what_was_left_out_is_drawn_no_more_and_the_rest_in_proportion():
    # Without "" (0.5), "a" (0.15) and what is longer than 2 (0.125), 0.225 is left.
    drawer = Drawer(fixed_model().mixture, Drawing(max_length=2), seed=0)
    unwanted = [s for s in drawer.draw() if not s.ended or s.ids.tolist() in ([], [1])]
    drawer.leave_out(unwanted)
    assert drawer.share_left_out == pytest.approx(0.775)
    drawn = [s for _ in range(40) for s in drawer.draw()]
    assert all(s.ended for s in drawn)
    names = [tuple(s.ids.tolist()) for s in drawn]
    assert () not in names
    assert (1,) not in names
    for ids, p in {(2,): 0.1, (1, 1): 0.045, (1, 2): 0.03, (2, 1): 0.03, (2, 2): 0.02}.items():
        p /= 0.225
        deviation = np.sqrt(p * (1 - p) / len(names))
        assert abs(names.count(ids) / len(names) - p) < 5 * deviation, ids


@pytest.mark.slow
def test_drawing_without_replacement_has_the_exact_order_of_names():
    # Of "", a, b (longer names left out), the chance that one comes first and another second is
    # p * q / (1 - p), with p and q among 0.5, 0.15 and 0.1 of 0.75.
    mixture = fixed_model().mixture
    orders = []
    for seed in range(300):
        drawer = Drawer(mixture, Drawing(max_length=1), seed)
        order: list[tuple[int, ...]] = []
        drawer.leave_out([s for s in drawer.draw() if not s.ended])
        while len(order) < 3:
            samples = drawer.draw()
            order += [tuple(s.ids.tolist()) for s in samples]
            order = list(dict.fromkeys(order))
            drawer.leave_out(samples)
        orders.append(tuple(order[:2]))
    shares = {(): 0.5 / 0.75, (1,): 0.15 / 0.75, (2,): 0.1 / 0.75}
    for one, p in shares.items():
        for other, q in shares.items():
            if one != other:
                expected = p * q / (1 - p)
                deviation = np.sqrt(expected * (1 - expected) / len(orders))
                assert abs(orders.count((one, other)) / len(orders) - expected) < 5 * deviation


def test_a_drawer_runs_dry_when_all_was_drawn():
    drawer = Drawer(fixed_model().mixture, Drawing(max_length=2), seed=3)
    blocks = 0
    while not drawer.is_dry:
        drawer.leave_out(drawer.draw())
        blocks += 1
    assert blocks < 5
    assert drawer.share_left_out == pytest.approx(1)
    assert drawer.draw() == []


@pytest.fixture(scope="module")
def trained() -> Mixture:
    """Networks that have learnt that names of category x begin with a, those of y with b."""
    names = [letter + name for letter in "ab" for name in NAMES]
    of = {name: "x" if name[0] == "a" else "y" for name in names[5:]}  # 5 of x, 10 of y
    names = list(of)
    vocabulary = Vocabulary.from_names(names, of)
    encoded = EncodedNames.from_names(names, vocabulary, of)
    params = params_with(
        model={"members": 1, "ngram_weight": 0.0, "dropout": 0.0, "state_dropout": 0.0},
        train={"max_epochs": 100, "patience": 100, "batch_size": 4, "learning_rate": 0.02},
    )
    recipe = Recipe.for_list(params, len(names))
    tasks = member_tasks(encoded, encoded, vocabulary, recipe, torch.device("cpu"))
    networks = [train_network(task).network for task in tasks]
    return fit_mixture(networks, encoded, encoded, recipe.model)


def test_names_follow_the_category_that_is_given(trained):
    for category in (0, 1):
        drawn = list(islice(draw_samples(trained, Drawing(category=category), 0), 500))
        first_letters = np.array([sample.ids[0] if len(sample.ids) else 0 for sample in drawn])
        assert (first_letters == category + 1).mean() > 0.95


def test_without_a_category_each_has_its_share(trained):
    drawn = list(islice(draw_samples(trained, Drawing(), 0), 4000))
    state = trained.initial_state(1)
    p = trained.step(np.zeros(1, dtype=np.int64), state)[0].exp()[0, 1].item()
    given = [
        trained.step(np.zeros(1, dtype=np.int64), trained.initial_state(1, np.array([c])))[0]
        for c in (0, 1)
    ]
    by_hand = given[0].exp()[0, 1] / 3 + given[1].exp()[0, 1] * 2 / 3
    assert p == pytest.approx(by_hand.item())
    share = np.mean([len(sample.ids) > 0 and sample.ids[0] == 1 for sample in drawn])
    assert abs(share - p) < 5 * np.sqrt(p * (1 - p) / len(drawn))


def test_a_prefix_tells_what_the_category_may_be(trained):
    # Of the names that begin with b nearly all are of y, so what follows is as if y were given.
    def second(category):
        state = trained.initial_state(1, None if category is None else np.array([category]))
        for i in (0, 2):
            log_probs, state = trained.step(np.array([i]), state)
        return log_probs.exp()[0]

    assert (second(None) - second(1)).abs().max() < (second(None) - second(0)).abs().max() / 5
