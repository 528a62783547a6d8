"""Speed and memory, measured; README.md beside this file says of what, and on which machine.

Every measurement is a function here that does its work once and gives names a second. A
comparison holds several, by what differs between them. Each runs in a process of its own,
in turns, A B A B: so that a machine that slows down slows all of them, and so that memory
is that of one measurement alone.
"""

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer

from nomosaurus.generation.sampling import Drawer, Drawing, draw_samples
from nomosaurus.model.device import make_repeatable
from nomosaurus.model.file import load_model
from nomosaurus.model.mixture import Mixture, NgramWeight
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.ngram import KneserNey
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Recipe, load_params
from nomosaurus.training.loop import train_network
from nomosaurus.training.processes import member_tasks

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
NAMES = 16_000


def han(vocab_size: int) -> Vocabulary:
    """The first Han characters of Unicode, and the boundary."""
    return Vocabulary(tuple(chr(0x4E00 + i) for i in range(vocab_size - 1)), unknown_mass=0.001)


def synthetic_list(num_names: int, vocab_size: int) -> EncodedNames:
    """Names of 2 to 4 characters, drawn by Zipf's law from all but the boundary.

    Of the length of Chinese names whatever the vocabulary, so that it alone differs.
    """
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 5, size=num_names)
    weights = 1 / np.arange(1, vocab_size)
    ids = generator.choice(vocab_size - 1, size=lengths.sum(), p=weights / weights.sum()) + 1
    no_categories = np.zeros(num_names, dtype=np.uint8)
    return EncodedNames(ids.astype(np.uint16), np.cumsum([0, *lengths]), no_categories)


def recipe() -> Recipe:
    """What `auto` in params.yaml comes to for as many names, on one thread."""
    settled = Recipe.for_list(load_params(PARAMS), NAMES)
    make_repeatable(settled.train.num_threads)
    return settled


def train(vocab_size: int) -> float:
    """One epoch of one network, its validation included: names learnt a CPU-second."""
    settled = recipe()
    once = settled.train.model_copy(update={"max_epochs": 1})
    names, validation = synthetic_list(NAMES, vocab_size), synthetic_list(NAMES // 8, vocab_size)
    task = member_tasks(
        names,
        validation,
        han(vocab_size),
        settled.model_copy(update={"train": once}),
        torch.device("cpu"),
    )[0]
    return NAMES / train_network(task).cpu_seconds


def generate(vocab_size: int, count: int = 2048) -> float:
    """Names written a second, by as many networks as the recipe has and a 3-gram.

    The networks are untrained, and so the n-gram has all the weight: names get the list's
    lengths, and every step is computed as it always is.
    """
    settled = recipe()
    networks = []
    for member in range(settled.model.members):
        network = RecurrentNetwork(settled.model, vocab_size)
        network.initialise(torch.Generator().manual_seed(member))
        networks.append(network.eval())
    ngram = KneserNey.fit(synthetic_list(NAMES, vocab_size), vocab_size, 3)
    samples = draw_samples(Mixture(networks, ngram, NgramWeight(1, 1)), Drawing(), seed=0)
    next(samples)  # the first block, in which torch sets itself up
    started = time.perf_counter()
    for _ in islice(samples, count):
        pass
    return count / (time.perf_counter() - started)


def different_names(by_rejection: bool, temperature: float, count: int = 5_000) -> float:
    """Different names written a second by the model that the pipeline trained.

    Without replacement, or by passing over what came before.
    """
    model = load_model(PARAMS.parent / "models/model.safetensors")
    make_repeatable(model.recipe.train.num_threads)
    drawing = Drawing(temperature=temperature)
    drawer = Drawer(model.mixture, drawing, seed=0)
    seen: set[bytes] = set()
    started = time.perf_counter()
    while len(seen) < count:
        samples = drawer.draw()
        seen |= {sample.ids.tobytes() for sample in samples}
        if not by_rejection:
            drawer.leave_out(samples)
    return count / (time.perf_counter() - started)


COMPARISONS: dict[str, dict[str, Callable[[], float]]] = {
    "training": {"V = 27": partial(train, 27), "V = 5,000": partial(train, 5000)},
    "generation": {"V = 27": partial(generate, 27), "V = 5,000": partial(generate, 5000)},
} | {
    f"5,000 different names, temperature {temperature}": {
        "by rejection": partial(different_names, True, temperature),
        "without replacement": partial(different_names, False, temperature),
    }
    for temperature in (1.0, 0.5, 0.3)
}
"""What is measured; the first of each is what the others are compared with."""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    one: Annotated[
        tuple[str, str] | None, typer.Option(help="Measure this alone, here; print JSON.")
    ] = None,
) -> None:
    """Measure everything in turns, and print a table for README.md."""
    if one:
        comparison, case = one
        rate = COMPARISONS[comparison][case]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
        print(json.dumps({"rate": rate, "peak_mib": peak}))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}\n")
    print("| | | names a second | against the first | peak memory, MiB |")
    print("|---|---|---|---|---|")
    for comparison, cases in COMPARISONS.items():
        measured: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
        for _ in range(rounds):
            for case in cases:
                measured[case].append(_measure_apart(comparison, case))
        first = [run["rate"] for run in measured[next(iter(cases))]]
        for case, each in measured.items():
            rates = [run["rate"] for run in each]
            ratios = [rate / other for rate, other in zip(rates, first, strict=True)]
            print(
                f"| {comparison} | {case} | {median(rates):,.0f} "
                f"| {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) "
                f"| {median(run['peak_mib'] for run in each):,.0f} |",
                flush=True,
            )


def _measure_apart(comparison: str, case: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", comparison, case]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


if __name__ == "__main__":
    typer.run(main)
