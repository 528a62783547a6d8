import numpy as np
import torch

from nomosaurus.generation.trie import NO_NODE, Paths, Trie

# Symbols: 0 ends a name, 1 is a, 2 is b. Every step: the end 0.5, a 0.3, b 0.2.
P = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.double)


def paths(*names: list[int]) -> Paths:
    symbols = [symbol for name in names for symbol in [*name, 0]]
    probabilities = P[0].numpy()[symbols]
    return Paths(np.array(symbols), probabilities, np.array([len(name) + 1 for name in names]))


def weights(trie: Trie, *prefix: int) -> list[float]:
    nodes = trie.root(1)
    for depth, symbol in enumerate(prefix):
        nodes = trie.descend(nodes, depth, np.array([symbol]))
    return trie.weigh(P, nodes, len(prefix))[0].tolist()


def test_an_empty_trie_leaves_all():
    trie = Trie(Paths.none(), base=4)
    assert trie.left == 1
    assert weights(trie) == P[0].tolist()
    assert weights(trie, 1, 2) == P[0].tolist()


def test_what_is_left_worked_by_hand():
    # a has 0.3 * 0.5 = 0.15 and ab has 0.3 * 0.2 * 0.5 = 0.03. Below a, the end is gone, and of b
    # (0.2) half, so 0.3 + 0.1 is left; so a keeps 0.3 * 0.4.
    trie = Trie(paths([1], [1, 2]), base=4)
    np.testing.assert_allclose(trie.left, 1 - 0.15 - 0.03)
    np.testing.assert_allclose(weights(trie), [0.5, 0.3 * 0.4, 0.2])
    np.testing.assert_allclose(weights(trie, 1), [0, 0.3, 0.2 * 0.5])
    np.testing.assert_allclose(weights(trie, 1, 2), [0, 0.3, 0.2])
    np.testing.assert_allclose(weights(trie, 2), [0.5, 0.3, 0.2])
    np.testing.assert_allclose(weights(trie, 1, 2, 1), [0.5, 0.3, 0.2])


def test_a_name_taken_out_twice_counts_once():
    assert Trie(paths([1], [1]), base=4).left == Trie(paths([1]), base=4).left


def test_the_order_of_names_does_not_matter():
    one = Trie(paths([1, 1], [2], [1, 2], []), base=4)
    other = Trie(paths([], [1, 2], [2], [1, 1]), base=4)
    assert weights(one, 1) == weights(other, 1)
    assert one.left == other.left


def test_rows_walk_apart():
    trie = Trie(paths([1], [2, 2]), base=4)
    nodes = trie.descend(trie.root(3), 0, np.array([1, 2, 0]))
    assert (nodes >= 0).tolist() == [True, True, False]
    left = trie.weigh(P.expand(3, 3), nodes, 1)
    np.testing.assert_allclose(left, [[0, 0.3, 0.2], [0.5, 0.3, 0.1], [0.5, 0.3, 0.2]])
    assert trie.descend(nodes, 1, np.array([1, 1, 1])).tolist() == [NO_NODE] * 3


def test_nothing_is_left_below_what_is_exhausted():
    # Below b only the end and a are possible, and both are taken out.
    symbols = np.array([2, 0, 2, 1, 0])
    trie = Trie(Paths(symbols, np.array([0.2, 0.4, 0.2, 0.6, 1.0]), np.array([2, 3])), base=4)
    assert weights(trie) == [0.5, 0.3, 0.0]
    np.testing.assert_allclose(trie.left, 0.8)
