"""What starting from the base is worth: short lists of many kinds, in five folds each.

The lists come from packages that "make short-lists" installs, none of which the base learnt from.
A name that the base has learnt all the same is not held out. For each list this prints a row of
the table in docs/experiments.md.
"""

import json
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from nomosaurus.errors import one_line_errors
from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.model.base import load_base
from nomosaurus.model.costs import event_costs, name_costs
from nomosaurus.model.device import make_repeatable
from nomosaurus.names.corpus import normalise
from nomosaurus.params import Recipe, load_params
from nomosaurus.training.crossvalidation import fold_tasks, make_folds
from nomosaurus.training.processes import train_networks
from nomosaurus.training.starts import best_of, fit_all

FOLDS = 5
MOST_NAMES = 300
PARAMS = Path(__file__).parents[1] / "params.yaml"


def lists() -> Iterator[tuple[str, list[str]]]:
    """Lists of 40 to 300 names, each with what it is."""
    import periodictable
    import pycountry
    import webcolors
    from Bio.Restriction.Restriction_Dictionary import rest_dict
    from mimesis.datasets.int.transport import AUTO_MANUFACTURERS

    def parts_of(country: str) -> list[str]:
        found = pycountry.subdivisions.get(country_code=country)
        return [part.name for part in found]

    data = files("mimesis") / "datasets"
    dishes = json.loads((data / "it/food.json").read_text("utf-8"))["dishes"]
    kazakh = json.loads((data / "kk/person.json").read_text("utf-8"))["names"]
    animals = (files("coolname") / "data/animal.txt").read_text("utf-8").splitlines()
    yield "writing systems", [s.name.partition("(")[0] for s in pycountry.scripts]
    yield "countries", [country.name.partition(",")[0] for country in pycountry.countries]
    yield (
        "languages",
        [x.name.partition("(")[0].partition(";")[0] for x in pycountry.languages if _short(x)],
    )
    yield "regions of France", parts_of("FR")
    yield "provinces of Vietnam", parts_of("VN")
    yield "chemical elements", [element.name for element in periodictable.elements]
    yield "colours", webcolors.names("css3")
    yield "car makers", AUTO_MANUFACTURERS
    yield "Italian dishes", dishes
    yield "animals", [line for line in animals if line and not set("=#") & set(line)]
    yield "Kazakh first names", [name for names in kazakh.values() for name in names]
    yield "restriction enzymes", list(rest_dict)


def _short(language: object) -> bool:
    return hasattr(language, "alpha_2")


@one_line_errors()
def main() -> None:
    """Cross-validate each list fresh, from the base, and as `auto` chooses; print the rows."""
    params = load_params(PARAMS)
    base = load_base(Path(params.train.start_from))
    make_repeatable(params.train.num_threads)
    device = torch.device("cpu")
    gains = []
    print("| list | names | known | n-gram | fresh | base | auto | saved, 95 % interval | CPU-s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, rows in lists():
        names = sorted({normalise(row, lowercase=True) for row in rows})
        names = random.Random(1).sample(names, min(len(names), MOST_NAMES))
        folds = make_folds(names, FOLDS, params.data.split_key, base=base)
        num_names = len(folds[0].train)
        recipes = [Recipe.for_list(params, num_names, form) for form in (base.params, None)]
        trainings = train_networks(fold_tasks(folds, recipes, device, base))
        of_fold = sum(recipe.model.members for recipe in recipes)
        costs: dict[str, list[np.ndarray]] = {"ngram": [], "fresh": [], "base": [], "auto": []}
        chars = []
        for i, fold in enumerate(folds):
            own = trainings[i * of_fold : (i + 1) * of_fold]
            outcomes = fit_all(recipes, own, fold.train, fold.validation)
            best = best_of(outcomes)
            for fitted in outcomes:
                found = name_costs(
                    event_costs(fitted.mixture, fold.vocabulary, fold.test), fold.test
                )
                costs[fitted.recipe.train.start].append(found["model"].to_numpy())
                if fitted is best:
                    costs["auto"].append(found["model"].to_numpy())
            costs["ngram"].append(found["ngram"].to_numpy())
            chars.append(found["chars"].to_numpy())
        all_chars = np.concatenate(chars)
        whole = {side: np.concatenate(parts) for side, parts in costs.items()}
        nats = {side: cost.sum() / all_chars.sum() for side, cost in whole.items()}
        bootstrap = Bootstrap(params.evaluate.bootstrap_samples, params.seed)
        (saved,) = bootstrap.ratios((whole["fresh"] - whole["auto"])[None], all_chars)
        gains.append(saved.known)
        seconds = sum(training.cpu_seconds for training in trainings)
        known = int(base.knows(names).sum())
        print(
            f"| {kind} | {len(names)} | {known} | "
            + " | ".join(f"{nats[side]:.3f}" for side in ("ngram", "fresh", "base", "auto"))
            + f" | {saved.known:.3f}, {saved.low:.3f} to {saved.high:.3f} | {seconds:.0f} |",
            flush=True,
        )
    print(f"Saved on average: {np.mean(gains):.3f}; least {min(gains):.3f}, most {max(gains):.3f}")


if __name__ == "__main__":
    main()
