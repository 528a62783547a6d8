"""Stage `report`: one page that says what the model is, and why to believe its figures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import ArtifactError, one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus import __version__
    from nomosaurus.files import (
        in_project,
        read_checked,
        read_name_table,
        read_pictures,
        write_text,
    )
    from nomosaurus.model.file import load_model
    from nomosaurus.params import load_params
    from nomosaurus.report.metrics import DETAILS, PREPARED, TRAINED
    from nomosaurus.report.page import build_report, not_of_model


@one_line_errors()
@in_project
def main(
    params: Path,
    model: Path,
    prepared: Path,
    training: Path,
    details: Path,
    names: Path,
    pictures: Path,
    report: Path,
) -> None:
    """Write the report from what the other stages found."""
    values = load_params(params)
    trained, content = load_model(model, values), model.read_bytes()
    parts = (
        read_checked(prepared, PREPARED, made_by="prepare"),
        read_checked(training, TRAINED, made_by="train"),
        read_checked(details, DETAILS, made_by="evaluate"),
        read_name_table(names, "sample", ("name", "bits_per_char", "nearest", "distance")),
    )
    if stage := not_of_model(trained, content, *parts, values.sample.given):
        raise ArtifactError(f'what stage {stage} wrote is not of {model}; run "dvc repro"')
    page = build_report(
        trained,
        content,
        *parts,
        read_pictures(pictures, made_by="evaluate"),
        values.evaluate,
        values.sample,
        __version__,
    )
    write_text(report, page)


if __name__ == "__main__":
    typer.run(main)
