"""The registered model in MLflow: its versions, its champion, and who was champion when.

The alias `champion` is the version that is served, `challenger` the one that was judged last.
MLflow keeps no history of an alias, so each promotion and each rollback leaves a tag on the
registered model, and a line in promotions.jsonl for git; docs/decisions/0008-champions.md says
why both. These are several writes, so what is to be done is written first: whoever is killed has
the next one end it.
"""

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from nomosaurus.errors import RegistryError, TrackingError
from nomosaurus.evaluation.bootstrap import Bootstrap
from nomosaurus.evaluation.comparison import compare, decoded, names_sha256, num_learnt
from nomosaurus.files import main_checkout, write_text
from nomosaurus.model.file import load_held_out, load_model
from nomosaurus.model.trained import TrainedModel
from nomosaurus.params import Params
from nomosaurus.report.templates import code
from nomosaurus.serving.addresses import download
from nomosaurus.serving.promotion import Challenger, Check, Verdict, Version, decide
from nomosaurus.tracking.lineage import file_sha256
from nomosaurus.tracking.store import (
    MODEL_TAG,
    NOTE_TAG,
    failures_in_one_line,
    find_run_of_model,
    made_by_another,
    one_at_a_time,
    open_store,
    with_commit,
)
from nomosaurus.tracking.views import with_section

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import RegisteredModel

CHAMPION = "champion"
CHALLENGER = "challenger"
TEST_TAG = "test_sha256"
COMMIT_TAG = "git.commit"
VERDICT_TAG = "verdict"  # of a version and of its run, in a few words: a column in the UI
STATUS = r"^.* \([\d-]+ [\d:]+ UTC\)\.\n*"  # the line with these words in a description
LONGEST_DESCRIPTION = 5000  # characters; MLflow's tables take no more
EVENT = "champion."  # begins the key of an event's tag; the time follows
UNDER_WAY = "under_way"  # the key of the tag with the event that is not carried out to its end


@dataclass(frozen=True)
class Event:
    """A change of champion.

    Attributes:
        time: ISO 8601, UTC.
        action: `promote` or `rollback`.
        version, model_sha256, commit: Of the champion from now on.
        former: The version that was champion before; None at the first.
    """

    time: str
    action: str
    version: int
    former: int | None
    model_sha256: str
    commit: str
    why: str

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


class Registry:
    """A registered model, in the store that the stages track in.

    Raises:
        RegistryError: From every method, if the store does not have what is asked for.
        TrackingError: From every method, if the store fails.
    """

    def __init__(self, name: str) -> None:
        """Open the store."""
        self.name = name
        with failures_in_one_line():
            self._experiment_id = open_store()
            from mlflow import MlflowClient

            self._client = MlflowClient()

    def register(self, model_path: Path, test_sha256: str) -> Challenger:
        """The version of this model, made from its run if there is none; it is the challenger."""
        with failures_in_one_line(), one_at_a_time():
            sha256 = file_sha256(model_path)
            run = find_run_of_model(sha256)
            if run is None:
                raise RegistryError(
                    f'{model_path} has no run in this MLflow store; "nomosaurus sync" sends one '
                    'that was missed, "nomosaurus backfill" makes one for a committed model'
                )
            tags = with_commit(run).data.tags
            if not self._is_registered():
                with made_by_another():
                    self._client.create_registered_model(self.name)
            versions = self._client.search_model_versions(
                f"name = '{self.name}' and tag.{MODEL_TAG} = '{sha256}'"
            )
            number = versions[0].version if versions else self._new_version(run, sha256)
            if int(number) != self._champion_number():
                self._client.set_model_version_tag(self.name, number, TEST_TAG, test_sha256)
                commit = tags.get(COMMIT_TAG, "")
                self._client.set_model_version_tag(self.name, number, COMMIT_TAG, commit)
                self._client.set_registered_model_alias(self.name, CHALLENGER, number)
            dirty = tags.get("git.dirty") == "true"
            return Challenger(self._version(number), dirty, run.data.metrics)

    def _new_version(self, run: "Run", sha256: str) -> str:
        if not (run.outputs and run.outputs.model_outputs):
            raise RegistryError(f"run {run.info.run_id} logged no model; see its artifacts")
        model_id = run.outputs.model_outputs[-1].model_id
        tags = {MODEL_TAG: sha256}
        made = self._client.create_model_version(
            self.name, f"models:/{model_id}", run.info.run_id, tags, model_id=model_id
        )
        return made.version

    def champion(self) -> Version | None:
        """Who is champion, if anyone; nobody where the model was never registered."""
        with failures_in_one_line():
            number = self._champion_number() if self._is_registered() else None
            return None if number is None else self._version(number)

    def load(self, version: Version) -> TrainedModel:
        """A version's model, from MLflow's artifacts; its content is checked."""
        with failures_in_one_line(), tempfile.TemporaryDirectory() as folder:
            path = download(f"models:/{self.name}/{version.number}/artifacts", Path(folder))
            if path is None or file_sha256(path) != version.model_sha256:
                raise RegistryError(
                    f"the artifacts of {self.name} version {version.number} do not hold the model "
                    f"that was registered (SHA-256 {version.model_sha256[:8]})"
                )
            return load_model(path)

    def crown(self, verdict: Verdict) -> Event:
        """Make the challenger of a verdict the champion."""
        former = verdict.champion.number if verdict.champion else None
        with failures_in_one_line(), one_at_a_time():
            if self._champion_number() != former:
                raise RegistryError(
                    f"{self.name} got another champion while this one was judged; run it again"
                )
            return self._move(verdict.challenger, former, "promote", verdict.summary)

    def roll_back(self) -> Event:
        """Make the former champion the champion again; what was rolled back does not count."""
        with failures_in_one_line(), one_at_a_time():
            now = self._champion_number()
            reign = _reign(self.events())
            if reign and reign[-1] == now:
                reign.pop()
            if not reign:
                raise RegistryError(f"{self.name} has no former champion to go back to")
            why = f"version {reign[-1]} is the champion again, in place of version {now}"
            return self._move(self._version(reign[-1]), now, "rollback", why)

    def resume(self) -> Event | None:
        """Carry out the change of champion that a killed process had begun; None if none had.

        What someone has made champion by hand since then stays champion.
        """
        with failures_in_one_line(), one_at_a_time():
            content = self._model().tags.get(UNDER_WAY) if self._is_registered() else None
            if content is None:
                return None
            event = Event(**json.loads(content))
            if self._champion_number() not in (event.former, event.version):
                self._client.delete_registered_model_tag(self.name, UNDER_WAY)
                return None
            self._carry_out(event)
            return event

    def tell(self, event: Event, log: Path, account: str = "") -> None:
        """Say in a log and in the UI that the champion has changed, which is then done with.

        `account` is as `show` takes it.
        """
        write_log(log, self.events())
        labels = {event.version: CHAMPION}
        if event.former is not None:
            how = "replaced by" if event.action == "promote" else "rolled back to"
            labels[event.former] = f"{how} version {event.version}"
        self.show(labels, account)
        with failures_in_one_line(), one_at_a_time():
            self._client.delete_registered_model_tag(self.name, UNDER_WAY)

    def show(self, labels: Mapping[int, str], account: str = "") -> None:
        """Say in the UI what became of versions, and who is champion and why.

        A failure is a warning: what was decided holds all the same.

        Args:
            labels: In a few words, by the version's number.
            account: The verdict on the first of them, in Markdown; without one, the last stays.
        """
        try:
            with failures_in_one_line(), one_at_a_time():
                for number, label in labels.items():
                    self._show_version(str(number), label, account)
                    account = ""
                self._show_champion()
        except TrackingError as error:
            print(
                f"warning: the pages in the MLflow UI do not say so yet: {error}", file=sys.stderr
            )

    def _show_version(self, number: str, label: str, account: str) -> None:
        now = f"{label[0].upper()}{label[1:]} ({_now()})."
        version = self._client.get_model_version(self.name, number)
        # On top, and no heading: the list of versions shows how it begins, without Markdown.
        text = f"{now}\n\n{re.sub(STATUS, '', version.description or '', flags=re.MULTILINE)}"
        if account:
            text = with_section(text, "Verdict", account)
        self._client.update_model_version(self.name, number, text[:LONGEST_DESCRIPTION])
        self._client.set_model_version_tag(self.name, number, VERDICT_TAG, label)
        run = find_run_of_model(version.tags.get(MODEL_TAG, ""))
        if run:  # someone may have deleted it
            self._client.set_tag(run.info.run_id, VERDICT_TAG, label)
            link = f"[{self.name} version {number}](#/models/{self.name}/versions/{number})"
            note = with_section(run.data.tags.get(NOTE_TAG, ""), "Promotion", f"{link}: {now}")
            self._client.set_tag(run.info.run_id, NOTE_TAG, note)

    def _show_champion(self) -> None:
        """On the pages of the registered model and of the experiment."""
        heading, text = f"Champion of {self.name}", self._champion_in_words()
        note = with_section(self._model().description or "", heading, text)
        self._client.update_registered_model(self.name, note)
        tags = self._client.get_experiment(self._experiment_id).tags
        note = with_section(tags.get(NOTE_TAG, ""), heading, text)
        self._client.set_experiment_tag(self._experiment_id, NOTE_TAG, note)

    def _champion_in_words(self) -> str:
        champion = self.champion()
        if champion is None:
            return "There is none yet: no version has earned it. Each version's page says why."
        number = champion.number
        said = [f"[Version {number}](#/models/{self.name}/versions/{number})"]
        run = find_run_of_model(champion.model_sha256)
        if run:
            address = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            said.append(f"run [{code(run.info.run_name)}]({address})")
            said += [
                f"from {code(used.dataset.name)} (MD5 {used.dataset.digest[:8]})"
                for used in (run.inputs.dataset_inputs if run.inputs else [])
                if any(tag.value == "list" for tag in used.tags)
            ]
        if champion.commit:
            said.append(f"trained at commit {champion.commit[:7]}")
        events = self.events()
        why = f"{events[-1].why}." if events and events[-1].version == number else ""
        return (
            f"{', '.join(said)}.\n\n{why}\n\n"
            "| in a checkout | |\n|---|---|\n"
            "| `make serve` | serves the champion |\n"
            "| `nomosaurus promote` | judges the checkout's model, by the section promote of "
            "params.yaml: on the same test names, it must save more than chance |\n"
            "| `nomosaurus promote --rollback` | goes back to the former champion |"
        )

    def verdict_of(self, event: Event) -> Verdict:
        """The verdict that a promotion followed from, in short."""
        with failures_in_one_line():
            former = None if event.former is None else self._version(event.former)
            check = Check("an earlier verdict", True, event.why.partition(": ")[2])
            return Verdict(self.name, self._version(event.version), former, None, [check])

    def events(self) -> list[Event]:
        """Every change of champion, the oldest first."""
        with failures_in_one_line():
            tags = self._model().tags
            return [Event(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(EVENT)]

    def _move(self, to: Version, former: int | None, action: str, why: str) -> Event:
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        event = Event(time, action, to.number, former, to.model_sha256, to.commit, why)
        self._client.set_registered_model_tag(self.name, UNDER_WAY, event.as_json())
        self._carry_out(event)
        return event

    def _carry_out(self, event: Event) -> None:
        """Change the champion; what is done already is done again to no effect."""
        key, number = f"{EVENT}{event.time[:26]}", str(event.version)
        self._client.set_registered_model_alias(self.name, CHAMPION, number)
        self._client.set_registered_model_tag(self.name, key, event.as_json())
        if str(self._model().aliases.get(CHALLENGER)) == number:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def _is_registered(self) -> bool:
        return bool(self._client.search_registered_models(f"name = '{self.name}'"))

    def _champion_number(self) -> int | None:
        number = self._model().aliases.get(CHAMPION)
        return None if number is None else int(number)

    def _version(self, number: int | str) -> Version:
        tags = self._client.get_model_version(self.name, str(number)).tags
        return Version(
            int(number), tags.get(MODEL_TAG, ""), tags.get(TEST_TAG, ""), tags.get(COMMIT_TAG, "")
        )

    def _model(self) -> "RegisteredModel":
        return self._client.get_registered_model(self.name)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _reign(events: list[Event]) -> list[int]:
    """The champions to go back to, the present one last: a rollback undoes a promotion."""
    reign: list[int] = []
    for event in events:
        if event.action == "promote":
            if event.former is not None and reign[-1:] != [event.former]:
                reign.append(event.former)  # made champion by other means
            reign.append(event.version)
        else:
            while reign and reign[-1] != event.version:
                reign.pop()
    return reign


def promote(
    model_path: Path,
    prepared: Path,
    params: Params,
    log: Path,
    *,
    other_test: bool = False,
    dry_run: bool = False,
) -> Verdict:
    """Register a model, judge it, and make it the champion if every rule holds.

    Args:
        model_path: Its run is found by its content.
        prepared: The folder with the test names that it is judged on.
        params: `promote`, `evaluate.bootstrap_samples` and `seed` count.
        log: Gets a line for each change of champion.
        other_test: Whether the champion may have been judged on other test names. It is
            compared on those of `prepared`.
        dry_run: Whether to leave the champion as it is, whatever the verdict.

    Raises:
        RegistryError: If the store does not have what is needed.
        TrackingError: If it fails.
        ArtifactError: If the prepared data are not those of the model.
    """
    model = load_model(model_path)
    test = load_held_out(prepared, "test", model)
    names = decoded(test.distinct(), model.vocabulary)
    with _one_promotion():
        registry = Registry(params.promote.registered_model)
        resumed = None if dry_run else _resumed(registry, log)
        challenger = registry.register(model_path, names_sha256(names))
        champion, judged = registry.champion(), challenger.version
        if resumed and (resumed.action, resumed.version) == ("promote", judged.number):
            return registry.verdict_of(resumed)
        models = [model]
        comparison = None
        if champion and champion.model_sha256 != judged.model_sha256:
            models.append(registry.load(champion))
            if other_test or champion.test_sha256 == judged.test_sha256:
                bootstrap = Bootstrap(params.evaluate.bootstrap_samples, params.seed)
                comparison = compare(model, models[1], test, bootstrap)
        learnt = num_learnt(models, names)
        verdict = decide(
            challenger, champion, comparison, learnt, params.promote, other_test=other_test
        )
        verdict = replace(verdict, dry_run=dry_run)
        beside = f" beside version {champion.number}" if champion else ""
        account = f"Judged{beside} at {_now()}.\n\n{verdict.as_markdown()}"
        if verdict.promoted and not dry_run:
            registry.tell(registry.crown(verdict), log, account)
        elif champion is None or champion.number != judged.number:
            registry.show({judged.number: verdict.label}, account)
    return verdict


def roll_back(name: str, log: Path) -> Event:
    """Make the former champion the champion again.

    Raises:
        RegistryError: If there is none.
        TrackingError: If the store fails.
    """
    with _one_promotion():
        registry = Registry(name)
        resumed = _resumed(registry, log)
        if resumed and resumed.action == "rollback":
            return resumed
        event = registry.roll_back()
        registry.tell(event, log)
    return event


def _resumed(registry: Registry, log: Path) -> Event | None:
    """The change of champion that a killed process had begun, carried out to its end."""
    event = registry.resume()
    if event:
        print(f"{event.action} of version {event.version} was cut off; finished", file=sys.stderr)
        registry.tell(event, log)
    elif registry.champion():
        write_log(log, registry.events())
    return event


def write_log(path: Path, events: list[Event]) -> None:
    """Append the events that a log does not have yet, a JSON object a line."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    fresh = [line for line in (event.as_json() for event in events) if line not in set(lines)]
    if fresh:
        write_text(path, "\n".join([*lines, *fresh]) + "\n")


def _one_promotion() -> FileLock:
    return FileLock(main_checkout() / "mlflow.db.promotion.lock")
