"""The report: one HTML page on a model, its names and its figures, and why to believe these.

It needs nothing but itself: no network, no script, no font, and its pictures are inside. It holds
no date and no path of a machine, so the same inputs give the same bytes.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import log, log2
from operator import neg
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nomosaurus.errors import visible
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.figures import CATALOGUE, Description
from nomosaurus.model.trained import TrainedModel
from nomosaurus.params import EvaluateParams, SampleParams
from nomosaurus.report.templates import counted, render

NAMES_SHOWN = 50
LARGEST_ROUNDING = 0.01  # nats in which two processors may differ on a name
CHARACTERS_SHOWN = 100
TOO_FEW = "too few names to tell"

Form = Callable[[float], str]
Reading = Callable[[Estimate, float | None], str]


def _decimals(digits: int, value: float) -> str:
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def _percent(value: float) -> str:
    rare = 0 < value < 0.01 or 0.99 < value < 1
    return f"{_decimals(2 if rare else 1, 100 * value)} %"


def _of_100(figure: Estimate, beside: float | None) -> str:
    return f"about {_decimals(0, 100 * figure.known)} of 100"


def _of_10_000(what: str, figure: Estimate, beside: float | None) -> str:
    return f"{_decimals(0, 10_000 * figure.known)} of 10,000 draws {what}"


def _repeats(k: int, figure: Estimate, beside: float | None) -> str:
    return f"{_decimals(0, k * (1 - figure.known))} of {k:,} repeat an earlier one"


def _one_in(figure: Estimate, beside: float | None) -> str:
    if figure.known >= 0.1:
        return _of_100(figure, beside)
    return f"about one in {1 / figure.known:,.0f}" if figure.known else "next to none"


def _share_saved(figure: Estimate, beside: float | None) -> str:
    if not beside:
        return ""
    share = 1 - figure.known / beside
    return f"{_percent(abs(share))} {'below' if share >= 0 else 'above'} the n-gram’s"


def _further(figure: Estimate, beside: float | None) -> str:
    # No verdict by the interval: it is of drawn names, and held-out ones have their chance too.
    if not beside:
        return ""
    share = figure.known / beside - 1
    if abs(share) < 0.005:
        return "as far from the learnt names as real held-out names are"
    how = "further from" if share > 0 else "nearer to"
    return f"{_percent(abs(share))} {how} the learnt names than real held-out names are"


def _memorised(figure: Estimate, beside: float | None) -> str:
    times = f"a learnt name is {_decimals(1, figure.known)} times as likely as one never seen"
    return {
        "above": times,
        "around": "no memorisation seen: the interval holds 1",
        "below": "learnt names are less likely than names never seen",
        "unknown": f"{times}; {TOO_FEW} if by chance",
    }[figure.against(1.0)]


def _against_0(words: Mapping[str, str], figure: Estimate, beside: float | None) -> str:
    return words.get(figure.against(0.0), TOO_FEW)


def _against_beside(words: Mapping[str, str], figure: Estimate, beside: float | None) -> str:
    return "" if beside is None else words.get(figure.against(beside), TOO_FEW)


def _times_chance(figure: Estimate, beside: float | None) -> str:
    return (
        f"{_decimals(1, figure.known / beside)} times what chance alone makes it" if beside else ""
    )


def _nothing(figure: Estimate, beside: float | None) -> str:
    return ""


_GAIN = {
    "above": "better than the n-gram: the whole interval is above 0",
    "around": "no clear difference from the n-gram: the interval holds 0",
    "below": "worse than the n-gram: the whole interval is below 0",
}
_MEMORY = {
    "above": "it uses what it remembers: the whole interval is above 0",
    "around": "not shown to use its memory: the interval holds 0",
    "below": "its memory misleads it",
}
_CONDITION = {
    "above": "the category helps",
    "around": "not shown to help: the interval holds 0",
    "below": "the category misleads it",
}
_RESEMBLANCE = {
    "above": "further from the list than real held-out names are",
    "around": "as close to the list as real held-out names are",
    "below": "closer to the list than real held-out names are",
}
_GAP = {
    "above": "learnt names are easier for it: the whole interval is above 0",
    "around": "none seen: the interval holds 0",
    "below": "names never seen are easier for it",
}


@dataclass(frozen=True)
class Telling:
    """How a figure is told; what it is stands in the catalogue.

    Attributes:
        form: How its value is written.
        read: What to read from it, given the value beside it.
        beside: What that value is of: the n-gram, or what `Estimate.floor` says.
        of_ngram: Makes it from the n-gram's perplexity; without it, it is the floor.
    """

    form: Form
    read: Reading
    beside: str = ""
    of_ngram: Callable[[float], float] | None = None


_TWO, _THREE = partial(_decimals, 2), partial(_decimals, 3)


def _resemblance(form: Form) -> Telling:
    return Telling(form, partial(_against_beside, _RESEMBLANCE), "held-out names")


def _difference(words: Mapping[str, str]) -> Telling:
    return Telling(_THREE, partial(_against_0, words))


GROUPS = {
    "How well it predicts names it never saw": {
        "bits_per_char": Telling(_TWO, _share_saved, "n-gram", log2),
        "perplexity": Telling(_TWO, _share_saved, "n-gram", float),
        "nats_per_char": Telling(_THREE, _share_saved, "n-gram", log),
        "gain_nats": _difference(_GAIN),
        "network_perplexity": Telling(_TWO, _share_saved, "n-gram", float),
        "network_gain_nats": _difference(_GAIN),
        "memory_gain_nats": _difference(_MEMORY),
        "condition_gain_nats": _difference(_CONDITION),
        "weighted_perplexity": Telling(_TWO, _nothing),
        "weighted_gain_nats": _difference(_GAIN),
        "perplexity_with_familiar": Telling(_TWO, _nothing),
        "calibration_error": Telling(_percent, _times_chance, "by chance alone"),
    },
    "What it writes": {
        "novelty": Telling(_percent, _of_100),
        "novelty_at_10k": Telling(_percent, _of_100),
        "familiar_at_10k": Telling(_percent, _of_100),
        "uniqueness_at_1k": Telling(_percent, partial(_repeats, 1_000)),
        "uniqueness_at_10k": Telling(_percent, partial(_repeats, 10_000)),
        "validity": Telling(_percent, partial(_of_10_000, "are valid")),
        "truncated": Telling(_percent, partial(_of_10_000, "are cut off")),
    },
    "Like the list, without copying it": {
        "js_1gram": _resemblance(_THREE),
        "js_2gram": _resemblance(_THREE),
        "js_3gram": _resemblance(_THREE),
        "length_wasserstein": _resemblance(_TWO),
        "nearest_distance": Telling(_TWO, _further, "held-out names"),
        "generalisation_gap_nats": _difference(_GAP),
        "memorisation": Telling(_TWO, _memorised),
        "recall_at_1k": Telling(_percent, _one_in),
        "recall_at_10k": Telling(_percent, _one_in),
        "recall_at_100k": Telling(_percent, _one_in),
        "recall_at_1m": Telling(_percent, _one_in),
    },
}
"""The rows of the page in their groups. The n-gram's perplexity has none: it stands beside the
model's."""

PICTURES = {
    "learning_curve.svg": (
        "Learning",
        "Loss on training and validation names after each epoch.",
        "Where the validation line stops falling, a network has learnt what carries over to other "
        "names; the weights of that epoch are kept.",
    ),
    "lengths.svg": (
        "Length of names",
        "Share of names of each length, of the list and as drawn.",
        "The closer the lengths of drawn names are to those of the list, the better it has learnt "
        "where a name ends.",
    ),
    "ngrams.svg": (
        "Distance from the list",
        "Jensen–Shannon distances in 1-, 2- and 3-grams, with those of held-out names beside them.",
        "Held-out names are real, and still differ from the training names by chance: no model "
        "needs to be closer than they are.",
    ),
    "calibration.svg": (
        "Calibration",
        "How often the likeliest character came, against the probability it was given.",
        "On the diagonal, what it calls 70 % likely comes 70 times in 100.",
    ),
    "positions.svg": (
        "Bits by position",
        "Mean bits of each character of a held-out name, by its place in the name.",
        "Where the lines part, one model knows more than the other; the last places stand on few "
        "names.",
    ),
    "compact.svg": (
        "The network",
        "The network as one step with its weight matrices.",
        "The same weights are used at every step; these are the trained ones.",
    ),
    "unrolled.svg": (
        "One name, step by step",
        "A held-out name unrolled in time: character, activation, and likeliest next characters.",
        "At each step the network reads a character, updates its activation, and expects the next.",
    ),
    "activations.svg": (
        "Activations",
        "Bits of each character of three held-out names, and below them all activations, and the "
        "cell states of an lstm.",
        "Above, what each character cost, with the network’s memory and without it; below, what "
        "the network holds in memory while it reads. Units stand in the same order everywhere: by "
        "the character each speaks for most, which comes from the weights, not from the names.",
    ),
}
"""Title, alternative text and caption of each picture by its file's name, in the page's order."""


def not_of_model(
    model: TrainedModel,
    model_file: bytes,
    prepared: Mapping[str, Any],
    trained: Mapping[str, Any],
    details: Mapping[str, Any],
    names: pd.DataFrame,
    given: str,
) -> str:
    """The first stage whose output does not belong to the model; empty if all do.

    The arguments are those of `build_report`. What has no hash of the model is told by what it
    says of it: counts, and what the first names cost.
    """
    mixture, vocabulary = model.mixture, model.vocabulary
    weight, few = mixture.ngram_weight, names.head(NAMES_SHOWN)
    counts = {
        "names_train": model.train.num_names,
        "names_validation": len(model.list_bits.validation),
        "vocabulary_size": vocabulary.size,
    }
    summary = {
        "epochs": sum(map(len, model.histories)),
        "ngram_order": mixture.ngram.order,
        "ngram_weight_short": weight.short,
        "ngram_weight_long": weight.long,
        "num_parameters": mixture.num_parameters,
    }
    scored = model.score(few["name"].tolist(), given or None)
    costs = np.array([name.log_prob for name in scored]) - few["log_prob"].to_numpy()
    belongs = {
        "prepare": counts.items() <= prepared.items(),
        "train": summary.items() <= trained.items(),
        "evaluate": details.get("model") == hashlib.sha256(model_file).hexdigest(),
        "sample": not len(few) or np.median(np.abs(costs)) < LARGEST_ROUNDING,
    }
    return next((stage for stage, own in belongs.items() if not own), "")


def build_report(
    model: TrainedModel,
    model_file: bytes,
    prepared: Mapping[str, Any],
    trained: Mapping[str, Any],
    details: Mapping[str, Any],
    names: pd.DataFrame,
    pictures: Mapping[str, bytes],
    evaluate: EvaluateParams,
    sample: SampleParams,
    version: str,
) -> str:
    """The page, as HTML.

    Args:
        model: The trained model.
        model_file: The content of its file, for the hashes by which it is found again.
        prepared: metrics/prepare.json.
        trained: metrics/train.json.
        details: metrics/evaluate_details.json; figures in it that are null or missing are left
            out, and unknown ones are shown under their key.
        names: Names that the model wrote, as samples/names.csv has them.
        pictures: SVGs by file name; those that `PICTURES` lacks come last.
        evaluate: How the figures were made.
        sample: How the names were drawn.
        version: Of Nomosaurus.
    """
    figures = estimates(details)
    shown = names.head(NAMES_SHOWN)
    in_order = dict.fromkeys([*PICTURES, *pictures])
    values = {
        "version": version,
        "list_file": Path(model.recipe.data.path).name,
        "list_name": Path(model.recipe.data.path).stem,
        "verdict": verdict(figures, prepared["names_test"]),
        "novelty": figures.get("novelty", Estimate(None)).value,
        "whiskers": whiskers(figures),
        "names": shown.to_dict("records"),
        "num_names": len(names),
        "groups": list(figure_groups(figures)),
        "categories": [_category_row(row) for row in details["categories"]],
        "pictures": [_picture(name, pictures[name]) for name in in_order if name in pictures],
        "model": model,
        "characters_shown": [visible(c) for c in model.vocabulary.characters[:CHARACTERS_SHOWN]],
        "prepared": prepared,
        "dropped": dropped(prepared),
        "trained": trained,
        "settings": list(_settings(model, evaluate, sample)),
        "sample": sample,
        "bootstrap_samples": evaluate.bootstrap_samples,
        "perplexity_interval": _interval(figures["perplexity"], _TWO),
        "num_near": int((shown["distance"] <= 1).sum()),
        "sha256": hashlib.sha256(model_file).hexdigest(),
        "md5": hashlib.md5(model_file).hexdigest(),
    }
    return render("page.html.jinja", {"percent": _percent}, values)


def estimates(details: Mapping[str, Any]) -> dict[str, Estimate]:
    """The figures of metrics/evaluate_details.json."""
    return {key: Estimate(**parts) for key, parts in details["figures"].items()}


def dropped(prepared: Mapping[str, Any]) -> dict[str, int]:
    """How many rows of the list were dropped, by the reason, of metrics/prepare.json."""
    return {
        key.removeprefix("dropped_").replace("_", " "): count
        for key, count in prepared.items()
        if key.startswith("dropped_")
    }


def verdict(figures: Mapping[str, Estimate], num_test: int) -> tuple[str, str]:
    """Whether the model beats the n-gram, in a sentence, and the figures that say so."""
    bits = figures["bits_per_char"].known
    ngram = log2(figures["baseline_perplexity"].known)
    gain = figures["gain_nats"].map(lambda nats: nats / log(2))
    facts = (
        f"On {counted(num_test, 'name')} it never saw, the model needs {_TWO(bits)} bits per "
        f"character, the n-gram alone {_TWO(ngram)}"
    )
    place = gain.against(0.0)
    if place == "unknown":
        return (
            "Too few names to tell whether it beats the n-gram.",
            f"{facts}. With so few names the difference may be chance, and no interval is given.",
        )
    if place == "below":
        gain = Estimate(gain.value, gain.high, gain.low).map(neg)
    interval = f"95 % interval {_interval(gain, _THREE)}"
    size = f"{_THREE(gain.known)} bits per character"
    return {
        "above": (
            "It predicts names it never saw better than the n-gram.",
            f"{facts}: it saves {size} ({interval}).",
        ),
        "around": (
            "It is not shown to predict names better than the n-gram.",
            f"{facts}. What it saves, {size} ({interval}), may be chance: the interval holds 0.",
        ),
        "below": (
            "It does not beat the n-gram, which predicts names it never saw better.",
            f"{facts}: the model costs {size} more ({interval}).",
        ),
    }[place]


def whiskers(figures: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """Perplexities with their intervals for a chart; places in per cent of its width."""
    shown = {
        "this model": figures["perplexity"],
        "its networks alone": figures["network_perplexity"],
        "the n-gram alone": figures["baseline_perplexity"],
    }
    ends = [end for f in shown.values() for end in (f.value, f.low, f.high) if end is not None]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    start, width = min(ends) - margin, max(ends) - min(ends) + 2 * margin

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - start) / width, 2)

    return [
        {
            "label": label,
            "value": _TWO(figure.known),
            "interval": _interval(figure, _TWO),
            "point": place(figure.value),
            "low": place(figure.low),
            "high": place(figure.high),
        }
        for label, figure in shown.items()
    ]


def figure_groups(
    figures: Mapping[str, Estimate],
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows of each table of figures: the known ones in their groups, then the others."""
    ngram = figures["baseline_perplexity"]
    others = {
        key: Telling(partial(_decimals, 4), _nothing, "floor")
        for key in figures
        if key not in CATALOGUE
    }
    for title, tellings in {**GROUPS, "Other figures": others}.items():
        rows = [
            _row(key, figures[key], telling, ngram)
            for key, telling in tellings.items()
            if key in figures and figures[key].value is not None
        ]
        if rows:
            yield title, rows


def _row(key: str, figure: Estimate, telling: Telling, ngram: Estimate) -> dict[str, Any]:
    beside = ngram.map(telling.of_ngram) if telling.of_ngram else Estimate(figure.floor)
    return {
        "key": key,
        "what": CATALOGUE.get(key, Description(key, "", "", "")),
        "value": telling.form(figure.known),
        "interval": _interval(figure, telling.form),
        "beside_label": telling.beside,
        "beside": None if beside.value is None else telling.form(beside.value),
        "beside_interval": _interval(beside, telling.form),
        "reading": telling.read(figure, beside.value),
    }


def _interval(figure: Estimate, form: Form) -> str:
    """Both ends; nothing without them, or if they are one, since no resampling moves a constant."""
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return ""
    return f"{form(figure.low)} to {form(figure.high)}"


def _category_row(row: Mapping[str, Any]) -> dict[str, Any]:
    figures = {key: Estimate(**row[key]) for key in ("nats_per_char", "condition_gain_nats")}
    return {
        "category": row["category"],
        "names": row["names"],
        "figures": [
            (
                "" if figure.value is None else _THREE(figure.value),
                _interval(figure, _THREE) or "too few names",
            )
            for figure in figures.values()
        ],
    }


def _picture(name: str, content: bytes) -> dict[str, Any]:
    title, alt, caption = PICTURES.get(name, (Path(name).stem.replace("_", " "), name, ""))
    # Each in an image of its own: inlined side by side, the ids of one would be those of another.
    uri = f"data:image/svg+xml;base64,{b64encode(content).decode()}"
    return {
        "title": title,
        "alt": alt,
        "caption": caption,
        "uri": uri,
        "is_wide": _is_wide(content),
    }


def _is_wide(svg: bytes) -> bool:
    """Whether a picture is more than twice as wide as high, and so needs the page's width."""
    found = re.search(rb'viewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', svg)
    return found is not None and float(found[1]) > 2 * float(found[2])


def _settings(
    model: TrainedModel, evaluate: EvaluateParams, sample: SampleParams
) -> Iterator[tuple[str, str]]:
    yield "seed", str(model.recipe.seed)
    sections = {name: getattr(model.recipe, name) for name in ("data", "model", "train")}
    for name, section in {**sections, "evaluate": evaluate, "sample": sample}.items():
        for key, value in section:
            is_plain = isinstance(value, str) and value
            yield f"{name}.{key}", value if is_plain else json.dumps(value, ensure_ascii=False)
