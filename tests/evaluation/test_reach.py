import numpy as np
import pytest
from conftest import NAMES, in_numpy, make_model

from nomosaurus.evaluation.reach import FARTHEST, gradient_reach
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.params import CELLS


def test_the_gradient_of_an_rnn_is_what_the_equations_give():
    model = make_model(cell="rnn", members=1)
    (network,) = model.mixture.networks
    name = model.train.select(np.array([0]))
    ids, targets = [0, *name[0]], [*name[0], 0]
    a, _, y = in_numpy(network, ids)
    weights = {n.rpartition(".")[2]: p.detach().numpy() for n, p in network.named_parameters()}
    norms: list[list[float]] = [[] for _ in ids]
    for t, target in enumerate(targets):
        gradient = (y[t] - np.eye(len(y[t]))[target]) @ weights["W_ya"]  # dL_t / da_t
        for d in range(t + 1):
            norms[d].append(float(np.linalg.norm(gradient)))
            gradient = (gradient * (1 - a[t - d] ** 2)) @ weights["W_aa"]
    wanted = [np.mean(found) for found in norms[: FARTHEST + 1]]
    assert gradient_reach(network, name) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_it_reaches_as_far_as_the_names_are_long_and_no_farther(cell):
    model = make_model(cell=cell, num_layers=2)
    vocabulary = model.vocabulary
    short = EncodedNames.from_names([NAMES[0][:2]], vocabulary)
    assert len(gradient_reach(model.mixture.networks[0], short)) == 3
    long = EncodedNames.from_names([NAMES[0] * 9], vocabulary)
    assert len(gradient_reach(model.mixture.networks[0], long)) == FARTHEST + 1


def test_a_character_that_it_does_not_know_has_no_gradient():
    model = make_model()
    names = [EncodedNames.from_names([name], model.vocabulary) for name in ("ö", "")]
    reach = [gradient_reach(model.mixture.networks[0], name) for name in names]
    assert len(reach[0]) == 2 and np.isfinite(reach[0]).all()
