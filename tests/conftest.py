"""What several test modules share."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clones import FROZEN, REPOSITORY, finish
from filelock import FileLock
from ruamel.yaml import YAML

from nomosaurus.evaluation import scoring
from nomosaurus.files import PROJECT
from nomosaurus.model.mixture import Mixture, NgramWeight, category_shares
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.ngram import KneserNey
from nomosaurus.model.trained import Epoch, ListBits, TrainedModel
from nomosaurus.names.casing import Casing
from nomosaurus.names.corpus import name_hashes
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Params, Recipe, load_params, parse_params

torch.set_num_threads(1)  # pytest-xdist keeps the processors busy
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

NAMES = ["ana", "anabel", "bela", "belana", "abel", "nala", "lena", "elena", "alba", "blanca"]
CATEGORIES = dict.fromkeys(NAMES, "long") | {"ana": "short", "abel": "other", "nala": "other"}

LONGEST = ("test_workflows.py", "test_pipeline.py", "test_outages.py", "test_ui.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else 9)
    for item in items:
        if item.get_closest_marker("longest"):
            item.add_marker("slowest")
        if item.get_closest_marker("slowest"):
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many faults and bad inputs tests/faults/ tried, and what came of them."""
    tried = Counter(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "fault"
    )
    if tried:
        said = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(tried.items()))
        terminalreporter.write_line(f"faults and bad inputs: {tried.total():,} tried; {said}")


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a folder once a session, in whichever of pytest-xdist's workers asks first."""
    base = tmp_path_factory.getbasetemp()
    root = base if worker_id == "master" else base.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with FileLock(f"{folder}.lock"):
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def finished(once) -> Path:
    """A clone, in a path with a space, in which the pipeline has run. Nobody may change it."""
    return once("a checkout", finish)


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished clone, for a test to change."""
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


@pytest.fixture(scope="session")
def empty_store(once) -> Path:
    """An mlflow.db with MLflow's tables and no run: making them takes seconds."""

    def make(folder: Path) -> None:
        import mlflow

        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return once("store", make) / "mlflow.db"


@pytest.fixture
def few_draws(monkeypatch) -> None:
    """Ranks from 200 drawn names instead of 10,000, where a test is not about ranks."""
    monkeypatch.setattr(scoring, "DRAWS", 200)


def as_project(folder: Path) -> Path:
    """The folder, with what makes it the root of a project."""
    for part in PROJECT:
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


CHROMIUM_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def git(folder: Path, *arguments: str) -> str:
    """What git says in a folder, whatever this machine's configuration."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def git_identity(monkeypatch) -> None:
    """Someone to commit as, in the folder that a test works in."""
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")


SMALL = {  # instead of each `auto`
    "model": {"hidden_size": 16, "dropout": 0.4, "state_dropout": 0.3, "members": 2},
    "train": {
        "max_epochs": 20,
        "patience": 10,
        "batch_size": 64,
        "learning_rate": 0.01,
        "decay": 0.0,
    },
}


def params_with(**sections: dict) -> Params:
    """The default params with some values replaced, and small ones for each `auto`."""
    content = YAML(typ="safe", pure=True).load(FROZEN / "params.yaml")
    for section, values in SMALL.items():
        content[section] |= values
    for section, values in sections.items():
        if isinstance(values, dict):
            content[section] |= values
        else:
            content[section] = values
    return parse_params(content, "params.yaml")


def defaults_stand() -> bool:
    """Whether params.yaml and the list are the defaults, so README's figures are of their model."""
    lists = (folder / "dinosaurs.csv" for folder in (REPOSITORY / "data", FROZEN))
    here, frozen = (path.read_text("utf-8").splitlines()[1:] for path in lists)
    same_params = load_params(REPOSITORY / "params.yaml") == load_params(FROZEN / "params.yaml")
    return same_params and here[::4] == frozen


def make_model(
    names: list[str] = NAMES, categories: dict[str, str] | None = None, **model_params
) -> TrainedModel:
    """An untrained model on a small list; same arguments, same weights."""
    small = {"cell": "gru", "hidden_size": 8, "num_layers": 1, "members": 2}
    condition = "kind" if categories else ""
    params = params_with(
        data={"max_length": 12, "condition": condition}, model=small | model_params
    )
    of_names = {name: (category,) for name, category in (categories or {}).items()}
    vocabulary = Vocabulary.from_names(names, of_names)
    train = EncodedNames.from_names(names, vocabulary, of_names)
    networks = []
    for member in range(params.model.members):
        network = RecurrentNetwork(params.model, vocabulary.size, vocabulary.num_categories)
        network.initialise(torch.Generator().manual_seed(member))
        networks.append(network.eval())
    ngram = KneserNey.fit(train, vocabulary.size, order=3)
    shares = category_shares(train, vocabulary.num_categories)
    mixture = Mixture(networks, ngram, NgramWeight(0.2, 0.4), shares)
    return TrainedModel(
        mixture,
        vocabulary,
        train,
        name_hashes(names, params.data.split_key),
        Recipe.for_list(params, len(names)),
        [[Epoch(1, 2.0, 2.1, True), Epoch(2, 1.9, 2.2, False)]] * params.model.members,
        ListBits.measure(mixture, vocabulary, train, train),
        Casing({}, {}, {}),
    )


def with_fixed_logits(model: TrainedModel, logits: list[float]) -> TrainedModel:
    """The same model, saying the same logits (one for each id) at every step."""
    network = RecurrentNetwork(model.recipe.model, model.vocabulary.size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.b_y.copy_(torch.tensor(logits))
    networks = [network.eval()] * model.recipe.model.members
    return replace(model, mixture=Mixture(networks, model.mixture.ngram, NgramWeight(0.0, 0.0)))


def in_numpy(
    network: RecurrentNetwork, ids: list[int], category: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a_t and c_t of the last layer, each (T, H), and y_t, (T, V), from one-hot vectors.

    By the equations. c_t is zero but for an `lstm`.
    """

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    weights = {name: p.detach().double().numpy() for name, p in network.named_parameters()}
    layers, hidden_size = network.params.num_layers, network.params.hidden_size
    a = [np.zeros(hidden_size) for _ in range(layers)]
    c = [np.zeros(hidden_size) for _ in range(layers)]
    activations, cell_states, predictions = [], [], []
    for x in np.eye(network.vocab_size)[ids]:
        for i in range(layers):
            W_ax, W_aa, b_a = (weights[f"layers.{i}.{n}"] for n in ("W_ax", "W_aa", "b_a"))
            from_input = W_ax @ x + b_a
            if i == 0 and category is not None:
                W_ac = weights["layers.0.W_ac"]
                from_input = from_input + W_ac @ np.eye(W_ac.shape[1])[category]
            if network.params.cell == "rnn":
                a[i] = np.tanh(W_aa @ a[i] + from_input)
            elif network.params.cell == "gru":
                rx, zx, nx = np.split(from_input, 3)
                ra, za, na = np.split(W_aa @ a[i], 3)
                r, z = sigmoid(rx + ra), sigmoid(zx + za)
                a[i] = (1 - z) * np.tanh(nx + r * na) + z * a[i]
            elif network.params.cell == "lstm":
                input_, forget, cell, output = np.split(W_aa @ a[i] + from_input, 4)
                c[i] = sigmoid(forget) * c[i] + sigmoid(input_) * np.tanh(cell)
                a[i] = sigmoid(output) * np.tanh(c[i])
            else:
                raise NotImplementedError(f"{network.params.cell} in NumPy")
            x = a[i]
        logits = weights["W_ya"] @ x + weights["b_y"]
        e = np.exp(logits - logits.max())
        activations.append(x)
        cell_states.append(c[-1].copy())
        predictions.append(e / e.sum())
    return np.array(activations), np.array(cell_states), np.array(predictions)


@pytest.fixture
def model() -> TrainedModel:
    return make_model()


@pytest.fixture
def conditional() -> TrainedModel:
    """A model that takes one of the categories long, other and short."""
    return make_model(categories=CATEGORIES)


@pytest.fixture(scope="session")
def chromium() -> str:
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    if not any(found):
        pytest.skip("no chromium on this machine")
    return next(path for path in found if path)
