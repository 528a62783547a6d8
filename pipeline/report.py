"""Stage `report`: one page that says what the model is, and why to believe its figures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus.errors import one_line_errors
from nomosaurus.files import read_json, read_name_table, read_output, write_text
from nomosaurus.model.file import load_model
from nomosaurus.params import load_params
from nomosaurus.report.page import build_report
from nomosaurus.tracking import run as tracking


@one_line_errors()
def main(
    params: Path,
    model: Path,
    prepared: Path,
    training: Path,
    details: Path,
    names: Path,
    report: Path,
    pictures: list[Path],
) -> None:
    """Write the report from what the other stages found; the pictures are SVGs, in its order."""
    values = load_params(params)
    trained = load_model(model)
    with tracking.model_run("report", model, trained) as run:
        page = build_report(
            trained,
            model.read_bytes(),
            read_json(prepared, made_by="prepare"),
            read_json(training, made_by="train"),
            read_json(details, made_by="evaluate"),
            read_name_table(names, made_by="sample"),
            {path.name: read_output(path, made_by="evaluate") for path in pictures},
            values.evaluate,
            values.sample,
        )
        write_text(report, page)
        run.log_files(report)


if __name__ == "__main__":
    typer.run(main)
