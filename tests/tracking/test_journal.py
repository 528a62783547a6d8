import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nomosaurus.tracking.journal import EVENTS, Journal


def kinds(journal: Journal) -> list[str]:
    return [event["event"] for event in journal.events]


def left_over(root: Path) -> list[list[str]]:
    return [kinds(journal) for journal in Journal.left_over(root)]


def test_what_was_added_is_on_disk_at_once(tmp_path):
    journal = Journal.start(tmp_path)
    journal.add("metrics", values={"ñ": 0.1}, step=3)
    lines = (journal.folder / EVENTS).read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == journal.events
    assert journal.events[0]["values"] == {"ñ": 0.1}
    assert journal.events[0]["step"] == 3


def test_a_journal_is_left_over_when_its_process_let_go_and_not_before(tmp_path):
    first, second = Journal.start(tmp_path), Journal.start(tmp_path)
    first.add("a")
    second.add("b")
    assert left_over(tmp_path) == []
    second.close()
    assert left_over(tmp_path) == [["b"]]
    first.close()
    assert left_over(tmp_path) == [["a"], ["b"]]


def test_a_killed_process_leaves_all_it_added(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from nomosaurus.tracking.journal import Journal\n"
        "journal = Journal.start(Path(sys.argv[1]))\njournal.add('a')\njournal.add('b')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert left_over(tmp_path) == [["a", "b"]]


def test_a_file_keeps_the_content_it_had(tmp_path):
    source = tmp_path / "metrics/train.json"
    source.parent.mkdir()
    source.write_text("before")
    journal = Journal.start(tmp_path / "runs")
    journal.add("file", path=journal.keep(source, "metrics"))
    source.write_text("after")
    assert journal.file(journal.events[0]).read_text() == "before"
    assert journal.file(journal.events[0]).name == "train.json"


def test_a_last_line_cut_short_is_left_out(tmp_path):
    journal = Journal.start(tmp_path)
    journal.add("a")
    journal.close()
    with (journal.folder / EVENTS).open("a") as file:
        file.write('{"event": "b", "ti')
    assert left_over(tmp_path) == [["a"]]


START = {
    **{"event": "start", "time": 1, "experiment": "e", "key": "k", "name": "run"},
    **{"tags": {}, "inputs": []},
}
MALFORMED = {
    "": "line 1 is no event",
    "{}": "line 1 is no event",
    "[]": "line 1 is no event",
    "null": "line 1 is no event",
    "nonsense": "line 1 is no event",
    "[" * 100_000: "line 1 is no event",
    '{"event": "start"}': "line 1: time",
    '{"event": "odd", "time": 1}': "line 1 is no event",
    '{"event": ["start"], "time": 1}': "line 1 is no event",
    '{"event": "end", "time": 1, "status": "FINISHED"}': "line 1 is no event",
    json.dumps(START | {"name": 5}): "line 1: name",
    json.dumps(START | {"name": "\ud800"}): "line 1 is no event",
    json.dumps(START | {"time": 10**40}): "line 1: time",
    json.dumps(START | {"inputs": [["a"]]}): "line 1: inputs.0",
    json.dumps(START | {"tags": []}): "line 1: tags",
    f"{json.dumps(START)}\nnonsense\n{{}}": "line 2 is no event",
    f"{json.dumps(START)}\n{json.dumps(START)}": "line 2 is no event",
    f'{json.dumps(START)}\n{{"event": "end", "time": 1, "status": "odd"}}': "line 2: status",
    f'{json.dumps(START)}\n{{"event": "metrics", "time": 1, "values": 5}}': "line 2: values",
    f'{json.dumps(START)}\n{{"event": "file", "time": 1, "path": "x", "folder": ""}}': "missing",
    f'{json.dumps(START)}\n{{"event": ["end"], "time": 1}}': "line 2 is no event",
    json.dumps(START): "",
}


@pytest.mark.parametrize(("text", "problem"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_what_is_malformed_is_said_with_its_line(tmp_path, text, problem):
    (tmp_path / "1-a").mkdir()
    (tmp_path / "1-a" / EVENTS).write_text(f"{text}\n", "utf-8", errors="surrogatepass")
    (journal,) = Journal.left_over(tmp_path)
    said = journal.problem_on_disk()
    assert problem in said
    assert bool(problem) == bool(said)
    assert len(said) < 300


def test_a_deleted_journal_is_gone(tmp_path):
    journal = Journal.start(tmp_path)
    journal.add("a")
    journal.delete()
    assert left_over(tmp_path) == []
    assert not journal.folder.exists()


def test_a_journal_that_a_kill_left_half_deleted_is_not_sent_again(tmp_path, monkeypatch):
    journal = Journal.start(tmp_path)
    journal.add("end", status="FINISHED")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nomosaurus.tracking.journal.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        journal.delete()
    journal.close()
    assert not [*Journal.left_over(tmp_path)]


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(*arguments: object, **settings: object):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("shutil.copyfile", refuse)


def test_on_a_full_disk_the_events_are_still_in_memory(tmp_path, full_disk):
    source = tmp_path / "names.csv"
    journal = Journal.start(tmp_path / "runs")
    journal.add("a")
    journal.add("file", path=journal.keep(source, "samples"))
    assert kinds(journal) == ["a", "file"]
    assert journal.problem.errno == errno.ENOSPC
    assert journal.file(journal.events[1]) == source
