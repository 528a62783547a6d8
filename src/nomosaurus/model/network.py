"""The recurrent network. It knows ids, not characters, and no files.

The cell `rnn` is the source article's:

    a_t = tanh(W_aa a_{t-1} + W_ax x_t + b_a)
    y_t = softmax(W_ya a_t + b_y)

`gru` (Cho et al. 2014, in the form of cuDNN, with one bias a gate) and `lstm`
(Hochreiter and Schmidhuber 1997; Gers et al. 2000) compute a_t with gates. Every
time step uses the same parameters. `step` is the compact picture, one time step;
`unroll` is the extended one.

Where the names have categories, the first layer adds W_ac c to W_ax x_t at every step; c is the
category's one-hot vector, all zeros if it is not known.
"""

# B batch, T time steps, V vocabulary, C categories, H hidden, G gates of the cell
# (rnn 1, gru 3, lstm 4), L layers, S parts of the state (1; lstm 2: a and its cell c)

from collections.abc import Mapping, Sequence
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from nomosaurus.params import Cell, ModelRecipe

GATES: dict[Cell, int] = {"rnn": 1, "gru": 3, "lstm": 4}
STATE_PARTS: dict[Cell, int] = {"rnn": 1, "gru": 1, "lstm": 2}


class DropoutMasks(NamedTuple):
    """The units kept in one pass: one mask a name, the same at every time step.

    Gal and Ghahramani (2016). Kept units are scaled by 1 / (1 - p), dropped are 0.

    Attributes:
        state: On a_{t-1} where it enters the next step; shape (L, B, H).
        output: On a_t where it leaves a layer; shape (L, B, H).
    """

    state: Tensor
    output: Tensor


class Layer(nn.Module):
    """One recurrent layer's parameters, named and shaped as in the article.

    The gates' rows lie one below the other: reset, update and new of a `gru`; input, forget, cell
    and output of an `lstm`.

    Attributes:
        W_ax: From the input, shape (G * H, V) in the first layer, (G * H, H) above.
        W_aa: From the previous activation, shape (G * H, H).
        W_ac: From the name's category, shape (G * H, C); None if C is 0.
        b_a: Bias, shape (G * H,).
    """

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, num_categories: int = 0
    ) -> None:
        super().__init__()
        self.cell = cell
        rows = GATES[cell] * hidden_size
        self.W_ax = nn.Parameter(torch.empty(rows, input_size))
        self.W_aa = nn.Parameter(torch.empty(rows, hidden_size))
        self.W_ac = nn.Parameter(torch.empty(rows, num_categories)) if num_categories else None
        self.b_a = nn.Parameter(torch.zeros(rows))

    def step(self, projected: Tensor, state: Tensor, mask: Tensor | None = None) -> Tensor:
        """One time step.

        Args:
            projected: W_ax x_t + W_ac c + b_a, shape (B, G * H).
            state: The previous state, shape (S, B, H); part 0 is a_{t-1}.
            mask: Scaled dropout mask for a_{t-1} on its way into W_aa, shape (B, H).

        Returns:
            The new state, shape (S, B, H); part 0 is a_t.
        """
        previous = state[0]  # (B, H)
        remembered = previous if mask is None else previous * mask  # (B, H)
        if self.cell == "rnn":
            activation = torch.tanh(torch.addmm(projected, remembered, self.W_aa.t()))
            return activation.unsqueeze(0)  # (1, B, H)
        if self.cell == "gru":
            reset_x, update_x, new_x = projected.chunk(3, dim=1)  # each (B, H)
            recurrent = remembered @ self.W_aa.t()  # (B, 3 * H)
            reset_a, update_a, new_a = recurrent.chunk(3, dim=1)  # each (B, H)
            reset = torch.sigmoid(reset_x + reset_a)
            update = torch.sigmoid(update_x + update_a)
            new = torch.tanh(new_x + reset * new_a)
            return torch.lerp(new, previous, update).unsqueeze(0)  # (1, B, H)
        if self.cell == "lstm":
            gates = torch.addmm(projected, remembered, self.W_aa.t())  # (B, 4 * H)
            input_, forget, cell, output = gates.chunk(4, dim=1)  # each (B, H)
            memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(input_) * torch.tanh(cell)
            activation = torch.sigmoid(output) * torch.tanh(memory)
            return torch.stack((activation, memory))  # (2, B, H)
        assert_never(self.cell)


class RecurrentNetwork(nn.Module):
    """A recurrent network over ids: what came so far in, the next character's scores out.

    Args:
        params: Cell, sizes and dropout.
        vocab_size: V, the boundary included. The id V, the unknown character, is
            taken as input (a one-hot row of zeros) and never predicted.
        num_categories: C; 0 for names without categories. The id C, a category that is not
            known, is a one-hot row of zeros.
    """

    layers: Sequence[Layer]  # a ModuleList, whose type does not say of what

    def __init__(self, params: ModelRecipe, vocab_size: int, num_categories: int = 0) -> None:
        super().__init__()
        self.params = params
        self.vocab_size = vocab_size
        self.num_categories = num_categories
        cell, hidden_size = params.cell, params.hidden_size
        layers = [Layer(cell, vocab_size, hidden_size, num_categories)]
        layers += [Layer(cell, hidden_size, hidden_size) for _ in range(params.num_layers - 1)]
        self.add_module("layers", nn.ModuleList(layers))
        self.W_ya = nn.Parameter(torch.empty(vocab_size, params.hidden_size))
        self.b_y = nn.Parameter(torch.zeros(vocab_size))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight matrix from uniform(-1, 1) / sqrt(H); biases are 0.

        The LSTM's forget bias is 1 (Jozefowicz et al. 2015). Plain draws alone, since
        an orthogonal start depends on the number of threads.
        """
        bound = self.params.hidden_size**-0.5
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(("b_a", "b_y")):
                    parameter.zero_()
                else:
                    parameter.uniform_(-bound, bound, generator=generator)
            if self.params.cell == "lstm":
                for layer in self.layers:
                    layer.b_a.view(4, -1)[1].fill_(1.0)

    def begin_from(self, weights: Mapping[str, Tensor], ids: Sequence[int]) -> None:
        """Take over the weights of a network of the same form that knows other characters.

        Characters that it lacks, and categories, keep the weights that they have here.

        Args:
            weights: Its parameters, by name.
            ids: Of each own id, the id that it has there, or -1; shape (V,).
        """
        mine = [i for i, theirs in enumerate(ids) if theirs >= 0]
        theirs = [ids[i] for i in mine]
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name in ("W_ya", "b_y"):  # a row a character
                    parameter[mine] = weights[name][theirs]
                elif name == "layers.0.W_ax":  # a column a character
                    parameter[:, mine] = weights[name][:, theirs]
                elif name != "layers.0.W_ac":
                    parameter.copy_(weights[name])

    @property
    def num_parameters(self) -> int:
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def initial_state(self, batch_size: int) -> Tensor:
        """a_0: zeros, shape (L, S, B, H)."""
        params = self.params
        parts = STATE_PARTS[params.cell]
        return self.b_y.new_zeros(params.num_layers, parts, batch_size, params.hidden_size)

    def dropout_masks(self, batch_size: int, generator: torch.Generator) -> DropoutMasks:
        """Draw one set of masks, on the CPU, so that every device gets the same."""
        shape = (self.params.num_layers, batch_size, self.params.hidden_size)

        def draw(probability: float) -> Tensor:
            kept = torch.rand(shape, generator=generator) >= probability
            return (kept / (1 - probability)).to(self.b_y)  # (L, B, H)

        return DropoutMasks(draw(self.params.state_dropout), draw(self.params.dropout))

    def step(
        self, ids: Tensor, state: Tensor, categories: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The compact picture: one time step.

        Args:
            ids: The characters x_t, shape (B,).
            state: From `initial_state` or an earlier step, shape (L, S, B, H).
            categories: Ids of the names' categories, shape (B,); not known if not given.

        Returns:
            The logits of y_t, shape (B, V), and the new state, shape (L, S, B, H).
        """
        states: list[Tensor] = []
        projected = self._project(ids, categories)  # (B, G * H)
        for i, layer in enumerate(self.layers):
            if i > 0:
                projected = functional.linear(states[-1][0], layer.W_ax, layer.b_a)  # (B, G * H)
            states.append(layer.step(projected, state[i]))
        return functional.linear(states[-1][0], self.W_ya, self.b_y), torch.stack(states)

    def unroll(
        self, ids: Tensor, masks: DropoutMasks | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """The extended picture: every time step of whole names, from the zero state.

        Args:
            ids: The characters x_1 to x_T, shape (B, T).
            masks: For training.
            categories: Ids of the names' categories, shape (B,); not known if not given.

        Returns:
            The logits of y_1 to y_T, shape (B, T, V).
        """
        if categories is not None:
            categories = categories.unsqueeze(1)  # (B, 1), the same at every time step
        projected = self._project(ids, categories)  # (B, T, G * H)
        zero = self.initial_state(len(ids))  # (L, S, B, H)
        for i, layer in enumerate(self.layers):
            state = zero[i]
            mask = None if masks is None else masks.state[i]
            activations = []
            for x in projected.unbind(1):
                state = layer.step(x, state, mask)
                activations.append(state[0])
            outputs = torch.stack(activations, dim=1)  # (B, T, H)
            if masks is not None:
                outputs = outputs * masks.output[i].unsqueeze(1)  # (B, T, H)
            if i + 1 < len(self.layers):
                above = self.layers[i + 1]
                projected = functional.linear(outputs, above.W_ax, above.b_a)  # (B, T, G * H)
        return functional.linear(outputs, self.W_ya, self.b_y)  # (B, T, V)

    def _project(self, ids: Tensor, categories: Tensor | None) -> Tensor:
        """W_ax x_t + W_ac c + b_a of the first layer, shape (B, G * H) or (B, T, G * H).

        A one-hot x_t chooses a column of W_ax, so the product is a look-up, and so is W_ac c. The
        one-hot vector of what is unknown is all zeros. x_t is looked up in a table of all columns,
        or, where there are fewer ids than columns, its columns are picked out. `ids` has the
        shape (B,) or (B, T), `categories` (B,) or (B, 1).
        """
        layer = self.layers[0]
        if ids.numel() < self.vocab_size:
            known = ids < self.vocab_size
            picked = functional.embedding(ids.where(known, 0), layer.W_ax.t())
            projected = picked * known.unsqueeze(-1) + layer.b_a
        else:
            table = functional.pad(layer.W_ax.t(), (0, 0, 0, 1)) + layer.b_a  # (V + 1, G * H)
            projected = functional.embedding(ids, table)
        if layer.W_ac is None or categories is None:
            return projected
        category_table = functional.pad(layer.W_ac.t(), (0, 0, 0, 1))  # (C + 1, G * H)
        return projected + functional.embedding(categories, category_table)


def masked_cross_entropy(logits_BTV: Tensor, targets_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean negative log-likelihood per scored character, in nats.

    The mask is True where a character or the end is scored. Padding enters neither the sum nor
    the count, so the value does not depend on how names were batched. A target that is the
    unknown id cannot be scored here.

    Raises:
        ValueError: If the mask selects nothing.
    """
    if not mask_BT.any():
        raise ValueError("the mask selects no character")
    if mask_BT.all():  # names of one length: the same rows, but not copied
        return functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
    return functional.cross_entropy(logits_BTV[mask_BT], targets_BT[mask_BT])
