"""Stage `train`: a recurrent network learns the training names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus import tracking
from nomosaurus.dataset import load_known_hashes, load_split, load_vocabulary
from nomosaurus.errors import one_line_errors
from nomosaurus.files import write_json, write_table
from nomosaurus.model import NameModel, Recipe
from nomosaurus.model_file import save_model
from nomosaurus.params import load_params
from nomosaurus.progress import training_progress
from nomosaurus.training import choose_device, make_repeatable, train_network


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
    with (
        tracking.training_run("train", recipe) as run,
        training_progress(recipe.train.max_epochs) as progress,
    ):
        training = train_network(
            train,
            validation,
            vocabulary.size,
            recipe.model,
            recipe.train,
            recipe.seed,
            device,
            on_epoch=lambda epoch: (progress.on_epoch(epoch), run.log_epoch(epoch)),
            on_batch=progress.on_batch,
        )
        trained = NameModel(
            training.network, vocabulary, train, known_hashes, recipe, training.best
        )
        save_model(model, trained)
        write_json(metrics, training.summary())
        write_table(curve, training.curve())
        run.log_model(model, trained)
        run.log_files(metrics, curve)


if __name__ == "__main__":
    typer.run(main)
