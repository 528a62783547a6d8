"""The baseline that a network must beat: an interpolated modified Kneser-Ney n-gram.

Chen and Goodman (1998, 1999), section 3: three discounts an order, continuation
counts below the highest order, and the uniform distribution at the bottom.
A name has one boundary before it; an n-gram that begins there keeps its plain count,
since nothing can come before it (as in KenLM, Heafield et al. 2013).
"""

# N names, P predicted events of all names, V vocabulary, K highest order

from dataclasses import dataclass

import numpy as np

from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import BOUNDARY_ID

NO_CONTEXT = -1


@dataclass(frozen=True)
class Order:
    """The k-grams of one order, as the children of the (k-1)-grams of the order below.

    Attributes:
        keys: Sorted; a k-gram is (id of its first k-1 symbols) * V + last symbol, and
            its own id is the key's place; shape (grams,).
        discounted: count - D(count) of each k-gram, at least 0; shape (grams,).
        context_total: Sum of the counts that follow each (k-1)-gram; shape (contexts,).
        context_kept: Sum of what discounting took there: gamma's numerator; (contexts,).
    """

    keys: np.ndarray
    discounted: np.ndarray
    context_total: np.ndarray
    context_kept: np.ndarray


class KneserNey:
    """A fitted n-gram model; `order` is K, its longest n-gram."""

    def __init__(self, orders: list[Order], vocab_size: int) -> None:
        self.order = len(orders)
        self._orders = orders
        self._vocab_size = vocab_size
        # The lowest order has one context, the empty one, and all names go through it.
        every = np.arange(vocab_size)
        self._lowest = self._interpolate(orders[0], 0 * every, every, 1 / vocab_size)  # (V,)

    @classmethod
    def fit(cls, names: EncodedNames, vocab_size: int, order: int) -> "KneserNey":
        """Count and discount the n-grams of training names, up to `order`, at least 1.

        Where no name is long enough for that, K is the longest that there is. Weights count at
        the highest order, where n-grams are counted as often as they occur: once it is
        discounted, a k-gram's count is multiplied by the mean weight of the names that have it.
        """
        names = names.distinct()
        symbols, place = _joined(names)
        weights = np.repeat(names.weights, names.lengths + 2)
        # grams[k][i]: the id of the k-gram that ends at i, if it does not reach back
        # beyond the start of its name.
        grams = [np.zeros(len(symbols), dtype=np.int64)]
        keys_of: list[np.ndarray] = []
        for _ in range(order):
            before = _shifted(grams[-1], place, first=len(grams) == 1)
            inside = before >= 0
            if not inside.any():  # no name is as long as that
                break
            keys, ids = np.unique(
                before[inside] * vocab_size + symbols[inside], return_inverse=True
            )
            keys_of.append(keys)
            grams.append(np.full(len(symbols), NO_CONTEXT))
            grams[-1][inside] = ids
        order = len(keys_of)
        orders = []
        for k, keys in enumerate(keys_of, start=1):
            predicted = (place > 0) & (grams[k] >= 0)
            mean_weight: np.ndarray | float = 1.0
            if k == order:
                counts = np.bincount(grams[k][predicted], minlength=len(keys))
                weighted = np.bincount(grams[k][predicted], weights[predicted], len(keys))
                mean_weight = weighted / np.maximum(counts, 1)
            else:
                # A k-gram that begins its name has nothing before it, so it is counted
                # as it is; any other by how many different symbols come before it.
                begins = predicted & (place == k - 1)
                longer, first = np.unique(grams[k + 1], return_index=True)
                first = first[longer >= 0]
                first = first[place[first] > 0]
                counts = np.bincount(grams[k][begins], minlength=len(keys))
                counts += np.bincount(grams[k][first], minlength=len(keys))
            contexts = keys // vocab_size
            num_contexts = 1 if k == 1 else len(keys_of[k - 2])
            taken = _discounts(counts)[np.minimum(counts, 3)]
            orders.append(
                Order(
                    keys,
                    (counts - taken) * mean_weight,
                    np.bincount(contexts, counts * mean_weight, minlength=num_contexts),
                    np.bincount(contexts, taken * mean_weight, minlength=num_contexts),
                )
            )
        return cls(orders, vocab_size)

    def contexts(self, symbols: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Ids of the k-grams, k below K, that end at each symbol of joined names.

        Args:
            symbols: Ids, shape (symbols,).
            place: Each symbol's place in its name, 0 for the first boundary; (symbols,).

        Returns:
            Shape (K, symbols); row k holds k-grams, `NO_CONTEXT` where one was never seen.
        """
        rows = [np.zeros(len(symbols), dtype=np.int64)]
        for order in self._orders[:-1]:
            before = _shifted(rows[-1], place, first=len(rows) == 1)
            rows.append(self._find(order, before, symbols))
        return np.stack(rows)

    def probabilities(self, contexts: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """p(symbol | context), by interpolation from the lowest order up; shape (places,).

        Args:
            contexts: As `contexts` gives them, shape (K, places).
            symbols: The ids that come next, shape (places,); below V.
        """
        probability = np.full(len(symbols), 1 / self._vocab_size)
        for order, context in zip(self._orders, contexts, strict=True):
            probability = self._interpolate(order, context, symbols, probability)
        return probability

    def initial_contexts(self, batch_size: int) -> np.ndarray:
        """The contexts before the first boundary of names, shape (K, batch_size)."""
        contexts = np.full((self.order, batch_size), NO_CONTEXT)
        contexts[0] = 0
        return contexts

    def advance(self, contexts: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """The contexts, (K, B), after one more symbol of each name, (B,)."""
        rows = [np.zeros(len(symbols), dtype=np.int64)]
        for order, before in zip(self._orders[:-1], contexts, strict=False):
            rows.append(self._find(order, before, symbols))
        return np.stack(rows)

    def distribution(self, contexts: np.ndarray) -> np.ndarray:
        """The probability of every symbol after each context; contexts (K, B), result (B, V)."""
        vocab_size = self._vocab_size
        passed = np.ones(contexts.shape[1])  # (B,), what the orders above leave to this one
        seen_grams = []
        for order, context in zip(self._orders[:0:-1], contexts[:0:-1], strict=True):
            total = np.where(context >= 0, order.context_total[context], 0)
            rows = np.flatnonzero(total > 0)  # an unseen context leaves all to the order below
            seen, total = context[rows], total[rows]
            # The k-grams that begin with a context lie together in `keys`.
            first = np.searchsorted(order.keys, seen * vocab_size)
            count = np.searchsorted(order.keys, (seen + 1) * vocab_size) - first
            place = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
            own = order.discounted[place] * np.repeat(passed[rows] / total, count)
            seen_grams.append((np.repeat(rows, count), order.keys[place] % vocab_size, own))
            passed[rows] *= order.context_kept[seen] / total
        probability = passed[:, None] * self._lowest  # (B, V)
        for row, symbol, own in reversed(seen_grams):
            probability[row, symbol] += own
        return probability

    def name_nats(self, names: EncodedNames) -> np.ndarray:
        """Negative log-likelihood of each name, in nats, its end counted; shape (N,).

        A character outside the vocabulary has no probability here and counts as 1;
        `Vocabulary.unknown_nats` accounts for it. What follows it is predicted
        from the contexts that were seen.
        """
        symbols, place = _joined(names)
        targets = np.flatnonzero(place > 0)  # (P,)
        before = self.contexts(symbols, place)[:, targets - 1]  # (K, P)
        chosen = symbols[targets]  # (P,)
        known = chosen < self._vocab_size
        probabilities = self.probabilities(before, np.where(known, chosen, 0))  # (P,)
        return -names.sum_by_name(np.log(np.where(known, probabilities, 1)))

    def _interpolate(
        self, order: Order, contexts: np.ndarray, symbols: np.ndarray, below: np.ndarray | float
    ) -> np.ndarray:
        """p(symbol | context) by one order, given what the order below says; shape (places,)."""
        gram = self._find(order, contexts, symbols)
        total = np.where(contexts >= 0, order.context_total[contexts], 0)
        used = total > 0  # an unseen context leaves the order below as it is
        safe_total = np.where(used, total, 1)
        own = np.where(gram >= 0, order.discounted[gram], 0) / safe_total
        weight = order.context_kept[contexts] / safe_total
        return np.where(used, own + weight * below, below)

    def _find(self, order: Order, contexts: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Ids of the k-grams (context, symbol), `NO_CONTEXT` where unseen."""
        wanted = contexts * self._vocab_size + symbols
        place = np.searchsorted(order.keys, wanted)
        place = np.minimum(place, len(order.keys) - 1)
        seen = (contexts >= 0) & (symbols < self._vocab_size) & (order.keys[place] == wanted)
        return np.where(seen, place, NO_CONTEXT)


def choose_order(
    train: EncodedNames, validation: EncodedNames, vocab_size: int, max_order: int
) -> KneserNey:
    """The model of the order, 1 to `max_order`, that predicts `validation` best, by weight."""
    train = train.distinct()
    models = [KneserNey.fit(train, vocab_size, order) for order in range(1, max_order + 1)]
    return min(models, key=lambda model: validation.weights @ model.name_nats(validation))


def _joined(names: EncodedNames) -> tuple[np.ndarray, np.ndarray]:
    """All names in one text, each with a boundary before and after.

    Returns:
        The symbols and each one's place in its name, both of shape (symbols,).
        Those at place 1 and above are predicted.
    """
    sizes = names.lengths + 2
    starts = np.cumsum(sizes) - sizes
    place = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    symbols = np.full(len(place), BOUNDARY_ID, dtype=np.int64)
    symbols[(place > 0) & (place < np.repeat(sizes, sizes) - 1)] = names.ids
    return symbols, place


def _shifted(grams: np.ndarray, place: np.ndarray, *, first: bool) -> np.ndarray:
    """The gram before each symbol; before a name's start there is only the empty one."""
    before = np.concatenate(([0], grams[:-1]))
    return np.where(place == 0, 0 if first else NO_CONTEXT, before)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """D(0) = 0, D(1), D(2), D(3 and more): Chen and Goodman (1999), equation 17.

    Where the counts of counts do not allow the estimate (very short lists), the
    fixed values 0.5, 1 and 1.5 are taken.
    """
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    fixed = np.array([0.0, 0.5, 1.0, 1.5])
    if not (n1 and n2 and n3):
        return fixed
    ratio = n1 / (n1 + 2 * n2)
    estimate = np.array(
        [0, 1 - 2 * ratio * n2 / n1, 2 - 3 * ratio * n3 / n2, 3 - 4 * ratio * n4 / n3]
    )
    possible = (estimate >= 0) & (estimate <= np.arange(4))
    return np.where(possible, estimate, fixed)
