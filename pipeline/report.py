"""Stage `report`: one page that says what the model is, and why to believe its figures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus import __version__
from nomosaurus.errors import one_line_errors
from nomosaurus.files import in_project, read_json, read_name_table, read_pictures, write_text
from nomosaurus.model.file import load_model
from nomosaurus.params import load_params
from nomosaurus.report.page import build_report


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
    trained = load_model(model)
    page = build_report(
        trained,
        model.read_bytes(),
        read_json(prepared, made_by="prepare"),
        read_json(training, made_by="train"),
        read_json(details, made_by="evaluate"),
        read_name_table(names, made_by="sample"),
        read_pictures(pictures, made_by="evaluate"),
        values.evaluate,
        values.sample,
        __version__,
    )
    write_text(report, page)


if __name__ == "__main__":
    typer.run(main)
