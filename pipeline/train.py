"""Stage `train`: recurrent networks learn the training names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

import typer

from nomosaurus.errors import one_line_errors
from nomosaurus.files import main_checkout, write_json, write_table
from nomosaurus.model.device import choose_device, make_repeatable
from nomosaurus.model.file import save_model
from nomosaurus.model.mixture import fit_mixture
from nomosaurus.model.trained import ListBits, TrainedModel
from nomosaurus.names.dataset import load_known_hashes, load_split, load_vocabulary
from nomosaurus.params import Recipe, load_params
from nomosaurus.tracking.run import training_run
from nomosaurus.training.checkpoint import Checkpoints
from nomosaurus.training.loop import learning_curve
from nomosaurus.training.processes import member_tasks, train_networks, training_summary
from nomosaurus.training.progress import say_settled, training_progress


@one_line_errors()
def main(params: Path, prepared: Path, model: Path, metrics: Path, curve: Path) -> None:
    """Train on the prepared data; write the model, its losses and the learning curve."""
    vocabulary = load_vocabulary(prepared)
    train, validation = load_split(prepared, "train"), load_split(prepared, "validation")
    values = load_params(params)
    recipe = Recipe.for_list(values, len(train))
    say_settled(recipe.settled(values), len(train))
    make_repeatable(recipe.train.num_threads)
    device = choose_device(recipe.train.device)
    tasks = member_tasks(train, validation, vocabulary, recipe, device)
    with (
        Checkpoints(main_checkout() / ".unfinished", "train", tasks) as checkpoints,
        training_run(recipe, checkpoints.fingerprint) as run,
    ):
        labels = [f"network {i} of {len(tasks)}" for i in range(1, len(tasks) + 1)]
        with training_progress(labels, recipe.train.max_epochs) as progress:
            trainings = train_networks(tasks, [progress, run], checkpoints.file)
        networks = [training.network for training in trainings]
        mixture = fit_mixture(networks, train, validation, recipe.model)
        histories = [training.epochs for training in trainings]
        known_hashes = load_known_hashes(prepared)
        list_bits = ListBits.measure(mixture, vocabulary, train, validation)
        trained = TrainedModel(
            mixture, vocabulary, train, known_hashes, recipe, histories, list_bits
        )
        summary = training_summary(mixture, trainings, validation)
        save_model(model, trained)
        write_json(metrics, summary)
        write_table(curve, learning_curve(histories))
        run.log_model(model)
        cpu_seconds = round(sum(training.cpu_seconds for training in trainings), 1)
        run.log_metrics({"cpu_seconds": cpu_seconds})


if __name__ == "__main__":
    typer.run(main)
