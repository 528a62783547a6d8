"""The case of names, which are learnt folded to lower case: how the list writes its words.

A word is written as the list writes that word; one that the list lacks, as most words in its place:
at the beginning or later, by what stands before it, and short ones before the last word apart, so
that not every "de" and "la" need be known. Beginnings such as Mc, which a capital follows, are
learnt too.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

SHORT = 3
"""Characters of a short word, at most; articles and prepositions are."""
WORD = regex.compile(r"\p{L}[\p{L}\p{M}]*")
LEAST_WORDS_OF_A_BEGINNING = 2
LEAST_SHARE_OF_A_BEGINNING = 0.8
Form = Literal["lower", "title", "upper"]


@dataclass(frozen=True)
class Casing:
    """How a list writes its words; where nothing was learnt, in lower case.

    Attributes:
        words: Of folded words that the rule gets wrong, how the list writes them; a word that
            begins its name has a ^ before it.
        places: The form of other words by place, as `_words` names it.
        beginnings: Of folded beginnings that a capital follows, how the list writes them.
    """

    words: dict[str, str]
    places: dict[str, Form]
    beginnings: dict[str, str]

    @classmethod
    def learn(cls, names: Sequence[str]) -> "Casing":
        """Learn from names as the list writes them, in NFC."""
        written: defaultdict[str, Counter[str]] = defaultdict(Counter)
        places: defaultdict[str, Counter[Form]] = defaultdict(Counter)
        for name in names:
            for _, place, word in _words(name):
                written[_key(place, word.lower())][word] += 1
                if form := _form(word):
                    for part in (place, place[:1], ""):
                        places[part][form] += 1
        forms = {place: counts.most_common(1)[0][0] for place, counts in places.items()}
        usual = {key: counts.most_common(1)[0][0] for key, counts in written.items()}
        rule = cls({}, forms, _beginnings(sorted(set(usual.values()))))
        words = {
            key: word
            for key, word in sorted(usual.items())
            if rule._word(_a_place(key, word), word.lower()) != word
        }
        return cls(words, dict(sorted(forms.items())), dict(sorted(rule.beginnings.items())))

    def written(self, name: str) -> str:
        """A folded name as the list would write it.

        >>> Casing.learn(["San Juan de la Cruz", "Vega de Tera"]).written("tera de la vega")
        'Tera de la Vega'
        """
        text, end = "", 0
        for start, place, word in _words(name):
            text += name[end:start] + self._word(place, word)
            end = start + len(word)
        text = unicodedata.normalize("NFC", text + name[end:])
        return text if unicodedata.normalize("NFC", text.lower()) == name else name

    def _word(self, place: str, word: str) -> str:
        known = self.words.get(_key(place, word))
        if known:
            return known
        for length in range(len(word) - 1, 1, -1):
            if beginning := self.beginnings.get(word[:length]):
                return beginning + _titled(word[length:])
        form = next((self.places[p] for p in (place, place[:1], "") if p in self.places), "lower")
        return {"lower": word, "title": _titled(word), "upper": word.upper()}[form]


def _words(name: str) -> Iterator[tuple[int, str, str]]:
    """The words of a name, each with where it begins and its place."""
    for match in WORD.finditer(name):
        before = name[match.start() - 1] if match.start() else "^"
        joins = len(match[0]) <= SHORT and match.end() < len(name)
        yield match.start(), before + ("s" if joins else "l"), match[0]


def _key(place: str, word: str) -> str:
    return f"^{word}" if place.startswith("^") else word


def _a_place(key: str, word: str) -> str:
    """A place in which a word may stand, from its key."""
    return ("^" if key.startswith("^") else " ") + ("s" if len(word) <= SHORT else "l")


def _form(word: str) -> Form | None:
    """None for other words, and for one letter, which is title and upper."""
    if word == word.lower():
        return "lower" if word != word.upper() else None
    if len(word) == 1:
        return "title"
    if word == word.upper():
        return "upper"
    return "title" if word == _titled(word.lower()) else None


def _titled(word: str) -> str:
    return word[:1].upper() + word[1:]


def _beginnings(words: Sequence[str]) -> dict[str, str]:
    """The beginnings of words that a capital follows, and how they are written."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word in words:
        capitals = [i for i, letter in enumerate(word) if i > 1 and letter != letter.lower()]
        if len(capitals) == 1:
            found[word[: capitals[0]].lower()][word[: capitals[0]]] += 1
    beginnings = {}
    for beginning, written in found.items():
        all_words = sum(
            word.lower().startswith(beginning) and len(word) > len(beginning) for word in words
        )
        count = written.total()
        if count >= max(LEAST_WORDS_OF_A_BEGINNING, LEAST_SHARE_OF_A_BEGINNING * all_words):
            beginnings[beginning] = written.most_common(1)[0][0]
    return beginnings
