"""The model as MLflow loads and serves it: code and a safetensors file, no pickle.

MLflow runs this file when it loads the model. With `n` above 0 in the request's params it
generates as many names; otherwise it scores the names in the column `name`; of the category
`given`, where the model knows categories. `tracking.logged_model` declares those params.
MLflow's server answers an `MlflowException` with the HTTP status of its code; any other exception
becomes a 400 that shows a traceback and not the reason. Before it asks the model it takes
bodies of any size, depth and shape; so this file has a look at them first.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import wraps
from typing import Any

import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from nomosaurus.errors import ListError, NomosaurusError, SamplingError, shortened
from nomosaurus.generation.generator import NameGenerator
from nomosaurus.generation.request import Request, Tally
from nomosaurus.model.file import load_model
from nomosaurus.model.trained import ScoredName
from nomosaurus.names.reading import check_encoding

MOST_NAMES = 1_000  # that one request may ask for, or have scored
MOST_LETTERS = 100_000  # of all names to score; they take a core three seconds
MOST_DRAWS = 50_000  # after which a request is met too rarely to be served
MOST_SECONDS = 10.0  # of a core, for the names to generate
MOST_BYTES = 1_000_000  # of a request's body

PARTS = ("columns", "data")  # of a dataframe_split

refusal = MlflowException.invalid_parameter_value


def looked_at_first(invocations: Callable[..., Any]) -> Callable[..., Any]:
    """MLflow's function from a request to its answer, behind a look at the request."""

    @wraps(invocations)
    def answer(data: bytes, content_type: str | None, *others: Any) -> Any:
        content_type = (content_type or "")[:100]
        if len(data) > MOST_BYTES:
            line = (
                f"a request has at most {MOST_BYTES:,} bytes, got {len(data):,}; send fewer names"
            )
            status = 413
        elif not content_type.startswith("application/json"):
            line = f"a request must have the Content-Type application/json, not {content_type!r}"
            status = 415
        else:
            try:
                return invocations(rewritten(data), content_type, *others)
            except MlflowException as error:  # with all that was sent in front
                error.message = error.message.rpartition("\nError: ")[2]
                raise
        body = json.dumps({"error_code": "BAD_REQUEST", "message": line})
        return scoring_server.InvocationsResponse(body, status, "application/json")

    return answer


def rewritten(data: bytes) -> bytes:
    """A request's body with its names in the one shape in which MLflow leaves them as they are.

    Of others it makes arrays of text, of `null` and 5 too, or tables as wide as all rows together.

    Raises:
        MlflowException: If it is no such JSON.
    """
    try:
        body = json.loads(data)
        if not isinstance(body, dict):
            raise refusal(f"a request must be a JSON object, got {shortened(body)}")
        fields = [field for field in body if field in scoring_server.SUPPORTED_FORMATS]
        if len(fields) != 1:
            some = ", ".join(sorted(scoring_server.SUPPORTED_FORMATS))
            raise refusal(f"a request must have exactly one of the input fields {some}")
        params = body.get("params") or {}
        if not isinstance(params, dict):
            raise refusal(f"params must be a JSON object, got {shortened(params)}")
        names = [[name] for name in names_in(fields[0], body[fields[0]])]
        table = {"columns": ["name"], "data": names}
        content = {"dataframe_split": table, "params": params}
        return json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise refusal("the JSON is nested too deep; no request needs five levels") from None
    except ValueError as error:  # also of half a character, or thousands of digits
        problem = str(error).partition(";")[0]
        raise refusal(f"a request must be valid JSON: {problem}") from None


def names_in(field: str, content: Any) -> list[Any]:
    """What stands for names in a field of a request, whatever it is; other columns are left out.

    Raises:
        MlflowException: If it is no table.
    """
    if field == "dataframe_split":
        columns, data = (content.get(key) if isinstance(content, dict) else None for key in PARTS)
        if not (isinstance(columns, list) and isinstance(data, list)) or not all(
            isinstance(row, list) and len(row) == len(columns) for row in data
        ):
            raise refusal("dataframe_split must have columns, and data: rows as long as columns")
        return [row[columns.index("name")] for row in data] if "name" in columns else []
    if isinstance(content, dict):
        content = content.get("name", [])
    rows = content if isinstance(content, list) else [content]
    if all(isinstance(row, dict) and "name" not in row for row in rows):
        return []
    return [row.get("name") if isinstance(row, dict) else row for row in rows]


scoring_server.invocations = looked_at_first(inspect.unwrap(scoring_server.invocations))


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
            raise refusal(str(error)) from None
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
        request = Request(**settings)
        for name in self._generator.stream(count, request, tally, MOST_SECONDS):
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
        letters = sum(len(name) for name in names if isinstance(name, str))
        if letters > MOST_LETTERS:
            raise ListError(
                f"the names of a request have at most {MOST_LETTERS:,} letters together, got "
                f"{letters:,}; send fewer at a time"
            )
        return self._generator.score(names, given)


set_model(ServedModel())
