"""How the MLflow UI opens an experiment: what it says of it, and which columns it shows.

Both are tags of the experiment. People may change them in the UI; they are set once.
"""

import json
import re
from datetime import UTC, datetime

NAME = "Compare models"
VIEW = "models"
ADDRESS = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
"""How the address of the saved view ends, which "make ui" prints too. Without a workflowType the
UI opens its view for GenAI, which hides runs behind traces."""

COLUMNS = {
    "metrics.`perplexity`": 110,
    "metrics.`gain_nats`": 90,
    "tags.`verdict`": 240,
    "params.`data.path`": 140,
    "params.`model.cell`": 90,
    "metrics.`memory_gain_nats`": 150,
    "metrics.`novelty`": 90,
    "params.`model.hidden_size`": 150,
    "params.`model.members`": 130,
    "metrics.`num_parameters`": 130,
    "metrics.`cpu_seconds`": 110,
    "tags.`dvc.experiment`": 130,
}
"""In MLflow's words, from left to right after the run's name, and how wide, in pixels. A page of
1,280 pixels shows the first four: what the table is sorted by comes first."""

NOTE = """\
The lower the perplexity, the better, among models of one list: [{name}]({address}). \
`make serve` serves the [champion](#/models).

Each run is one trained model, named after its networks, its list and its experiment. \
`perplexity` says among how many characters, as it were, it hesitates at each step of names that \
it never saw. `gain_nats` is what it saves against an n-gram, in nats per character: above 0 the \
networks are worth having. `memory_gain_nats` is what forgetting a_{{t-1}} would cost them. \
`novelty` is the probability that a name it writes is not one that it learnt. `verdict` is what \
`nomosaurus promote` came to. A run's description has ten of its names and the figures with \
their intervals, its artifacts have pictures and tables.
"""
"""The UI shows its first line, and the rest on demand."""


def experiment_tags() -> dict[str, str]:
    """The tags of a new experiment: trained models, and a saved view of them."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    state = {
        "orderByKey": "metrics.`perplexity`",
        "orderByAsc": True,
        "selectedColumns": [*COLUMNS],
        "columnOrder": [*COLUMNS],
        "columnWidths": COLUMNS,
    }
    view = {"name": NAME, "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
    return {
        "mlflow.experimentKind": "custom_model_development",  # or it opens as one for GenAI
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def experiment_note(experiment_id: str) -> str:
    """The description of the models' experiment, in Markdown, with the way to the view."""
    address = f"#/experiments/{experiment_id}/runs?{ADDRESS}"
    return NOTE.format(name=NAME, address=address)


def with_section(note: str, heading: str, text: str) -> str:
    """A note in Markdown with the section under `heading` set to `text`; others stay."""
    section = f"## {heading}\n\n{text.strip()}\n"
    parts = [part for part in re.split(r"^(?=## )", note, flags=re.MULTILINE) if part.strip()]
    for i, part in enumerate(parts):
        if part.startswith(f"## {heading}\n"):
            parts[i] = section
            break
    else:
        parts.append(section)
    return "\n".join(part.strip() + "\n" for part in parts)
