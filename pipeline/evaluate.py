"""Stage `evaluate`: the trained network meets the test names, once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus.errors import one_line_errors
from nomosaurus.evaluation.evaluation import evaluate, names_to_show
from nomosaurus.evaluation.explain import explain
from nomosaurus.files import write_json, write_table
from nomosaurus.model.device import make_repeatable
from nomosaurus.model.file import load_model
from nomosaurus.names.dataset import load_split
from nomosaurus.params import load_params
from nomosaurus.report.charts import draw_charts
from nomosaurus.report.pictures import draw_pictures, save_picture
from nomosaurus.tracking import run as tracking


@one_line_errors()
def main(
    params: Path, prepared: Path, model: Path, metrics: Path, details: Path, plots: list[Path]
) -> None:
    """Score the test names, with the n-gram beside it, measure drawn names, draw the network.

    Each file of `plots` holds what its name says: a table as CSV, a chart or picture as SVG.
    """
    values = load_params(params)
    make_repeatable(values.train.num_threads)
    trained = load_model(model)
    with tracking.model_run("evaluate", model, trained) as run:
        test = load_split(prepared, "test")
        found = evaluate(trained, test, values.evaluate.bootstrap_samples, values.seed)
        write_json(metrics, found.in_short())
        write_json(details, found.in_detail())
        shown = [explain(trained, name) for name in names_to_show(trained, test, found.costs)]
        drawn = draw_charts(found, trained.histories) | draw_pictures(shown)
        for path in plots:
            if path.suffix == ".csv":
                write_table(path, found.tables[path.stem])
            else:
                save_picture(drawn[path.stem], path)
        run.log_params("evaluate", values.evaluate)
        run.log_metrics(found.in_short())
        run.log_files(metrics, details, *plots)


if __name__ == "__main__":
    typer.run(main)
