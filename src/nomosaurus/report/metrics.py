"""What the pipeline leaves in metrics/: the types by which those who read it check it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, FiniteFloat, TypeAdapter


def _with(*keys: str) -> AfterValidator:
    def check(values: Mapping[str, object]) -> Mapping[str, object]:
        for key in keys:
            if key not in values:
                raise ValueError(f"{key} is missing")
        return values

    return AfterValidator(check)


ABOVE_0 = ("perplexity", "network_perplexity", "baseline_perplexity", "bits_per_char")
HEADLINES = (*ABOVE_0, "gain_nats", "novelty")
"""Figures that each reader shows."""

Counts = dict[str, int | FiniteFloat]
Figure = Annotated[
    dict[Literal["value", "low", "high", "floor"], FiniteFloat | None], _with("value")
]
"""An `Estimate`."""


class CategoryRow(BaseModel):
    """What the names of a category cost."""

    category: str
    names: int
    nats_per_char: Figure
    condition_gain_nats: Figure


def _with_headlines(figures: dict[str, Figure]) -> dict[str, Figure]:
    for key in ABOVE_0:
        if any(part is not None and part <= 0 for part in figures.get(key, {}).values()):
            raise ValueError(f"{key} is not above 0")
    for key in HEADLINES:
        if figures.get(key, {}).get("value") is None:
            raise ValueError(f"{key} is missing")
    return figures


class Details(BaseModel):
    """metrics/evaluate_details.json; `model` is the SHA-256 of the model's file."""

    model: str
    figures: Annotated[dict[str, Figure], AfterValidator(_with_headlines)]
    categories: list[CategoryRow]


class SomeDetails(BaseModel):
    """The same, of another version of Nomosaurus."""

    figures: dict[str, Figure]


PREPARED: TypeAdapter[Mapping[str, Any]] = TypeAdapter(
    Annotated[
        Counts,
        _with(
            *("rows_read", "names_kept", "duplicates_merged", "mean_length", "longest_name"),
            *("names_train", "names_validation", "names_test", "unknown_validation"),
            *("unknown_test", "familiar_test", "case_kept", "several_categories"),
        ),
    ]
)
"""metrics/prepare.json."""

TRAINED: TypeAdapter[Mapping[str, Any]] = TypeAdapter(
    Annotated[
        Counts,
        _with(
            *("epochs", "num_parameters", "validation_nats"),
            *("network_validation_nats", "ngram_validation_nats"),
        ),
    ]
)
"""metrics/train.json."""

DETAILS: TypeAdapter[Any] = TypeAdapter(Annotated[Details, AfterValidator(BaseModel.model_dump)])
SOME_DETAILS = TypeAdapter(SomeDetails)

FIGURES: TypeAdapter[Mapping[str, float | None]] = TypeAdapter(dict[str, FiniteFloat | None])
"""Any other file in metrics/: a figure a line, null where it is not defined."""
