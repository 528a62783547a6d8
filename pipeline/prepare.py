"""Stage `prepare`: the list becomes a vocabulary and three encoded sides.

It reads the whole of params.yaml, so that a mistake anywhere in it stops the pipeline
here, before any output of another stage is touched.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import NomosaurusError, ParamsError, one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.files import in_project, write_json
    from nomosaurus.generation.generator import check_request
    from nomosaurus.generation.request import Request
    from nomosaurus.model.base import base_to_try, hold_out_unfamiliar
    from nomosaurus.names.corpus import build_corpus, name_hashes
    from nomosaurus.names.dataset import Split, save_prepared
    from nomosaurus.params import load_params


@one_line_errors()
@in_project
def main(params: Path, prepared: Path, metrics: Path) -> None:
    """Read the list that params.yaml names, and write the prepared data and its counts."""
    values = load_params(params)
    corpus = build_corpus(values.data)
    base = base_to_try(values, corpus)
    if base:
        corpus = hold_out_unfamiliar(corpus, base)
    sides = (corpus.train, corpus.validation, corpus.test, corpus.familiar_test)
    split = Split.encode(sides, corpus.categories, corpus.weights)
    try:
        check_request(Request.from_params(values.sample), split.vocabulary, values.data)
    except NomosaurusError as error:
        raise ParamsError(f"{params}, section sample: {error}") from None
    known_hashes = name_hashes(corpus.names(), values.data.split_key)
    save_prepared(
        prepared, split, known_hashes, corpus.casing, values.data, tries_base=base is not None
    )
    write_json(metrics, corpus.report(split.vocabulary))


if __name__ == "__main__":
    typer.run(main)
