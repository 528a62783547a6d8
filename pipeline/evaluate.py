"""Stage `evaluate`: the trained network meets the test names, once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus import tracking
from nomosaurus.dataset import load_split
from nomosaurus.errors import one_line_errors
from nomosaurus.evaluation import evaluate
from nomosaurus.files import write_json, write_table
from nomosaurus.model_file import load_model
from nomosaurus.params import load_params
from nomosaurus.training import make_repeatable


@one_line_errors()
def main(params: Path, prepared: Path, model: Path, metrics: Path, lengths: Path) -> None:
    """Score the test names, with the n-gram beside it, and measure drawn names."""
    values = load_params(params)
    make_repeatable(values.train.num_threads)
    trained = load_model(model)
    test = load_split(prepared, "test")
    figures, length_table = evaluate(trained, test, values.evaluate.bootstrap_samples, values.seed)
    write_json(metrics, figures)
    write_table(lengths, length_table)
    with tracking.model_run("evaluate", model, trained) as run:
        run.log_params("evaluate", values.evaluate)
        run.log_metrics(figures)
        run.log_files(metrics, lengths)


if __name__ == "__main__":
    typer.run(main)
