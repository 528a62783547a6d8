"""The model as MLflow loads and serves it: code and a safetensors file, no pickle.

MLflow runs this file when it loads the model. With `n` above 0 in the request's params it
generates as many names; otherwise it scores the names in the column `name`; of the category
`given`, where the model knows categories. `tracking.logged_model` declares those params.
MLflow's server answers an `MlflowException` with the HTTP status of its code; any other exception
becomes a 400 that shows a traceback and not the reason.
"""

from dataclasses import asdict, fields
from typing import Any

import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from nomosaurus.errors import ListError, NomosaurusError, SamplingError
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request, Tally
from nomosaurus.model.file import load_model
from nomosaurus.model.trained import ScoredName
from nomosaurus.names.reading import check_encoding
from nomosaurus.names.vocabulary import characters

MOST_NAMES = 1_000  # that one request may ask for, or have scored
MOST_DRAWS = 50_000  # after which a request is met too rarely to be served
LONGEST_SCORED = 1_000  # characters of a name; no list has longer ones (data.max_length)


class ServedModel(PythonModel):
    """`NameGenerator` behind MLflow's predict; threads may share it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model file."""
        self._generator = NameGenerator(load_model(context.artifacts["model"]))
        # As in the stages, for the same names; and one request must not take every core.
        torch.set_num_threads(self._generator.model.recipe.train.num_threads)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Generate or score; one row a name, with the fields of `ScoredName`.

        Raises:
            MlflowException: With the code that MLflow turns into HTTP 400, and one line that
                says what was wrong.
        """
        asked = {key: value for key, value in (params or {}).items() if value is not None}
        count = asked.pop("n", 0)
        asked["given"] = asked.get("given") or None  # a schema's default is a text
        asked["prefix"] = [*filter(None, [asked.get("prefix")]), *asked.pop("prefixes", [])]
        names = model_input["name"].tolist() if "name" in model_input else []
        try:
            if count == 0:
                scored = self._score(names, asked["given"])
            else:
                scored = self._generate(count, names, asked)
        except NomosaurusError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        columns = [field.name for field in fields(ScoredName)]
        return pd.DataFrame([asdict(name) for name in scored], columns=columns)

    def _generate(self, count: int, names: list[Any], settings: dict[str, Any]) -> list[ScoredName]:
        if not 0 < count <= MOST_NAMES:
            raise SamplingError(f"n must be from 1 to {MOST_NAMES:,}, got {count:,}")
        if any(name is not None for name in names):
            raise SamplingError("give names to score, or n for names to generate, not both")
        check_encoding("".join(filter(None, settings["prefix"])))
        tally = Tally()
        generated = []
        for name in self._generator.stream(count, Request(**settings), tally):
            generated.append(name)
            if tally.drawn > MOST_DRAWS and len(generated) < count:
                raise SamplingError(
                    f"found {len(generated):,} of the {count:,} names asked for in more than "
                    f"{MOST_DRAWS:,} draws; ask for fewer names, or loosen the request"
                )
        return generated

    def _score(self, names: list[Any], given: str | None) -> list[ScoredName]:
        if not 0 < len(names) <= MOST_NAMES:
            raise ListError(
                f"give from 1 to {MOST_NAMES:,} names to score in the column 'name', got "
                f"{len(names):,}; to generate names, give n in params"
            )
        for i, name in enumerate(names, start=1):
            if not isinstance(name, str):
                raise ListError(f"a name must be text, and number {i} is {name!r}")
            check_encoding(name)
            length = len(characters(self._generator.model.normalise(name)))
            if not 0 < length <= LONGEST_SCORED:
                raise ListError(
                    f"a name must have from 1 to {LONGEST_SCORED:,} characters, and number {i} "
                    f"has {length:,}"
                )
        return self._generator.score(names, given)


set_model(ServedModel())
