"""The ways in which a list's networks may start, trained side by side; validation chooses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nomosaurus.model.base import Base
from nomosaurus.model.mixture import Mixture, fit_mixture
from nomosaurus.names.dataset import EncodedNames
from nomosaurus.names.vocabulary import Vocabulary
from nomosaurus.params import Params, Recipe
from nomosaurus.training.loop import Task, Training
from nomosaurus.training.processes import member_tasks


def recipes_to_try(params: Params, num_names: int, base: Base | None) -> list[Recipe]:
    """A recipe for each way to start: from the base, if there is one to try, and fresh."""
    from_base = [Recipe.for_list(params, num_names, base.params)] if base else []
    if from_base and params.train.start == "base":
        return from_base
    return [*from_base, Recipe.for_list(params, num_names)]


def tasks_to_try(
    recipes: Sequence[Recipe],
    train: EncodedNames,
    validation: EncodedNames,
    vocabulary: Vocabulary,
    device: torch.device,
    base: Base | None,
) -> list[Task]:
    """The tasks of all recipes, recipe after recipe."""
    return [
        task
        for recipe in recipes
        for task in member_tasks(train, validation, vocabulary, recipe, device, base)
    ]


LEAST_SAVING = 0.02
"""Nats per event that the base must save on the validation names: less may be chance. On short
lists of many kinds any value from 0.01 to 0.05 gives the same (docs/experiments.md)."""


@dataclass(frozen=True)
class Fitted:
    """The outcome of one recipe.

    Attributes:
        validation_nats: Of the mixture, per event, by weight, characters never seen left out.
    """

    recipe: Recipe
    trainings: list[Training]
    mixture: Mixture
    validation_nats: float


def fit_all(
    recipes: Sequence[Recipe],
    trainings: Sequence[Training],
    train: EncodedNames,
    validation: EncodedNames,
) -> list[Fitted]:
    """Fit each recipe's mixture.

    Args:
        recipes: Those tried, as `recipes_to_try` gives them.
        trainings: In the order of `tasks_to_try`.
        train: The names that they learnt.
        validation: The names that choose.
    """
    rest = list(trainings)
    outcomes = []
    for recipe in recipes:
        own, rest = rest[: recipe.model.members], rest[recipe.model.members :]
        mixture = fit_mixture([t.network for t in own], train, validation, recipe.model)
        log_probs = mixture.event_log_probs(validation)
        nats = -validation.mean_of_known(log_probs, mixture.vocab_size)
        outcomes.append(Fitted(recipe, own, mixture, nats))
    return outcomes


def best_of(outcomes: Sequence[Fitted]) -> Fitted:
    """The last outcome, unless one before it is better by `LEAST_SAVING`."""
    *others, kept = outcomes
    for fitted in others:
        if fitted.validation_nats <= kept.validation_nats - LEAST_SAVING:
            kept = fitted
    return kept
