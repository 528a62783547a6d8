"""The model card and the notes of a release, as Markdown.

The headings are those of Mitchell and others (2019), the front matter is as Hugging Face takes it.
There is no date and no path of a machine in them, so the same inputs give the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nomosaurus.errors import visible
from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.figures import CATALOGUE
from nomosaurus.model.trained import TrainedModel
from nomosaurus.params import EvaluateParams, SampleParams
from nomosaurus.report.page import dropped, estimates, figure_groups, verdict
from nomosaurus.report.templates import code, render

LICENCE = "MIT"
NAMES_SHOWN = 10
CHARACTERS_SHOWN = 60


@dataclass(frozen=True)
class Origin:
    """Where a released model comes from.

    Attributes:
        repository: OWNER/REPO on GitHub.
        version: Of Nomosaurus, without the v of the tag.
        commit: 40 hexadecimal digits.
        committed_md5: DVC's hash of the model that the commit's own dvc.lock names; empty if it
            names none.
        lock_sha256: Of the dvc.lock that describes the model.
        list_md5: DVC's hash of the list.
    """

    repository: str
    version: str
    commit: str
    committed_md5: str
    lock_sha256: str
    list_md5: str

    @property
    def url(self) -> str:
        """Of the repository."""
        return f"https://github.com/{self.repository}"


def build_card(
    model: TrainedModel,
    model_file: bytes,
    prepared: Mapping[str, Any],
    trained: Mapping[str, Any],
    details: Mapping[str, Any],
    names: Sequence[str],
    evaluate: EvaluateParams,
    sample: SampleParams,
    origin: Origin,
) -> str:
    """The model card, from the model, its file's content and the pipeline's metrics files."""
    recipe = model.recipe
    characters = [visible(c) for c in model.vocabulary.characters]
    more = ["…"] if len(characters) > CHARACTERS_SHOWN else []
    values = _common(model_file, prepared, details, names, origin)
    return render(
        "card.md.jinja",
        FILTERS,
        values
        | {
            "licence": LICENCE,
            "model": model,
            "num_bytes": len(model_file),
            "md5": hashlib.md5(model_file).hexdigest(),
            "prepared": prepared,
            "trained": trained,
            "list_file": Path(recipe.data.path).name,
            "categories": [
                row | {"nats": Estimate(**row["nats_per_char"])} for row in details["categories"]
            ],
            "bootstrap_samples": evaluate.bootstrap_samples,
            "dropped": dropped(prepared),
            "characters": " ".join(characters[:CHARACTERS_SHOWN] + more),
            "recipe_json": json.dumps(recipe.model_dump(), indent=2, ensure_ascii=False),
            "sample_json": json.dumps(sample.model_dump(), ensure_ascii=False),
            "groups": list(figure_groups(values["figures"])),
        },
    )


def build_notes(
    model_file: bytes,
    prepared: Mapping[str, Any],
    details: Mapping[str, Any],
    names: Sequence[str],
    origin: Origin,
) -> str:
    """The notes of a release: its model's figures, ten names, and how to verify the file."""
    return render("notes.md.jinja", FILTERS, _common(model_file, prepared, details, names, origin))


def _common(
    model_file: bytes,
    prepared: Mapping[str, Any],
    details: Mapping[str, Any],
    names: Sequence[str],
    origin: Origin,
) -> dict[str, Any]:
    """What both documents tell; a figure that is missing has no value."""
    figures = dict.fromkeys(CATALOGUE, Estimate(None)) | estimates(details)
    claim, facts = verdict(figures, prepared["names_test"])
    return {
        "claim": claim,
        "facts": facts,
        "figures": figures,
        "catalogue": CATALOGUE,
        "names": names[:NAMES_SHOWN],
        "sha256": hashlib.sha256(model_file).hexdigest(),
        "origin": origin,
    }


def _value(figure: Estimate) -> str:
    return "not defined" if figure.value is None else f"{figure.value:.3f}"


def _interval(figure: Estimate, digits: int = 3) -> str:
    if figure.low is None or figure.high is None:
        return "too few names for an interval"
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


FILTERS: dict[str, Callable[..., str]] = {"code": code, "value": _value, "interval": _interval}
