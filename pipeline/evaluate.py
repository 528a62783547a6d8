"""Stage `evaluate`: the trained network meets the test names, once."""

import sys
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.evaluation.bootstrap import Bootstrap
    from nomosaurus.evaluation.evaluation import Familiar, evaluate, names_to_show
    from nomosaurus.evaluation.explain import explain
    from nomosaurus.files import in_project, replace_folder, write_json, write_table
    from nomosaurus.model.base import load_base
    from nomosaurus.model.device import make_repeatable
    from nomosaurus.model.file import load_held_out, load_model
    from nomosaurus.names.dataset import load_split
    from nomosaurus.params import load_params
    from nomosaurus.report.charts import draw_charts
    from nomosaurus.report.pictures import draw_pictures, save_picture


@one_line_errors()
@in_project
def main(
    params: Path, prepared: Path, model: Path, metrics: Path, details: Path, plots: Path
) -> None:
    """Score the test names, with the n-gram beside it, measure drawn names, draw the network."""
    values = load_params(params)
    make_repeatable(values.train.num_threads)
    trained = load_model(model, values)
    test = load_held_out(prepared, "test", trained)
    familiar = None
    if trained.recipe.train.start == "base":
        base = load_base(Path(trained.recipe.train.start_from))
        familiar = Familiar(base, load_split(prepared, "familiar"))
    bootstrap = Bootstrap(values.evaluate.bootstrap_samples, values.seed)
    found = evaluate(trained, test, bootstrap, familiar)
    write_json(metrics, found.in_short())
    write_json(details, {"model": sha256(model.read_bytes()).hexdigest(), **found.in_detail()})
    shown = [
        explain(trained, name) for name in names_to_show(trained, test.distinct(), found.costs)
    ]
    drawn = draw_charts(found, trained.histories) | draw_pictures(shown)

    def write_plots(folder: Path) -> None:
        for name, table in found.tables.items():
            write_table(folder / f"{name}.csv", table)
        for name, picture in drawn.items():
            save_picture(picture, folder / f"{name}.svg")

    replace_folder(plots, write_plots)


if __name__ == "__main__":
    typer.run(main)
