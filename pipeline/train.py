"""Stage `train`: recurrent networks learn the training names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.files import in_project, main_checkout, write_json, write_table
    from nomosaurus.model.base import load_base
    from nomosaurus.model.device import choose_device, make_repeatable
    from nomosaurus.model.file import save_model
    from nomosaurus.model.trained import ListBits, TrainedModel
    from nomosaurus.names.dataset import (
        check_prepared,
        load_casing,
        load_known_hashes,
        load_split,
        load_tries_base,
        load_vocabulary,
    )
    from nomosaurus.params import load_params
    from nomosaurus.tracking.run import training_run
    from nomosaurus.training.checkpoint import Checkpoints
    from nomosaurus.training.loop import learning_curve
    from nomosaurus.training.processes import train_networks, training_summary
    from nomosaurus.training.progress import say_settled, say_start, training_progress
    from nomosaurus.training.starts import best_of, fit_all, recipes_to_try, tasks_to_try


@one_line_errors()
@in_project
def main(params: Path, prepared: Path, model: Path, metrics: Path, curve: Path) -> None:
    """Train on the prepared data; write the model, its losses and the learning curve."""
    values = load_params(params)
    check_prepared(prepared, values.data)
    vocabulary = load_vocabulary(prepared)
    train, validation = load_split(prepared, "train"), load_split(prepared, "validation")
    base = load_base(Path(values.train.start_from)) if load_tries_base(prepared) else None
    recipes = recipes_to_try(values, len(train), base)
    for recipe in recipes:
        say_settled(recipe.settled(values), len(train))
    make_repeatable(values.train.num_threads)
    device = choose_device(values.train.device)
    tasks = tasks_to_try(recipes, train, validation, vocabulary, device, base)
    with (
        Checkpoints(main_checkout() / ".unfinished", "train", tasks) as checkpoints,
        training_run(recipes, checkpoints.fingerprint) as run,
    ):
        labels = [f"network {i} of {len(tasks)}" for i in range(1, len(tasks) + 1)]
        with training_progress(labels, recipes[0].train.max_epochs) as progress:
            # Which curve is the model's is not known while two ways to start are tried.
            watchers = [progress] if len(recipes) > 1 else [progress, run]
            trainings = train_networks(tasks, watchers, checkpoints.file)
        outcomes = fit_all(recipes, trainings, train, validation)
        best = best_of(outcomes)
        nats_by_start: dict[str, float] = {
            tried.recipe.train.start: tried.validation_nats for tried in outcomes
        }
        say_start(best.recipe, nats_by_start)
        mixture, histories = best.mixture, [training.epochs for training in best.trainings]
        known_hashes = load_known_hashes(prepared)
        list_bits = ListBits.measure(mixture, vocabulary, train, validation)
        trained = TrainedModel(
            mixture,
            vocabulary,
            train,
            known_hashes,
            best.recipe,
            histories,
            list_bits,
            load_casing(prepared),
        )
        summary = training_summary(mixture, best.trainings, validation)
        if len(recipes) > 1:
            summary |= {f"{s}_validation_nats": round(n, 4) for s, n in nats_by_start.items()}
            run.log_recipe(best.recipe)
            run.on_resume(0, histories[0])
        save_model(model, trained)
        write_json(metrics, summary)
        write_table(curve, learning_curve(histories))
        run.log_model(model)
        cpu_seconds = round(sum(training.cpu_seconds for training in trainings), 1)
        run.log_metrics({"cpu_seconds": cpu_seconds})


if __name__ == "__main__":
    typer.run(main)
