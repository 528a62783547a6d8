"""B batch, T time steps, V vocabulary, H hidden, L layers, C categories."""

import math

import numpy as np
import pytest
import torch
from conftest import in_numpy, params_with

from nomosaurus.model.network import RecurrentNetwork, masked_cross_entropy
from nomosaurus.params import CELLS

V, H, C = 5, 7, 3


def make(cell: str, num_layers: int = 1, num_categories: int = 0) -> RecurrentNetwork:
    params = params_with(model={"cell": cell, "hidden_size": H, "num_layers": num_layers}).model
    network = RecurrentNetwork(params, V, num_categories).double()
    network.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():  # so that a bias that is left out would be seen
        for name, parameter in network.named_parameters():
            if name.endswith(("b_a", "b_y")):
                parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    return network.eval()


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("ids", [[0], [0, 3, 1, 4, 4, 2]])
def test_step_unroll_and_the_equations_agree(cell, num_layers, ids):
    network = make(cell, num_layers)
    *_, expected = in_numpy(network, ids)  # (T, V)
    unrolled = network.unroll(torch.tensor([ids])).softmax(-1)  # (1, T, V)
    assert unrolled.shape == (1, len(ids), V)
    np.testing.assert_allclose(unrolled[0].detach(), expected, atol=1e-12)
    state = network.initial_state(1)
    for i, y in zip(ids, expected, strict=True):
        logits, state = network.step(torch.tensor([i]), state)
        assert logits.shape == (1, V)
        np.testing.assert_allclose(logits[0].softmax(-1).detach(), y, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_step_unroll_and_the_equations_agree_on_categories(cell, num_layers):
    network = make(cell, num_layers, num_categories=C)
    ids = [0, 3, 1, 4]
    known = torch.tensor([2, 0, C])  # the last is not known: a one-hot row of zeros
    unrolled = network.unroll(torch.tensor([ids] * 3), categories=known).softmax(-1)  # (3, T, V)
    state = network.initial_state(3)
    for t, i in enumerate(ids):
        logits, state = network.step(torch.tensor([i] * 3), state, known)
        torch.testing.assert_close(logits.softmax(-1), unrolled[:, t])
    for row, category in enumerate([2, 0, None]):
        *_, expected = in_numpy(network, ids, category)  # (T, V)
        np.testing.assert_allclose(unrolled[row].detach(), expected, atol=1e-12)
    torch.testing.assert_close(network.unroll(torch.tensor([ids])).softmax(-1)[0], unrolled[2])
    assert (unrolled[0] - unrolled[1]).abs().max() > 1e-3


def test_without_categories_there_is_no_parameter_for_them():
    without, with_some = make("lstm"), make("lstm", num_categories=C)
    assert set(with_some.state_dict()) - set(without.state_dict()) == {"layers.0.W_ac"}
    assert with_some.layers[0].W_ac.shape == (4 * H, C)
    assert with_some.num_parameters == without.num_parameters + 4 * H * C


def test_without_categories_the_initial_weights_are_the_generators_first_numbers():
    network = RecurrentNetwork(params_with(model={"cell": "gru", "hidden_size": H}).model, V)
    network.initialise(torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    for weight in (network.W_ya, network.layers[0].W_ax, network.layers[0].W_aa):
        drawn = torch.empty_like(weight).uniform_(-(H**-0.5), H**-0.5, generator=generator)
        assert torch.equal(weight, drawn)


@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_learns_and_the_state_above_all(cell):
    network = make(cell, num_categories=C)
    unrolled = network.unroll(torch.tensor([[0, 1, 2, 3]]), categories=torch.tensor([1]))
    unrolled.log_softmax(-1)[0, -1, 0].backward()
    assert network.layers[0].W_ac.grad[:, [0, 2]].abs().max() == 0  # another category's
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name
    assert network.layers[0].W_aa.grad.abs().max() > 1e-4


@pytest.mark.parametrize("cell", CELLS)
def test_the_last_prediction_depends_on_the_first_character(cell):
    network = make(cell)
    one, other = network.unroll(torch.tensor([[1, 2, 2, 2], [3, 2, 2, 2]]))[:, -1]
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_nothing_before_it(cell):
    network = make(cell)
    short = network.unroll(torch.tensor([[0, 1, 2]]))
    padded = network.unroll(torch.tensor([[0, 1, 2, 0, 0]]))[:, :3]
    torch.testing.assert_close(short, padded)


def test_unknown_character_is_a_one_hot_row_of_zeros():
    network = make("rnn")
    weights = dict(network.named_parameters())
    a = torch.tanh(weights["layers.0.b_a"])
    expected = weights["W_ya"] @ a + weights["b_y"]
    torch.testing.assert_close(network.unroll(torch.tensor([[V]]))[0, 0], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_a_few_characters_and_many_are_read_alike(cell):
    # Fewer than V have their columns of W_ax picked out, more are looked up in a table of all.
    network = make(cell)
    ids = torch.tensor([[0, 3, V, 1], [2, V, V, 4]])
    many = network.unroll(ids)
    few = torch.cat([network.unroll(row.unsqueeze(0)) for row in ids])
    assert ids[0].numel() < V <= ids.numel()
    torch.testing.assert_close(few, many)
    of_many, of_few = (
        torch.autograd.grad(logits.log_softmax(-1)[:, -1, 1].sum(), list(network.parameters()))
        for logits in (many, few)
    )
    torch.testing.assert_close(of_few, of_many)


def test_a_name_has_one_dropout_mask_for_all_time_steps():
    params = params_with(
        model={"cell": "rnn", "hidden_size": 1000, "state_dropout": 0.3, "dropout": 0.2}
    ).model
    masks = RecurrentNetwork(params, V).dropout_masks(4, torch.Generator().manual_seed(0))
    assert masks.state.shape == masks.output.shape == (1, 4, 1000)
    # 4,000 draws with p = 0.3: standard deviation of the share 0.0072, five of them 0.036.
    assert abs((masks.state == 0).double().mean() - 0.3) < 0.036
    assert abs((masks.output == 0).double().mean() - 0.2) < 0.032
    assert masks.state.max() == pytest.approx(1 / 0.7)
    assert not torch.equal(masks.state[0, 0], masks.state[0, 1])


def test_dropping_the_whole_state_is_forgetting_it():
    network = make("rnn")  # gates would also carry a_{t-1} past W_aa
    ids = torch.tensor([[1, 2, 3]])
    zero = torch.zeros(1, 1, H, dtype=torch.double)
    masks = network.dropout_masks(1, torch.Generator())._replace(state=zero, output=zero + 1)
    alone = network.unroll(ids.t())  # each character as a name of its own, (3, 1, V)
    torch.testing.assert_close(network.unroll(ids, masks), alone.transpose(0, 1))


def test_masked_loss_equals_a_loop_over_single_names():
    network = make("gru")
    names = [[1, 2, 3, 4], [2], [4, 4]]
    inputs = torch.zeros(3, 5, dtype=torch.long)
    targets = torch.full((3, 5), 3)  # padding with a letter, which must not count
    mask = torch.zeros(3, 5, dtype=torch.bool)
    total, count = 0.0, 0
    for row, name in enumerate(names):
        inputs[row, : len(name) + 1] = torch.tensor([0, *name])
        targets[row, : len(name) + 1] = torch.tensor([*name, 0])
        mask[row, : len(name) + 1] = True
        log_probs = network.unroll(torch.tensor([[0, *name]])).log_softmax(-1)[0]
        total -= sum(log_probs[t, i].item() for t, i in enumerate([*name, 0]))
        count += len(name) + 1
    loss = masked_cross_entropy(network.unroll(inputs), targets, mask)
    assert loss.item() == pytest.approx(total / count, abs=1e-12)


def test_loss_of_names_of_one_length_is_that_of_the_same_names_padded():
    logits = torch.randn(3, 4, V, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, 3, 0], [2, 2, 1, 0], [4, 1, 4, 0]])
    mask = torch.ones(3, 4, dtype=torch.bool)
    whole = masked_cross_entropy(logits, targets, mask)
    padded = masked_cross_entropy(
        torch.cat([logits, torch.full((3, 1, V), 9.0)], dim=1),
        torch.cat([targets, torch.zeros(3, 1, dtype=torch.long)], dim=1),
        torch.cat([mask, torch.zeros(3, 1, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(whole, padded)


def test_loss_of_equal_logits_is_the_logarithm_of_the_vocabulary():
    loss = masked_cross_entropy(
        torch.zeros(2, 3, V), torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=bool)
    )
    assert loss.item() == pytest.approx(math.log(V))


def test_loss_over_nothing_is_refused():
    with pytest.raises(ValueError, match="selects no character"):
        masked_cross_entropy(
            torch.zeros(1, 1, V), torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=bool)
        )


def test_number_of_parameters_is_what_the_shapes_say():
    # LSTM: 4 H (V + H + 1), and the output V (H + 1).
    assert make("lstm").num_parameters == 4 * H * (V + H + 1) + V * (H + 1)


def test_lstm_starts_out_remembering():
    params = params_with(model={"cell": "lstm", "hidden_size": H}).model
    network = RecurrentNetwork(params, V)
    network.initialise(torch.Generator().manual_seed(0))
    assert network.layers[0].b_a.view(4, H)[1].tolist() == [1.0] * H
