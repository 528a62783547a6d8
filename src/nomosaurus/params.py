"""params.yaml as strict, frozen models; the only place that reads it.

Units and meanings stand beside each value in params.yaml; the ranges stand here.
params.yaml has no defaults: it alone describes a run. The defaults of `SampleSettings` are for
requests made without it.
"""

import codecs
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from nomosaurus.errors import ParamsError, shortened

LONGEST_NAME = 1_000
"""Characters; no list has longer names."""
MOST_SAMPLES = 10_000_000
"""Names that one request may ask for."""

Share = Annotated[float, Field(gt=0, le=0.4)]
DropProbability = Annotated[float, Field(ge=0, lt=1)]
HiddenSize = Annotated[int, Field(ge=1, le=4096)]
Members = Annotated[int, Field(ge=1, le=32)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
BatchSize = Annotated[int, Field(ge=1, le=100_000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, le=1)]
Auto = Literal["auto"]
Cell = Literal["rnn", "gru", "lstm"]
CELLS: tuple[Cell, ...] = get_args(Cell)


UNREADABLE = (YAMLError, ValueError, RecursionError)
"""What a YAML reader raises: also for a date that is none, and for thousands of brackets."""
MISSING = "is missing; every value has its place in params.yaml"


class Section(BaseModel):
    """A section of params.yaml: no unknown key, no silent conversion, no change, all finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class DataParams(Section):
    """Which list, and what counts as a name."""

    path: str = Field(min_length=1)
    column: str = Field(min_length=1)
    condition: str
    weight: str
    encoding: str
    lowercase: bool
    max_length: int = Field(ge=1, le=LONGEST_NAME)
    validation_share: Share
    test_share: Share
    split_key: str = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def encoding_is_known(self) -> Self:
        """Python must know the encoding, as one of text."""
        try:
            known = self.encoding == "auto" or codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ValueError(
                f"encoding must be auto, or an encoding such as cp1252, got {self.encoding!r}"
            )
        return self


class ModelParams(Section):
    """The network's form."""

    cell: Literal[Cell, Auto]
    hidden_size: HiddenSize | Auto
    num_layers: int = Field(ge=1, le=4)
    dropout: DropProbability | Auto
    state_dropout: DropProbability | Auto
    members: Members | Auto
    ngram_weight: Annotated[float, Field(ge=0, le=1)] | Auto
    ngram_max_order: int = Field(ge=1, le=20)


class ModelRecipe(ModelParams):
    """The same with each `auto` settled, but for `ngram_weight`, which training fits."""

    cell: Cell
    hidden_size: HiddenSize
    dropout: DropProbability
    state_dropout: DropProbability
    members: Members


class TrainParams(Section):
    """The training loop."""

    start: Literal["auto", "fresh", "base"]
    start_from: str = Field(min_length=1)
    device: Literal["auto", "cpu", "cuda", "mps"]
    num_threads: int = Field(ge=1, le=256)
    max_epochs: Epochs | Auto
    patience: Epochs | Auto
    batch_size: BatchSize | Auto
    learning_rate: LearningRate | Auto
    decay: Decay | Auto
    weight_decay: float = Field(ge=0, le=1)
    clip_norm: float = Field(gt=0, le=1_000_000)
    average_decay: float = Field(ge=0, lt=1)


class TrainRecipe(TrainParams):
    """The same with each `auto` settled, but for `device`, which the machine decides."""

    start: Literal["fresh", "base"]
    max_epochs: Epochs
    patience: Epochs
    batch_size: BatchSize
    learning_rate: LearningRate
    decay: Decay


class EvaluateParams(Section):
    """How the figures are made."""

    bootstrap_samples: int = Field(ge=100, le=100_000)


class CrossvalidateParams(Section):
    """How `make crossvalidate` holds names out."""

    folds: int = Field(ge=3, le=100)


class SampleSettings(Section):
    """A request for names; the defaults are what a person wants first: new, different, plausible.

    `temperature` 1 with neither `new` nor `unique` draws from the model's own distribution.

    The one place for each setting's type, range, default and meaning: params.yaml,
    `generation.request.Request`, the command line and the served model all take theirs from here.
    """

    seed: Seed = Field(default=0, description="The same seed gives the same names.")
    temperature: float = Field(
        default=0.7,
        ge=0.01,
        le=100,
        description="Lower stays closer to the list, higher is wilder; 1 is the model's own "
        "distribution.",
    )
    top_k: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Draw each character from the k most likely; 0 for all.",
    )
    top_p: float = Field(
        default=1.0,
        ge=0.0001,
        le=1,
        description="Draw each character from the most likely that together reach this "
        "probability; 1 for all.",
    )
    prefix: str | Sequence[str] = Field(
        default="",
        max_length=LONGEST_NAME,
        description="Start every name with these characters; if there are several such beginnings, "
        "with any of them.",
    )
    min_length: int = Field(
        default=1, ge=1, le=LONGEST_NAME, description="Fewest characters in a name."
    )
    max_length: int = Field(
        default=0,
        ge=0,
        le=LONGEST_NAME,
        description="Most characters in a name; 0 for the model's own limit.",
    )
    match: str = Field(
        default="",
        max_length=1_000,
        description="Keep names in which this regular expression matches: 'us$' for an "
        "ending, 'saur' for a part.",
    )
    avoid: Sequence[Annotated[str, Field(max_length=LONGEST_NAME)]] = Field(
        default=(),
        description="Leave out these names; * stands for any characters, so *rex* leaves out every "
        "name with rex in it.",
    )
    min_distance: int = Field(
        default=0,
        ge=0,
        le=LONGEST_NAME,
        description="Fewest edits between a name and any that was learnt or is to be avoided.",
    )
    max_bits: float = Field(
        default=0.0,
        ge=0,
        le=1_000,
        description="Most bits a character, the model's own measure: with fewer, a name reads more "
        "like the list; 0 for any.",
    )
    clean: bool = Field(
        default=False,
        description="Leave out names that have an offensive word of one of 23 languages, or one "
        "that sounds like it.",
    )
    new: bool = Field(default=True, description="Leave out names that are on the list.")
    unique: bool = Field(default=True, description="Never write the same name twice.")
    raw: bool = Field(
        default=False,
        description="Write names as they are learnt, in lower case, not as the list writes them.",
    )
    given: str | None = Field(
        default=None,
        description="The category, if the model was trained with data.condition; "
        "`nomosaurus info` lists them.",
    )

    @model_validator(mode="after")
    def some_length_is_left(self) -> Self:
        """A max_length below min_length leaves no length that a name could have."""
        if 0 < self.max_length < self.min_length:
            raise ValueError(
                f"max_length must be at least min_length, got {self.max_length} "
                f"with min_length {self.min_length}"
            )
        return self


class Count(Section):
    """How many names. A class of its own: a section's keys come in the order of its bases."""

    count: int = Field(ge=1, le=MOST_SAMPLES)


class SampleParams(SampleSettings, Count):
    """How the names in samples/names.csv are drawn."""

    given: str  # '' for any category

    @model_validator(mode="after")
    def every_key_is_there(self) -> Self:
        """The defaults are not for params.yaml."""
        for key in type(self).model_fields:
            if key not in self.model_fields_set:
                raise ValueError(f"{key} {MISSING}")
        return self


class PromoteParams(Section):
    """What a model must show to become the champion."""

    registered_model: str = Field(pattern=r"^[\w.-]{1,100}$")
    margin_nats: float = Field(ge=0, le=100)
    min_gain_nats: float = Field(ge=-100, le=100)
    min_novelty: float = Field(ge=0, le=1)
    min_validity: float = Field(ge=0, le=1)
    min_uniqueness: float = Field(ge=0, le=1)


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    data: DataParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    crossvalidate: CrossvalidateParams
    sample: SampleParams
    promote: PromoteParams

    @model_validator(mode="after")
    def train_keeps_half(self) -> Self:
        """The two held-out shares must leave at least half of the names to learn."""
        held_out = self.data.validation_share + self.data.test_share
        if held_out > 0.5:
            raise ValueError(
                f"data.validation_share + data.test_share must be at most 0.5, got {held_out:g}"
            )
        return self


AUTO: dict[float, dict[str, int | float]] = {
    5_000: {
        "members": 3,
        "hidden_size": 192,
        "dropout": 0.7,
        "state_dropout": 0.5,
        "learning_rate": 0.02,
        "decay": 0.0,
        "max_epochs": 400,
        "patience": 30,
    },
    100_000: {
        "members": 2,
        "hidden_size": 256,
        "dropout": 0.5,
        "state_dropout": 0.3,
        "learning_rate": 0.02,
        "decay": 0.9,
        "max_epochs": 64,
        "patience": 8,
    },
    math.inf: {
        "members": 1,
        "hidden_size": 256,
        "dropout": 0.1,
        "state_dropout": 0.1,
        "learning_rate": 0.01,
        "decay": 0.9,
        "max_epochs": 8,
        "patience": 2,
    },
}
"""What `auto` stands for, up to so many names to learn; docs/experiments.md has the reasons."""

AUTO_RNN: dict[float, dict[str, int | float]] = {
    5_000: {"dropout": 0.4, "state_dropout": 0.3, "learning_rate": 0.005},
    100_000: {"dropout": 0.3, "state_dropout": 0.2, "learning_rate": 0.005, "max_epochs": 40},
    math.inf: {"learning_rate": 0.005},
}
"""Where the cell `rnn` wants other values: without gates, a longer step throws it off."""


BASE_UP_TO = 1_000
"""Names to learn, up to which `start: auto` tries the base; docs/experiments.md has the reasons."""

AUTO_BASE: dict[str, int | float] = {
    "members": 3,
    "dropout": 0.5,
    "state_dropout": 0.3,
    "learning_rate": 0.003,
    "decay": 0.0,
    "max_epochs": 400,
    "patience": 20,
}
"""What `auto` stands for where networks start from a base, which has learnt most already."""


def auto_batch_size(num_names: int) -> int:
    """A power of two from 8 to 256, with about nine batches an epoch or more."""
    return min(256, max(8, 2 ** round(math.log2(num_names / 9))))


class Recipe(Section):
    """The params that a model follows from, each `auto` settled but those fitted in training."""

    seed: int
    data: DataParams
    model: ModelRecipe
    train: TrainRecipe

    @classmethod
    def for_list(cls, params: Params, num_names: int, base: ModelParams | None = None) -> "Recipe":
        """Settle each `auto` by the number of names to learn, and by the base that it starts from.

        Without a base the networks start fresh.
        """
        values: dict[str, int | float | str] = {"batch_size": auto_batch_size(num_names)}
        if base:
            values |= AUTO_BASE | {"start": "base"}
            values |= {"cell": base.cell, "hidden_size": base.hidden_size}
        else:
            most = next(most for most in AUTO if num_names <= most)
            values |= AUTO[most] | {"start": "fresh", "cell": "lstm"}
            if params.model.cell == "rnn":
                values |= AUTO_RNN[most]

        def settled(section: Section) -> dict[str, Any]:
            return {
                key: values.get(key, value) if value == "auto" else value for key, value in section
            }

        return cls(
            seed=params.seed,
            data=params.data,
            model=ModelRecipe.model_validate(settled(params.model)),
            train=TrainRecipe.model_validate(settled(params.train)),
        )

    def departure_from(self, params: Params) -> str:
        """The first value that is not what these params say, in words; empty if there is none."""
        values = {"seed": (self.seed, params.seed)}
        for name in ("data", "model", "train"):
            for key, wanted in getattr(params, name):
                values[f"{name}.{key}"] = (getattr(getattr(self, name), key), wanted)
        for key, (value, wanted) in values.items():
            if wanted not in ("auto", value):
                return f"{key} {value!r}, and params.yaml has {wanted!r}"
        return ""

    def settled(self, params: Params) -> dict[str, int | float | str]:
        """What `for_list` chose, by section.key."""
        return {
            f"{name}.{key}": value
            for name in ("model", "train")
            for key, value in getattr(self, name)
            if getattr(getattr(params, name), key) == "auto" != value
        }


def load_params(path: Path, replaced: Mapping[str, Any] | None = None) -> Params:
    """Read and check params.yaml (YAML 1.2, so that 1e-3 is a number).

    `replaced` has values to take instead of the file's, by section.key.

    Raises:
        ParamsError: On the first rule broken, naming key, rule and value.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f'{path} not found; restore it with "git checkout {path}"') from None
    except UnicodeDecodeError:
        raise ParamsError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = (error.problem or "unreadable").splitlines()[0]
        raise ParamsError(f"{path}, line {line}: not valid YAML: {problem}") from None
    except RecursionError:
        raise ParamsError(f"{path}: nested too deep; it has sections of keys alone") from None
    except UNREADABLE as error:
        raise ParamsError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except ValueError as error:  # of what looks like a date, or a number of many digits
        raise ParamsError(f"{path} holds a value that cannot be read: {error}") from None
    for name, value in (replaced or {}).items():
        section, _, key = name.partition(".")
        if isinstance(content, dict) and isinstance(content.get(section), dict):
            content[section][key] = value
    return parse_params(content, str(path))


def parse_params(content: Any, source: str) -> Params:
    """Check params that were read from `source`, which the messages name.

    Raises:
        ParamsError: On the first rule broken, naming key, rule and value.
    """
    if not isinstance(content, dict):
        raise ParamsError(f"{source} must hold sections such as data: and model:")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{source}: {rule_broken(error, Params)}") from None


def rule_broken(error: ValidationError, section: type[Section]) -> str:
    """The first rule that a section's values broke: key, rule and value in one line."""
    # A misspelt key shows up twice, as missing and as unknown: the unknown one helps.
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = problem["loc"]
    alternative = ""
    if location[-1:] in (("constrained-float",), ("constrained-int",)):
        location, alternative = location[:-1], " or 'auto'"  # the number's rule
    elif location[-2:] == ("prefix", "str"):
        location, alternative = location[:-1], " or a list of texts"
    key = ".".join(str(part) for part in location)
    value = shortened(problem["input"])
    kind = problem["type"]
    if kind == "extra_forbidden":
        known = _known_keys(section, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"unknown key {key} (value {value}); {hint}"
    if kind == "missing":
        return f"{key} {MISSING}"
    if kind == "value_error":
        return ".".join(filter(None, (key, str(problem["ctx"]["error"]))))
    if kind in ("sequence_str", "is_instance_of"):
        return f"{key} must be a list, got {value}"
    if kind == "model_type":
        return f"{key} must be a section of keys, got {value}"
    rule = problem["msg"].removeprefix("Input should be ")
    rule = {
        "a valid integer": "a whole number",
        "a valid number": "a number",
        "a valid string": "text (quote it if it looks like a number)",
        "a valid boolean": "true or false",
    }.get(rule, rule)
    if rule.startswith(("a whole number", "a number", "text")):
        rule += alternative
    verb = "must be" if problem["msg"].startswith("Input should be ") else "is refused:"
    return f"{key} {verb} {rule}, got {value}"


def _known_keys(model: Any, location: tuple[Any, ...]) -> list[str]:
    for name in location:
        model = model.model_fields[name].annotation
    return list(model.model_fields)
