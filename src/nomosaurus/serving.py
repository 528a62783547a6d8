"""The model as MLflow loads and serves it: code and a safetensors file, no pickle.

MLflow runs this file when it loads the model. With `count` above 0 in the request's
params it generates as many names; otherwise it scores the names in the column `name`. With
`given` their category is known.
"""

from dataclasses import asdict
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModelContext

from nomosaurus.generation import Request
from nomosaurus.model_file import load_model


class ServedModel(mlflow.pyfunc.PythonModel):
    """`NameModel` behind MLflow's predict."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model file."""
        self._model = load_model(context.artifacts["model"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Generate or score; one row a name, with the fields of `ScoredName`."""
        settings = dict(params or {})
        count = settings.pop("count", 0)
        given = settings.pop("given", "") or None
        if count > 0:
            names = self._model.generate(count, Request(given=given, **settings))
        else:
            names = self._model.score(model_input["name"].tolist(), given)
        return pd.DataFrame([asdict(name) for name in names])


set_model(ServedModel())
