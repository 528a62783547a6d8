import copy
import json
import math
import random
from collections.abc import Iterator

import pytest
from finished import FIGURES, PREPARED, TRAINED, figure
from test_page import page

from nomosaurus.errors import ArtifactError
from nomosaurus.files import read_checked
from nomosaurus.report.metrics import DETAILS
from nomosaurus.report.metrics import PREPARED as PREPARED_KIND
from nomosaurus.report.metrics import TRAINED as TRAINED_KIND

ROW = {
    "category": "long",
    "names": 8,
    "nats_per_char": figure(2.0, 1.0, 3.0),
    "condition_gain_nats": figure(None),
}
FILES = {
    "prepared": (PREPARED_KIND, PREPARED, "prepare"),
    "trained": (TRAINED_KIND, TRAINED, "train"),
    "details": (DETAILS, {"model": "", "figures": FIGURES, "categories": [ROW]}, "evaluate"),
}
WRONG = [None, True, "", "x", [], {}, [1], {"value": 1}, -1, 0, 10**40, math.nan, math.inf, 0.5]


def edited(content: dict) -> Iterator[object]:
    """The content with each part replaced by each wrong value, or gone."""

    def places(tree: object, path: tuple = ()) -> Iterator[tuple]:
        yield path
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            if isinstance(value, dict | list):
                yield from places(value, (*path, key))
            else:
                yield (*path, key)

    yield from WRONG
    for *path, last in list(places(content))[1:]:
        for wrong in [..., *WRONG]:
            changed = copy.deepcopy(content)
            tree = changed
            for key in path:
                tree = tree[key]
            if wrong is ...:
                del tree[last]
            else:
                tree[last] = wrong
            yield changed


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_an_edited_file_is_one_line_or_a_report(tmp_path, file, model):
    kind, content, stage = FILES[file]
    path = tmp_path / f"{file}.json"
    refused = 0
    texts = [json.dumps(changed) for changed in edited(content)]
    texts += [json.dumps(content)[:cut] for cut in random.Random(1).sample(range(200), 20)]
    for text in texts:
        path.write_text(text)
        try:
            read = read_checked(path, kind, stage)
        except ArtifactError as error:
            refused += 1
            assert f"{file}.json is damaged" in str(error)
            assert f'"dvc repro --force {stage}"' in str(error)
            assert "\n" not in str(error)
            assert len(str(error)) < 500
        else:
            parts = {"prepared": PREPARED, "trained": TRAINED, **FILES["details"][1]}
            parts |= read if file == "details" else {file: read}
            page(
                parts["figures"],
                None,
                parts["prepared"],
                parts["categories"],
                model,
                parts["trained"],
            )
    assert refused > 0.3 * len(texts)


@pytest.mark.parametrize("file", FILES)
def test_what_the_pipeline_writes_is_read(tmp_path, file):
    kind, content, stage = FILES[file]
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_checked(tmp_path / "a.json", kind, stage) == content
