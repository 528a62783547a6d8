"""Stage `train`: recurrent networks learn the training names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus import tracking
from nomosaurus.dataset import load_known_hashes, load_split, load_vocabulary
from nomosaurus.ensemble import Task, learning_curve, train_members, training_summary
from nomosaurus.errors import one_line_errors
from nomosaurus.files import write_json, write_table
from nomosaurus.mixture import fit_mixture
from nomosaurus.model import NameModel, Recipe
from nomosaurus.model_file import save_model
from nomosaurus.params import load_params
from nomosaurus.progress import training_progress
from nomosaurus.training import choose_device, make_repeatable


@one_line_errors()
def main(params: Path, prepared: Path, model: Path, metrics: Path, curve: Path) -> None:
    """Train on the prepared data; write the model, its losses and the learning curve."""
    values = load_params(params)
    recipe = Recipe(values.seed, values.data, values.model, values.train)
    vocabulary = load_vocabulary(prepared)
    train, validation = load_split(prepared, "train"), load_split(prepared, "validation")
    known_hashes = load_known_hashes(prepared)
    make_repeatable(recipe.train.num_threads)
    device = choose_device(recipe.train.device)
    task = Task(train, validation, vocabulary.size, recipe.model, recipe.train, device)
    with (
        tracking.training_run("train", recipe) as run,
        training_progress(recipe.model.members, recipe.train.max_epochs) as progress,
    ):
        trainings = train_members(
            task,
            recipe.seed,
            on_epoch=lambda member, epoch: (
                progress.on_epoch(member, epoch),
                run.log_epoch(member, epoch),
            ),
            on_progress=progress.on_progress,
        )
        networks = [training.network for training in trainings]
        mixture = fit_mixture(networks, train, validation, recipe.model)
        histories = [training.epochs for training in trainings]
        trained = NameModel(mixture, vocabulary, train, known_hashes, recipe, histories)
        summary = training_summary(mixture, trainings, validation)
        save_model(model, trained)
        write_json(metrics, summary)
        write_table(curve, learning_curve(trainings))
        run.log_model(model)
        run.log_metrics(summary)
        run.log_files(metrics, curve)


if __name__ == "__main__":
    typer.run(main)
