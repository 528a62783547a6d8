"""Stage `crossvalidate`: every name of the list is held out once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.evaluation.bootstrap import Bootstrap
    from nomosaurus.evaluation.evaluation import flat, likelihoods
    from nomosaurus.files import in_project, main_checkout, write_json
    from nomosaurus.model.base import base_to_try
    from nomosaurus.model.device import choose_device, make_repeatable
    from nomosaurus.names.corpus import build_corpus
    from nomosaurus.params import load_params
    from nomosaurus.tracking.run import crossvalidation_run
    from nomosaurus.training.checkpoint import Checkpoints
    from nomosaurus.training.crossvalidation import fold_tasks, held_out_costs, make_folds
    from nomosaurus.training.processes import train_networks
    from nomosaurus.training.progress import say_settled, training_progress
    from nomosaurus.training.starts import recipes_to_try


@one_line_errors()
@in_project
def main(params: Path, metrics: Path, cell: str | None = None) -> None:
    """Train on each fold's names, and score those it holds out."""
    values = load_params(params, {"model.cell": cell} if cell else {})
    corpus = build_corpus(values.data)
    base = base_to_try(values, corpus)
    folds = make_folds(
        corpus.names(),
        values.crossvalidate.folds,
        values.data.split_key,
        corpus.categories,
        base,
        corpus.weights,
    )
    num_names = len(folds[0].train)
    recipes = recipes_to_try(values, num_names, base)
    for recipe in recipes:
        say_settled(recipe.settled(values), num_names)
    make_repeatable(values.train.num_threads)
    tasks = fold_tasks(folds, recipes, choose_device(values.train.device), base)
    members = len(tasks) // len(folds)
    labels = [f"fold {i // members + 1}, network {i % members + 1}" for i in range(len(tasks))]
    with (
        Checkpoints(main_checkout() / ".unfinished", "crossvalidate", tasks) as checkpoints,
        crossvalidation_run(recipes, values.crossvalidate, checkpoints.fingerprint) as run,
    ):
        with training_progress(labels, recipes[0].train.max_epochs) as shown:
            trainings = train_networks(tasks, [shown], checkpoints.file)
        costs = held_out_costs(folds, trainings, recipes)
        estimates = likelihoods(costs, Bootstrap(values.evaluate.bootstrap_samples, values.seed))
        figures = flat(estimates, with_interval=estimates)
        prefix = f"cv_{cell}_" if cell else "cv_"  # "dvc exp show" tells files apart by their keys
        write_json(metrics, {f"{prefix}{key}": value for key, value in figures.items()})
        cpu_seconds = round(sum(training.cpu_seconds for training in trainings), 1)
        run.log_metrics(figures | {"cpu_seconds": cpu_seconds})
        run.log_file(metrics, "metrics")


if __name__ == "__main__":
    typer.run(main)
