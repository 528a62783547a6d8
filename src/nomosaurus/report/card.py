"""The model card and the notes of a release, as Markdown.

The headings are those of Mitchell and others (2019), the front matter is as Hugging Face takes it.
There is no date and no path of a machine in them, so the same inputs give the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nomosaurus.evaluation.estimate import Estimate
from nomosaurus.evaluation.figures import CATALOGUE
from nomosaurus.model.trained import TrainedModel
from nomosaurus.params import EvaluateParams, SampleParams
from nomosaurus.report.page import counted, figure_groups, verdict

LICENCE = "MIT"

NAMES_SHOWN = 10

CHARACTERS_SHOWN = 60

RESEMBLANCES = ("js_1gram", "js_2gram", "js_3gram", "length_wasserstein")


@dataclass(frozen=True)
class Origin:
    """Where a released model comes from.

    Attributes:
        repository: OWNER/REPO on GitHub.
        version: Of Nomosaurus, without the v of the tag.
        commit: 40 hexadecimal digits.
        committed_md5: DVC's hash of the model that the commit's own dvc.lock names; empty if it
            names none.
        lock_sha256: Of the dvc.lock that describes the model.
        list_md5: DVC's hash of the list.
    """

    repository: str
    version: str
    commit: str
    committed_md5: str
    lock_sha256: str
    list_md5: str

    @property
    def url(self) -> str:
        """Of the repository."""
        return f"https://github.com/{self.repository}"

    def link(self, path: str) -> str:
        """To a file of the commit."""
        return f"[{path}]({self.url}/blob/{self.commit}/{path})"


def code(text: str) -> str:
    """Any text as a code span: as it is, without mark-up, links or mentions.

    The fence is longer than any run of backticks in the text, as CommonMark wants it.
    """
    text = re.sub(r"[\r\n]+", " ", text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    edge = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{edge}{text}{edge}{fence}"


def build_card(
    model: TrainedModel,
    model_file: bytes,
    prepared: Mapping[str, Any],
    trained: Mapping[str, Any],
    details: Mapping[str, Any],
    names: Sequence[str],
    evaluate: EvaluateParams,
    sample: SampleParams,
    origin: Origin,
) -> str:
    """The model card.

    Args:
        model: The trained model.
        model_file: The content of its file.
        prepared: metrics/prepare.json.
        trained: metrics/train.json.
        details: metrics/evaluate_details.json.
        names: Names that the model wrote; the first ten are shown.
        evaluate: How the figures were made.
        sample: How the names were drawn.
        origin: Where the model comes from.
    """
    figures = _figures(details)
    recipe = model.recipe
    claim, facts = verdict(figures, prepared["names_test"])
    parts = [
        _front_matter(recipe.model.cell),
        f"# Nomosaurus v{origin.version}: names like those of {code(Path(recipe.data.path).name)}",
        f"It has learnt {prepared['names_train']:,} names, character by character, and writes new "
        "ones:",
        _name_list(names),
        f"**{claim}** {facts}",
        "## Model details",
        _list(_details(model, model_file, trained, origin)),
        "## Intended use",
        "- To write names that sound like those of the list, for people to choose from.\n"
        "- To say how likely, and how typical of the list, a name is.\n"
        "- To show what a recurrent network remembers: each step of it can be looked into.",
        "### Not intended",
        "- As a source of facts: a name it writes is made up, and stands for nothing.\n"
        "- To clear a name for use: that it is new here says nothing of brands, places or people.\n"
        "- To judge people by their names, or to decide anything about them.",
        "## Factors",
        _factors(model, details),
        "## Metrics",
        "What a name costs is measured on names that the model never saw. The rest compares names "
        "that it drew as it is (temperature 1, nothing left out) with these and with the training "
        "names. Each figure has its definition beside it below. A 95 % "
        f"interval is a percentile bootstrap over names, {evaluate.bootstrap_samples:,} samples; "
        "a gain is paired, both models on the same names.",
        "## Evaluation data",
        f"{counted(prepared['names_test'], 'name')} of the same list, chosen by a keyed hash of "
        "each name. They were read once, after training; no setting was chosen on them.",
        "## Training data",
        _list(_data(model, prepared, origin)),
        "## How it was trained",
        _list(_training(model, trained)),
        "Everything that the training follows from:",
        f"```json\n{json.dumps(recipe.model_dump(), indent=2, ensure_ascii=False)}\n```",
        "## Quantitative analyses",
        *_tables(figures),
        "## Ethical considerations",
        f"- The file holds the {counted(prepared['names_train'], 'training name')} in the clear, "
        f"and keyed hashes of all {prepared['names_kept']:,}: who has it can read the ones and "
        "test for the others. A model of a private list is as private as the list.\n"
        "- What the list leans to, leaves out or has wrong, the model leans to as well.\n"
        "- A name that is new here may belong to someone. Look it up before you use it.",
        "## Caveats and recommendations",
        _list(_limits(model, prepared, figures)),
        "## How to use it",
        f"In a clone of [the repository]({origin.url}), with this model in it:",
        f"```console\n$ git checkout {origin.commit}\n$ make setup\n"
        "$ .venv/bin/nomosaurus generate -n 20 --new --unique --model model.safetensors\n"
        "$ .venv/bin/nomosaurus score --model model.safetensors yourname\n```",
        "```python\nimport nomosaurus\nfrom nomosaurus.generation.request import Request\n\n"
        'model = nomosaurus.load("model.safetensors")\n'
        "for name in model.generate(20, Request(new=True, unique=True, seed=1)):\n"
        "    print(name.name, name.bits_per_char)\n```",
        "The names above were drawn with these settings:",
        f"```json\n{json.dumps(sample.model_dump(), ensure_ascii=False)}\n```",
        "## How to verify it",
        verification(origin),
        f"To make it again, check the commit out and run `make repro`. On the same kind of machine "
        f"`sha256sum models/model.safetensors` then says `{hashlib.sha256(model_file).hexdigest()}`"
        "; another processor rounds differently, and gives other bytes.",
    ]
    return "\n\n".join(parts) + "\n"


def build_notes(
    model_file: bytes,
    prepared: Mapping[str, Any],
    details: Mapping[str, Any],
    names: Sequence[str],
    origin: Origin,
) -> str:
    """The notes of a release: what its model comes to, ten names, and how to verify it.

    Args:
        model_file: The content of the model's file.
        prepared: metrics/prepare.json.
        details: metrics/evaluate_details.json.
        names: Names that the model wrote; the first ten are shown.
        origin: Where the model comes from.
    """
    figures = _figures(details)
    claim, facts = verdict(figures, prepared["names_test"])
    table = ["| | value | 95 % interval |", "|---|---|---|"]
    for key in ("perplexity", "network_perplexity", "baseline_perplexity"):
        figure = figures[key]
        table.append(f"| {CATALOGUE[key].label} | {_value(figure)} | {_interval(figure)} |")
    table.append(f"| {CATALOGUE['novelty'].label} | {_value(figures['novelty'])} | exact |")
    parts = [
        f"**{claim}** {facts}",
        "\n".join(table),
        "The first names that it wrote:",
        _name_list(names),
        f"`MODEL_CARD.md` says what it is for and what it is not, `report.html` has every figure "
        f"and picture. The model is that of commit {origin.commit}; its SHA-256 is "
        f"`{hashlib.sha256(model_file).hexdigest()}`.",
        "## Verify",
        verification(origin),
    ]
    return "\n\n".join(parts) + "\n"


def verification(origin: Origin) -> str:
    """The two commands that verify what was downloaded, and what each says."""
    return (
        f"With the files of the release in one folder:\n\n```console\n"
        f"$ gh attestation verify model.safetensors --repo {origin.repository}\n"
        "$ sha256sum --check SHA256SUMS\n```\n\n"
        "The first asks GitHub whether a workflow of this repository made this very file (GitHub's "
        "command line, signed in); the second whether the files are whole. On macOS it is "
        "`shasum -a 256 --check SHA256SUMS`."
    )


def _front_matter(cell: str) -> str:
    tags = ["name-generation", "character-level", "recurrent-neural-network", cell]
    lines = ["---", f"license: {LICENCE.lower()}", "library_name: nomosaurus", "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in dict.fromkeys(tags)), "---"])


def _details(
    model: TrainedModel, model_file: bytes, trained: Mapping[str, Any], origin: Origin
) -> Iterator[str]:
    network = model.recipe.model
    md5 = hashlib.md5(model_file).hexdigest()
    yield (
        f"What it is: {counted(network.members, f'{network.cell} network')} of "
        f"{counted(network.hidden_size, 'unit')} in {counted(network.num_layers, 'layer')}, mixed "
        f"with a modified Kneser-Ney {model.mixture.ngram.order}-gram; "
        f"{trained['num_parameters']:,} parameters in the networks"
    )
    yield (
        f"File: `model.safetensors`, {len(model_file):,} bytes, SHA-256 "
        f"`{hashlib.sha256(model_file).hexdigest()}`; to DVC it is `{md5}`. No code runs when it "
        "is read"
    )
    yield (
        f"Made by [{origin.repository}]({origin.url}) at commit "
        f"[`{origin.commit}`]({origin.url}/tree/{origin.commit}), version {origin.version}, with "
        f"the dvc.lock whose SHA-256 is `{origin.lock_sha256}`"
    )
    if origin.committed_md5 == md5:
        yield "That commit's own dvc.lock names this very model"
    elif origin.committed_md5:
        yield (
            f"That commit's own dvc.lock names a model of other bytes, to DVC "
            f"`{origin.committed_md5}`, as happens when another processor trains it again"
        )
    else:
        yield "That commit's own dvc.lock names no model"
    yield f"Licence: {LICENCE}, that of the repository"


def _factors(model: TrainedModel, details: Mapping[str, Any]) -> str:
    categories = model.vocabulary.categories
    if not categories:
        return (
            "None is told apart: the model knows nothing of a name but its characters, and the "
            "figures are means over all names that were held out."
        )
    intro = (
        f"The model can be told a name's category, from the list's column "
        f"{code(model.recipe.data.condition)}: {', '.join(map(code, categories))}."
    )
    lines = []
    for row in details["categories"]:
        nats = Estimate(**row["nats_per_char"])
        cost = f"{_value(nats)} nats per character"
        lines.append(
            f"{code(row['category']) if row['category'] else 'none given'}: "
            f"{counted(row['names'], 'held-out name')}, {cost} ({_interval(nats)})"
        )
    return f"{intro} What the held-out names of each cost:\n\n{_list(lines)}" if lines else intro


def _data(model: TrainedModel, prepared: Mapping[str, Any], origin: Origin) -> Iterator[str]:
    data = model.recipe.data
    dropped = {key: n for key, n in prepared.items() if key.startswith("dropped_") and n}
    reasons = "".join(
        f"; {n:,} dropped, {key.removeprefix('dropped_').replace('_', ' ')}"
        for key, n in dropped.items()
    )
    shown = " ".join("␠" if c == " " else c for c in model.vocabulary.characters[:CHARACTERS_SHOWN])
    more = " …" if len(model.vocabulary.characters) > CHARACTERS_SHOWN else ""
    yield f"List: {code(data.path)}, column {code(data.column)}, to DVC `{origin.list_md5}`"
    yield (
        f"Where the facts on the lists in `data/` come from, and what they leave out: "
        f"{origin.link('data/README.md')}"
    )
    yield (
        f"{counted(prepared['rows_read'], 'row')}, of which "
        f"{counted(prepared['names_kept'], 'name')} kept; "
        f"{prepared['duplicates_merged']:,} merged with an earlier row{reasons}"
    )
    yield (
        f"{prepared['names_train']:,} to learn from; {prepared['names_validation']:,} to choose "
        f"epochs and the mixture by; {prepared['names_test']:,} to test on"
    )
    yield (
        f"{counted(prepared['longest_name'], 'character')} the longest name, "
        f"{prepared['mean_length']:.1f} the mean; "
        f"{counted(len(model.vocabulary.characters), 'different character')}: {code(shown + more)}"
    )


def _training(model: TrainedModel, trained: Mapping[str, Any]) -> Iterator[str]:
    recipe = model.recipe
    network, train = recipe.model, recipe.train
    yield (
        f"{counted(network.members, 'network')}, each from its own random start (seed "
        f"{recipe.seed}): cell {network.cell}, {counted(network.hidden_size, 'unit')}, dropout "
        f"{network.dropout:g}, and {network.state_dropout:g} on the state"
    )
    yield (
        f"AdamW, learning rate {train.learning_rate:g}, batches of "
        f"{counted(train.batch_size, 'name')}, at most {counted(train.max_epochs, 'epoch')}, "
        f"stopped after {train.patience:,} without a better validation loss"
    )
    kept = ", ".join(
        f"network {i} epoch {best.number} ({best.validation_nats:.3f} nats per character)"
        for i, best in enumerate(model.best_epochs, start=1)
    )
    yield f"{counted(trained['epochs'], 'epoch')} in all; kept by validation loss: {kept}"
    weight = model.mixture.ngram_weight
    yield (
        f"n-gram: modified Kneser-Ney, order {model.mixture.ngram.order} of at most "
        f"{network.ngram_max_order}, weight {weight.short:g} in the mixture where it knows none of "
        f"the context and {weight.long:g} where it knows all"
    )
    yield (
        f"On the validation names, nats per character: {trained['validation_nats']:.3f} the "
        f"mixture, {trained['network_validation_nats']:.3f} the networks, "
        f"{trained['ngram_validation_nats']:.3f} the n-gram"
    )


def _tables(figures: Mapping[str, Estimate]) -> Iterator[str]:
    for group, rows in figure_groups(figures):
        lines = ["| figure | value | 95 % interval | beside it | what to read from it |"]
        lines.append("|---|---|---|---|---|")
        for row in rows:
            title, definition = row["what"].title, row["what"].definition
            what = f"**{title}.** {definition}" if definition else title
            beside = "" if row["beside"] is None else f"{row['beside']} ({row['beside_label']})"
            cells = (what, row["value"], row["interval"], beside, row["reading"])
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        yield f"### {group}"
        yield "\n".join(lines)


def _limits(
    model: TrainedModel, prepared: Mapping[str, Any], figures: Mapping[str, Estimate]
) -> Iterator[str]:
    """What the figures do not show, or show against the model, a sentence each."""
    none = Estimate(None)
    test = counted(prepared["names_test"], "test name")
    perplexity = figures["perplexity"]
    if perplexity.low is None:
        yield f"{test}: too few for an interval, so no figure on them proves much"
    else:
        yield (
            f"The figures are those of {test}, on which perplexity is known to within "
            f"{_interval(perplexity)}; `make crossvalidate` holds out every name once"
        )
    yield "One split, one training: the intervals tell the chance in which names were held out"
    gain = figures.get("network_gain_nats", none)
    if gain.value is not None and gain.against(0.0) != "above":
        yield (
            f"The networks alone are not shown to be better than the n-gram alone: they save "
            f"{_value(gain)} nats per character ({_interval(gain)})"
        )
    memory = figures.get("memory_gain_nats", none)
    if memory.value is not None and memory.against(0.0) != "above":
        yield "The networks are not shown to use what they remember beyond the last character"
    memorised = figures.get("memorisation", none)
    if memorised.value is not None and memorised.against(1.0) != "below":
        times = f"{memorised.value:,.1f} times as likely as one that it never saw"
        told = _interval(memorised, digits=1)
        yield f"It remembers: a name that it learnt is, on average, {times} ({told})"
    novelty = figures.get("novelty", none)
    if novelty.value is not None and novelty.value < 1:
        yield (
            f"{_percent(1 - novelty.value)} of the names that it draws are names that it learnt; "
            "`--new` leaves out every name of the list"
        )
    different = figures.get("uniqueness_at_10k", none)
    if different.value is not None and different.value < 1:
        yield (
            f"{_percent(1 - different.value)} of 10,000 valid draws repeat an earlier one; "
            "`--unique` leaves repetitions out"
        )
    for key in RESEMBLANCES:
        figure = figures.get(key, none)
        if figure.floor is not None and figure.against(figure.floor) == "above":
            yield (
                f"{CATALOGUE[key].title}: names that it draws are further from the list than real "
                f"names are, {_value(figure)} ({_interval(figure)}) against {figure.floor:.3f}"
            )
    if prepared["unknown_test"]:
        yield (
            f"Characters of test names that no training name has, {prepared['unknown_test']:,} in "
            "all, are counted as one unknown event and never written"
        )
    if model.recipe.data.lowercase:
        yield "Names are lower-cased, those it learnt and those it writes"
    yield (
        f"It writes only characters of the names that it learnt, and at most "
        f"{counted(model.recipe.data.max_length, 'character')}"
    )
    yield "With another temperature, top-k, top-p or any wish, none of these figures holds"


def _figures(details: Mapping[str, Any]) -> dict[str, Estimate]:
    return {key: Estimate(**parts) for key, parts in details["figures"].items()}


def _name_list(names: Sequence[str]) -> str:
    return "\n".join(f"- {code(name)}" for name in names[:NAMES_SHOWN])


def _list(lines: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {line}." for line in lines)


def _value(figure: Estimate) -> str:
    return "not defined" if figure.value is None else f"{figure.value:.3f}"


def _interval(figure: Estimate, digits: int = 3) -> str:
    if figure.low is None or figure.high is None:
        return "too few names for an interval"
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
