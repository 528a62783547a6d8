"""Which names have an offensive word, by letters or by sound.

The words, in 23 languages, are those of the package badwords. docs/decisions/0012-clean.md has
the measurements behind the numbers here. Loading takes half a second, once a process.
"""

import unicodedata
from functools import cache
from importlib.resources import files

import jellyfish
import regex
from badwords import Options, ProfanityFilter

LEAST_INSIDE: tuple[tuple[int, list[str] | None], ...] = (
    (6, None),
    (4, ["en"]),
    (3, ["ja", "ko", "th"]),  # they put no space between words
)
"""The fewest characters of a word that is looked for inside others, in these languages or all."""

LEAST_BY_SOUND = 4
"""The fewest letters of a word whose sound is looked for; shorter ones sound like too much."""


HARMLESS_BESIDE_OTHERS = "del"
"""Spanish for "of the", in one of 250 towns; another language's list has it."""


def is_offensive(name: str) -> bool:
    """Whether a name has an offensive word.

    That is a listed word, whatever its case, accents, doubled letters, look-alikes from other
    scripts and digits for letters; a longer one also inside a word; or a word in Latin letters
    that sounds like one.
    """
    plain = _without_accents(name)
    if any(words.is_profane(text) for text in {name, plain} for words in _filters()):
        return True
    words = _words(plain)
    return any(
        word in _known() or _sound(word) in _known()
        for word in words
        if word != HARMLESS_BESIDE_OTHERS or len(words) == 1
    )


@cache
def _filters() -> list[ProfanityFilter]:
    """A filter for each of `LEAST_INSIDE`."""
    filters = []
    for least, languages in LEAST_INSIDE:
        words = ProfanityFilter()
        words.init(
            languages,
            processing_transliterate=False,  # t and s would be one letter where two words meet
            options=Options(
                match_mode="substring",
                min_substring_len=least,
                split_on_punctuation=True,
                collapse_repeats=True,
                leetspeak=True,
            ),
        )
        words.add_whitelist([HARMLESS_BESIDE_OTHERS])
        filters.append(words)
    return filters


@cache
def _known() -> frozenset[str]:
    """The listed words without accents, and the sounds of the longer ones."""
    known = set()
    for path in (files("badwords") / "resource" / "words").iterdir():
        if path.name.endswith(".txt"):
            for entry in path.read_text("utf-8").splitlines():
                words = _words(_without_accents(entry))
                if len(words) == 1:  # the filters have the phrases
                    known.add(words[0])
                    if len(words[0]) >= LEAST_BY_SOUND:
                        known.add(_sound(words[0]))
    return frozenset(known)


def _without_accents(text: str) -> str:
    """In lower case, and without accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in parts if not unicodedata.combining(character))


def _words(text: str) -> list[str]:
    return regex.findall(r"[\p{L}\p{M}\p{N}]+", text)


def _sound(word: str) -> str:
    """What a word in Latin letters sounds like; any other word is itself.

    Its Metaphone code (Philips 1990) leaves out vowels and takes d, g and v for t, k and f, so
    that a short name would sound like too many words. These letters stand behind the code.
    """
    if not regex.fullmatch("[a-z]+", word):
        return word
    spelt = regex.sub(r"(.)\1+", r"\1", word.replace("y", "i"))
    return f"{jellyfish.metaphone(spelt)} {regex.sub('[^aeioudgv]+', '-', spelt).strip('-')}"
