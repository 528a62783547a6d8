"""Brings runs in MLflow up to what their journals hold."""

import json
import sys
from collections.abc import Iterator
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from nomosaurus.errors import in_one_line
from nomosaurus.tracking.journal import Journal
from nomosaurus.tracking.logged_model import log_servable_model
from nomosaurus.tracking.store import (
    KEY_TAG,
    MODEL_MD5_TAG,
    MODEL_TAG,
    NOTE_TAG,
    find_run_of_model,
    one_at_a_time,
    open_store,
    search,
)
from nomosaurus.tracking.views import with_section

MOST_AT_ONCE = 1000  # metrics in one request; MLflow takes no more


def send_left_over(root: Path) -> Iterator[str]:
    """Send what journals of ended processes hold, the oldest first.

    A run whose process ended without a word was killed. A journal that MLflow refuses stays
    where it is, one that is malformed is set aside, and neither keeps back those after it. Yields a
    line for each run.
    """
    for journal in Journal.left_over(root):
        if not journal.events:
            journal.delete()
            continue
        if problem := journal.problem_on_disk():
            yield f"{journal.set_aside()} is no whole journal of a run ({problem}); it is not sent"
            continue
        last = journal.events[-1]
        if last["event"] != "end":
            journal.events.append({"event": "end", "status": "KILLED", "time": last["time"]})
        name = journal.events[0]["name"]
        try:
            Sender(journal).send()
        except Exception as error:
            # A code of 500 or more, or none, is the store's failure and not the journal's.
            if getattr(error, "get_http_status_code", lambda: 500)() >= 500:
                raise
            why = in_one_line(error)
            yield f"refused run {name} ({why}); remove {journal.folder} to give it up"
        else:
            journal.delete()
            yield f"sent run {name}, which was missed before"


class Sender:
    """Brings one journal's run in MLflow up to what the journal holds.

    What MLflow has already is left as it is. So a journal may be sent again from its beginning,
    whatever became of an earlier attempt, and in any order with others.
    """

    def __init__(self, journal: Journal) -> None:
        """Open the store."""
        self._journal = journal
        self._sent = 0  # events
        self._steps: dict[str, set[int]] = {}
        self._experiment_id = open_store(journal.events[0]["experiment"])
        from mlflow import MlflowClient

        self._client = MlflowClient()

    def send(self) -> None:
        """Send the events that came since the last call."""
        events = self._journal.events
        with one_at_a_time():
            while self._sent < len(events):
                rest = islice(events, self._sent, None)
                kind, group = next(groupby(rest, key=itemgetter("event")))
                together = list(group)
                start_again = getattr(self, f"_send_{kind}")(together)
                self._sent = 0 if start_again else self._sent + len(together)

    def _send_start(self, events: list[dict[str, Any]]) -> None:
        """Find the run, or make it.

        It is the run that holds the journal's model, else an unfinished one of the same key.
        """
        (start,) = events
        run = None
        for event in self._journal.events:
            if event["event"] == "model":
                run = find_run_of_model(event["sha256"])
        if run is None:
            same = search(f"tags.{KEY_TAG} = '{start['key']}'", [start["experiment"]])
            run = next((run for run in same if MODEL_TAG not in run.data.tags), None)
        if run is None:
            tags = start["tags"] | {KEY_TAG: start["key"]}
            run = self._client.create_run(
                self._experiment_id, start["time"], tags, run_name=start["name"]
            )
        else:
            self._client.update_run(run.info.run_id, "RUNNING")
        self._run_id = run.info.run_id
        self._params = dict(run.data.params)
        self._tags: dict[str, str] = dict(run.data.tags)
        self._metrics = dict(run.data.metrics)
        self._steps.clear()
        if start["inputs"] and not (run.inputs and run.inputs.dataset_inputs):
            from mlflow.entities import Dataset, DatasetInput, InputTag

            datasets = [
                DatasetInput(
                    Dataset(path, md5, "local", json.dumps({"uri": path})),
                    [InputTag("mlflow.data.context", context)],
                )
                for context, path, md5 in start["inputs"]
            ]
            self._client.log_inputs(self._run_id, datasets)

    def _send_params(self, events: list[dict[str, Any]]) -> None:
        """MLflow never changes a param: one that moved becomes a tag of the same name."""
        from mlflow.entities import Param

        for event in events:
            values = event["values"]
            fresh = {key: value for key, value in values.items() if key not in self._params}
            if fresh:
                self._client.log_batch(
                    self._run_id, params=[Param(*item) for item in fresh.items()]
                )
                self._params |= fresh
            held = self._params | self._tags
            self._set_tags({key: value for key, value in values.items() if held[key] != value})

    def _send_tags(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._set_tags(event["values"])

    def _set_tags(self, values: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        fresh = {key: value for key, value in values.items() if self._tags.get(key) != value}
        if fresh:
            self._client.log_batch(self._run_id, tags=[RunTag(*item) for item in fresh.items()])
            self._tags |= fresh

    def _send_metrics(self, events: list[dict[str, Any]]) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(key, value, event["time"], event["step"])
            for event in events
            for key, value in event["values"].items()
            if self._is_new(key, value, event["step"])
        ]
        for first in range(0, len(points), MOST_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=points[first : first + MOST_AT_ONCE])
        self._metrics |= {point.key: point.value for point in points if point.step == 0}

    def _is_new(self, key: str, value: float, step: int) -> bool:
        """Whether a figure (step 0) is not what the run has, or a curve lacks this step."""
        if key not in self._metrics:
            return True
        if step == 0:
            return self._metrics[key] != value
        if key not in self._steps:
            history = self._client.get_metric_history(self._run_id, key)
            self._steps[key] = {point.step for point in history}
        return step not in self._steps[key]

    def _send_file(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            path = self._journal.file(event)
            self._client.log_artifact(self._run_id, str(path), event["folder"] or None)

    def _send_text(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._client.log_text(self._run_id, event["text"], f"{event['folder']}/{event['name']}")

    def _send_note(self, events: list[dict[str, Any]]) -> None:
        note = self._tags.get(NOTE_TAG, "")
        for event in events:
            note = with_section(note, event["heading"], event["text"])
        self._set_tags({NOTE_TAG: note})

    def _send_model(self, events: list[dict[str, Any]]) -> bool:
        """Log the model; where another run has it, that one is kept and gets all that is here.

        Returns whether to send all from the beginning, which finds that other run.
        """
        event = events[-1]
        earlier = find_run_of_model(event["sha256"])
        if earlier is None:
            for model in self._client.search_logged_models(
                [self._experiment_id], f"source_run_id = '{self._run_id}'"
            ):
                self._client.delete_logged_model(model.model_id)  # of an attempt that broke off
            log_servable_model(self._journal.file(event), self._run_id)
            self._set_tags({MODEL_TAG: event["sha256"], MODEL_MD5_TAG: event["md5"]})
        elif earlier.info.run_id != self._run_id:
            self._client.delete_run(self._run_id)
            print("MLflow: this very model has a run already, which is kept", file=sys.stderr)
            return True
        return False

    def _send_end(self, events: list[dict[str, Any]]) -> None:
        end = events[-1]
        self._client.set_terminated(self._run_id, end["status"], end["time"])
