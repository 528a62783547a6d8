"""Stage `evaluate`: the trained network meets the test names, once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus import tracking
from nomosaurus.dataset import load_split
from nomosaurus.errors import one_line_errors
from nomosaurus.evaluation import evaluate, name_costs, names_to_show
from nomosaurus.explain import explain
from nomosaurus.files import write_json, write_table
from nomosaurus.model_file import load_model
from nomosaurus.params import load_params
from nomosaurus.pictures import draw_activations, draw_compact, draw_unrolled, save_picture
from nomosaurus.training import make_repeatable


@one_line_errors()
def main(
    params: Path,
    prepared: Path,
    model: Path,
    metrics: Path,
    lengths: Path,
    activations: Path,
    unrolled: Path,
    compact: Path,
) -> None:
    """Score the test names, with the n-gram beside it, measure drawn names, draw the network."""
    values = load_params(params)
    make_repeatable(values.train.num_threads)
    trained = load_model(model)
    with tracking.model_run("evaluate", model, trained) as run:
        test = load_split(prepared, "test")
        costs = name_costs(trained, test)
        figures, length_table = evaluate(
            trained, costs, values.evaluate.bootstrap_samples, values.seed
        )
        write_json(metrics, figures)
        write_table(lengths, length_table)
        shown = [explain(trained, name) for name in names_to_show(trained, test, costs)]
        save_picture(draw_activations(shown), activations)
        save_picture(draw_unrolled(shown[len(shown) // 2]), unrolled)
        save_picture(draw_compact(shown[0]), compact)
        run.log_params("evaluate", values.evaluate)
        run.log_metrics(figures)
        run.log_files(metrics, lengths, activations, unrolled, compact)


if __name__ == "__main__":
    typer.run(main)
