"""Learn a list of names with a recurrent network, and write new ones.

>>> import nomosaurus
>>> model = nomosaurus.load("models/model.safetensors")  # doctest: +SKIP
>>> from nomosaurus.generation.request import Request
>>> request = Request(prefix="tyr", seed=1)
>>> [name.name for name in model.generate(3, request)]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nomosaurus.generation.generator import NameGenerator

__version__ = "0.1.0"


def load(path: Path | str) -> NameGenerator:
    """Read a model file; the result has `generate` and `score`.

    Raises:
        nomosaurus.errors.ModelFileError: If it is missing, cut short or not a model.
    """
    from nomosaurus.generation.generator import NameGenerator
    from nomosaurus.model.file import load_model

    return NameGenerator(load_model(path))
