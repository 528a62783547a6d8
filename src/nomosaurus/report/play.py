"""A page to play with: the model in a browser, in one file that loads nothing.

Its weights are rounded to a few bits, so that the page is small; what that costs is measured and
stated. The parts of the page lie in the folder `play/`: the template, the style, the words in
English and Spanish, the model in JavaScript (`engine.js`) and the page itself (`play.js`).
"""

# R rows of a matrix

import base64
import html
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nomosaurus.evaluation.reach import gradient_reach
from nomosaurus.generation.sampling import Drawing, draw_samples
from nomosaurus.model.mixture import NETWORKS_ALONE, Mixture
from nomosaurus.model.network import RecurrentNetwork
from nomosaurus.model.trained import Epoch, TrainedModel
from nomosaurus.names.corpus import MARKS, name_hash
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.params import SampleSettings

PARTS = Path(__file__).parent / "play"
LARGEST_PAGE = 1_500_000
"""Bytes; a model that would make a larger page is rounded to fewer bits."""
BITS = (14, 8)
"""Of a weight: those to try, in this order."""
NAMES_AN_EPOCH = 6
NUM_EXAMPLES = 3


@dataclass(frozen=True)
class ArticleNetwork:
    """The source article's network, trained along for the page.

    Attributes:
        network: Of the cell `rnn`.
        epochs: Its losses.
        early: The network as it was after some of the epochs, by their number.
    """

    network: RecurrentNetwork
    epochs: Sequence[Epoch]
    early: Mapping[int, RecurrentNetwork]


def build_play_page(model: TrainedModel, validation: EncodedNames, article: ArticleNetwork) -> str:
    """The page, as HTML.

    Args:
        model: The model that it runs.
        validation: Names to measure on; none of them stands in the page, but for the examples.
        article: The network to look at beside the model's.
    """
    for bits in BITS:
        page = _page(model, validation, article, bits)
        if len(page.encode()) <= LARGEST_PAGE:
            break
    return page


def _page(model: TrainedModel, validation: EncodedNames, article: ArticleNetwork, bits: int) -> str:
    networks = {f"networks.{i}": n for i, n in enumerate(model.mixture.networks)}
    networks["rnn"] = article.network
    matrices = {
        f"{prefix}.{name}": weight.numpy().reshape(len(weight), -1)
        for prefix, network in networks.items()
        for name, weight in network.state_dict().items()
    }
    content = _content(model, validation, article) | {
        "bits": bits,
        "rounding": _cost_of_rounding(model, validation, bits),
        "tensors": [[name, *matrix.shape] for name, matrix in matrices.items()],
    }
    packed = pack(list(matrices.values()), model.train.distinct(), bits)
    values = {
        "title": html.escape(_title(model)),
        "style": (PARTS / "play.css").read_text("utf-8"),
        "engine": (PARTS / "engine.js").read_text("utf-8"),
        "words": (PARTS / "words.js").read_text("utf-8"),
        "page": (PARTS / "play.js").read_text("utf-8"),
        "content": _in_script(content),
        "weights": base64.b64encode(packed).decode(),
    }
    page = (PARTS / "play.html").read_text("utf-8")
    before, *rest = page.split("{{")
    for part in rest:
        name, after = part.split("}}", 1)
        before += values[name.strip()] + after
    return before


def _in_script(content: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")


def _title(model: TrainedModel) -> str:
    return Path(model.recipe.data.path).stem.replace("_", " ").replace("-", " ").capitalize()


def _content(
    model: TrainedModel, validation: EncodedNames, article: ArticleNetwork
) -> dict[str, Any]:
    """All that the page knows but for the weights and the names."""
    recipe, mixture, train = model.recipe, model.mixture, model.train.distinct()
    names = [model.vocabulary.decode(train[i]) for i in range(len(train))]
    learnt = {name_hash(name, recipe.data.split_key) for name in names}
    sizes = ("cell", "hidden_size", "num_layers")
    examples = _examples(model, validation)
    reach = {"rnn": article.network} | {recipe.model.cell: mixture.networks[0]}
    settings = SampleSettings()
    return {
        "title": _title(model),
        "file": recipe.data.path,
        **asdict(model.vocabulary),
        "lowercase": recipe.data.lowercase,
        "max_length": recipe.data.max_length,
        "split_key": recipe.data.split_key,
        "marks": MARKS,
        "casing": asdict(model.casing),
        "shares": mixture.category_shares,
        "ngram_order": mixture.ngram.order,
        "ngram_weight": mixture.ngram_weight,
        "weights": None if (train.weights == 1).all() else train.weights.tolist(),
        "held_out": [f"{h:016x}" for h in model.known_hashes.tolist() if h not in learnt],
        "networks": [recipe.model.model_dump(include=set(sizes))] * len(mixture.networks),
        "rnn": article.network.params.model_dump(include=set(sizes)),
        "temperature": settings.temperature,
        "examples": examples,
        "losses": {
            "model": [_losses(history) for history in model.histories],
            "rnn": _losses(article.epochs),
        },
        "early": [
            [number, _first_names(model, network)] for number, network in article.early.items()
        ],
        "reach": {
            cell: [float(f"{norm:.4g}") for norm in gradient_reach(network, validation)]
            for cell, network in reach.items()
        },
    }


def _losses(history: Sequence[Epoch]) -> list[list[float]]:
    """Of each epoch: training and validation loss, in nats."""
    return [[round(e.train_nats, 4), round(e.validation_nats, 4)] for e in history]


def _first_names(model: TrainedModel, network: RecurrentNetwork) -> list[str]:
    """The first names that a network writes by itself; those that are cut off have a mark."""
    alone = Mixture([network], model.mixture.ngram, NETWORKS_ALONE, model.mixture.category_shares)
    settings = SampleSettings()
    drawing = Drawing(temperature=settings.temperature, max_length=model.recipe.data.max_length)
    samples = draw_samples(alone, drawing, settings.seed)
    drawn = [next(samples) for _ in range(NAMES_AN_EPOCH)]
    return [
        model.written(model.vocabulary.decode(sample.ids)) + ("" if sample.ended else "…")
        for sample in drawn
    ]


def _examples(model: TrainedModel, validation: EncodedNames) -> list[str]:
    """The validation names that a network would lose most of without its memory."""
    network = model.mixture.networks_alone()
    names = validation.distinct()
    known = [
        i for i in range(len(names)) if (names[i] < model.vocabulary.size).all() and len(names[i])
    ]
    if not known:
        return [model.vocabulary.decode(model.train[0])]
    names = names.select(np.array(known))
    forgetful = -names.sum_by_name(network.event_log_probs(names, forget=True))
    saved = (forgetful - network.name_nats(names)) / (names.lengths + 1)  # (N,)
    best = np.argsort(-saved, kind="stable")[:NUM_EXAMPLES]
    return [model.vocabulary.decode(names[i]) for i in best]


def pack(matrices: Sequence[np.ndarray], names: EncodedNames, bits: int) -> bytes:
    """Matrices as whole numbers of so many bits, each row to a scale of its own, and names.

    Deflated: the scales of all rows, float32; the low bytes of all cells; above 8 bits, their
    high bytes; then each name as its ids behind a boundary, uint16.
    """
    rounded = [_rounded(matrix, bits) for matrix in matrices]
    scales = np.concatenate([scale for _, scale in rounded]).astype("<f4")
    cells = np.concatenate([whole.ravel() for whole, _ in rounded]).astype("<i2")
    planes = cells.view(np.uint8).reshape(-1, 2).T  # (2, cells)
    ids = [np.concatenate(([0], names[i])) for i in range(len(names))]
    text = np.concatenate(ids).astype("<u2")
    content = [scales, *planes[: 1 if bits <= 8 else 2], text]
    return zlib.compress(b"".join(part.tobytes() for part in content), 9)


def _rounded(matrix: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers of the shape of the matrix, and the scale of each row, (R,)."""
    highest = np.abs(matrix).max(axis=1)  # (R,)
    scale = (np.where(highest > 0, highest, 1) / (2 ** (bits - 1) - 1)).astype(np.float32)
    return np.rint(matrix / scale[:, None]).astype(np.int16), scale


def rounded_network(network: RecurrentNetwork, bits: int) -> RecurrentNetwork:
    """The network as the page has it."""
    copy = RecurrentNetwork(network.params, network.vocab_size, network.num_categories)
    weights = {}
    for name, weight in network.state_dict().items():
        whole, scale = _rounded(weight.numpy().reshape(len(weight), -1), bits)
        weights[name] = torch.from_numpy((whole * scale[:, None]).astype(np.float32))
        weights[name] = weights[name].reshape(weight.shape)
    copy.load_state_dict(weights)
    return copy.eval()


def _cost_of_rounding(
    model: TrainedModel, validation: EncodedNames, bits: int
) -> dict[str, float | int]:
    """How much rounding changes the nats of a validation name: on average, and the most."""
    networks = [rounded_network(network, bits) for network in model.mixture.networks]
    exact = model.mixture.name_nats(validation)
    page = replace(model.mixture, networks=networks).name_nats(validation)
    return {
        "names": len(validation),
        "mean": float((page - exact).mean()),
        "most": float(np.abs(page - exact).max()),
    }
