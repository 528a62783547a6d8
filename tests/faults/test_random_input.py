"""Lists and params that Hypothesis makes, where a table is too small."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from clones import FROZEN
from harness import NAMES, Case, check, set_params
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

pytestmark = pytest.mark.slowest

REPEATABLE = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # record_property only collects
)
ENDINGS = (".csv", ".tsv", ".txt", ".parquet")
PARAMS = YAML(typ="safe", pure=True).load(FROZEN / "params.yaml")
KEYS = [
    f"{section}.{key}"
    for section, keys in PARAMS.items()
    if isinstance(keys, dict)
    for key in keys
    # Whether a file that is there is a list, or a base, is asked elsewhere.
    if (section, key) not in {("data", "path"), ("train", "start"), ("train", "start_from")}
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.dates()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


def whole(ending: str) -> bytes:
    if ending == ".parquet":
        buffer = BytesIO()
        pd.DataFrame({"name": NAMES}).to_parquet(buffer)
        return buffer.getvalue()
    return "\n".join(["name", *NAMES]).encode()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Content in which a few pieces were cut out and others put in."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 20))
        content = content[:start] + draw(st.binary(max_size=8)) + content[end:]
    return content


def try_out(case: Case, record_property) -> None:
    with TemporaryDirectory() as folder:
        check(case, Path(folder), record_property)


@settings(REPEATABLE, max_examples=300)
@given(data=st.data())
def test_a_damaged_list_is_refused_in_a_line_or_read(data, record_property):
    ending = data.draw(st.sampled_from(ENDINGS))
    content = data.draw(damaged(whole(ending)))

    def make(folder: Path) -> None:
        (folder / f"a{ending}").write_bytes(content)
        set_params(folder, {"data.path": f"a{ending}"})

    try_out(Case(f"a list {ending}", make, None), record_property)


@settings(REPEATABLE, max_examples=200)
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_is_refused_in_a_line_or_taken(key, value, record_property):
    case = Case(f"{key} {value!r}", lambda folder: set_params(folder, {key: value}), None)
    try_out(case, record_property)


@settings(REPEATABLE, max_examples=200)
@given(content=damaged((FROZEN / "params.yaml").read_bytes()))
def test_a_damaged_params_yaml_is_refused_in_a_line_or_taken(content, record_property):
    def make(folder: Path) -> None:
        changed = content.replace(b"data/dinosaurs.csv", b"list.csv")
        (folder / "params.yaml").write_bytes(changed)

    try_out(Case("params.yaml", make, None), record_property)
