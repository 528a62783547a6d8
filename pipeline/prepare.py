"""Stage `prepare`: the list becomes a vocabulary and three encoded sides.

It reads the whole of params.yaml, so that a mistake anywhere in it stops the pipeline
here, before any output of another stage is touched.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus.errors import one_line_errors
from nomosaurus.files import write_json
from nomosaurus.names.corpus import build_corpus, name_hashes
from nomosaurus.names.dataset import Split, save_prepared
from nomosaurus.params import load_params


@one_line_errors()
def main(params: Path, prepared: Path, metrics: Path) -> None:
    """Read the list that params.yaml names, and write the prepared data and its counts."""
    data = load_params(params).data
    corpus = build_corpus(data)
    split = Split.encode((corpus.train, corpus.validation, corpus.test), corpus.categories)
    save_prepared(prepared, split, name_hashes(corpus.names(), data.split_key))
    write_json(metrics, corpus.report(split.vocabulary))


if __name__ == "__main__":
    typer.run(main)
