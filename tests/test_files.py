import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, as_project
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from nomosaurus import files
from nomosaurus.errors import ArtifactError, PipelineError
from nomosaurus.files import (
    guarded,
    in_project,
    project_root,
    read_checked,
    read_name_table,
    replace_folder,
    unguarded,
    write_json,
    write_table,
    write_text,
)

NUMBERS = TypeAdapter(dict[str, float | None])


def test_the_project_is_the_nearest_going_up(tmp_path, monkeypatch):
    outer = as_project(tmp_path / "outer")
    inner = as_project(outer / "a b/inner")
    (inner / "docs/deep").mkdir(parents=True)
    for folder, root in {
        outer: outer,
        outer / "a b": outer,
        outer / ".dvc": outer,
        inner: inner,
        inner / "docs/deep": inner,
        inner / "src/nomosaurus": inner,
    }.items():
        monkeypatch.chdir(folder)
        assert project_root() == root


@pytest.mark.parametrize("part", ["", ".dvc", "src/nomosaurus"])
def test_outside_of_a_project_one_line_says_so_and_nothing_is_done(tmp_path, monkeypatch, part):
    (tmp_path / part).mkdir(parents=True, exist_ok=True)  # of another project, perhaps
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match="is in no Nomosaurus project") as caught:
        in_project(pytest.fail)(reason="it ran")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_runs_in_the_root_and_paths_stay_those_of_the_person(tmp_path, monkeypatch):
    (as_project(tmp_path) / "docs").mkdir()
    seen = []

    @in_project
    def command(path: Path | None, none: Path | None, text: str) -> None:
        seen.append((Path.cwd(), path, none, text))

    for folder in (tmp_path, tmp_path / "docs"):
        monkeypatch.chdir(folder)
        command(path=Path("../a"), none=None, text="b")
        assert Path.cwd() == folder
    # In the root they are as they were typed, and so are the messages that name them.
    assert seen[0] == (tmp_path, Path("../a"), None, "b")
    assert seen[1] == (tmp_path, tmp_path / "docs/../a", None, "b")


CONFLICT = "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("params.yaml", "choose between its sides in an editor"),
        ("dvc.yaml", "choose between its sides in an editor"),
        ("dvc.lock", 'take either side with "git checkout --ours dvc.lock"'),
        (
            "experiments/dvc.lock",
            'take either side with "git checkout --ours experiments/dvc.lock"',
        ),
    ],
)
def test_a_merge_conflict_says_how_to_resolve_it(tmp_path, monkeypatch, name, how):
    monkeypatch.chdir(as_project(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(CONFLICT)
    with pytest.raises(PipelineError) as caught:
        in_project(pytest.fail)(reason="it ran")
    said = f'{name}, line 2: a merge conflict; {how}, then run "dvc repro" and commit'
    assert str(caught.value) == said


def test_json_comes_back(tmp_path):
    content = {"b": 1, "a": None, "ñ": 0.1}
    write_json(tmp_path / "new folder/a.json", content)
    assert read_checked(tmp_path / "new folder/a.json", NUMBERS, "prepare") == content
    assert (tmp_path / "new folder/a.json").read_bytes().endswith(b"}\n")


def test_missing_and_broken_json_name_the_stage(tmp_path):
    with pytest.raises(ArtifactError, match='run "dvc repro train"'):
        read_checked(tmp_path / "a.json", NUMBERS, "train")
    for text in ("", "{", "[]", "null", '{"a": "x"}', '{"a": true}', "[" * 100_000, "\0"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"a\.json is damaged .* --force train") as caught:
            read_checked(tmp_path / "a.json", NUMBERS, "train")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


def test_a_folder_is_kept_when_its_successor_fails(tmp_path):
    folder = tmp_path / "data"
    replace_folder(folder, lambda beside: (beside / "one").touch())

    def fail(beside):
        (beside / "two").touch()
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        replace_folder(folder, fail)
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_new_folder_has_none_of_the_former_files(tmp_path):
    folder = tmp_path / "data"
    replace_folder(folder, lambda beside: (beside / "one").touch())
    replace_folder(folder, lambda beside: (beside / "two").touch())
    assert [path.name for path in folder.iterdir()] == ["two"]


def test_a_table_of_names_keeps_them_as_text(tmp_path):
    (tmp_path / "names.csv").write_text("name,bits_per_char,nearest\nNA,1.5,007\n12,2.5,null\n")
    table = read_name_table(tmp_path / "names.csv", "sample")
    assert table["name"].tolist() == ["NA", "12"]
    assert table["nearest"].tolist() == ["007", "null"]
    assert table["bits_per_char"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "'="])
def test_a_spreadsheet_runs_no_cell(start):
    assert guarded(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("cell", ["ana", "'t hof", "a=b", "", "'", -1.5, None])
def test_other_cells_stay_as_they_are(cell):
    assert guarded(cell) is cell


@given(st.text(alphabet="'=-+@\t\ra\"", max_size=6) | st.text())
def test_any_guarded_text_comes_back(text):
    assert unguarded(guarded(text)) == text


def test_a_table_of_names_comes_back_from_a_csv_that_no_spreadsheet_runs(tmp_path):
    names = ["=1+1", "'=x", "-a", "@b", "+c", "'t hof", "NA", "007", 'd"', "ana"]
    table = pd.DataFrame({"name": names, "log_prob": -1.5, "new": True, "nearest": names})
    write_table(tmp_path / "names.csv", table)
    lines = (tmp_path / "names.csv").read_text("utf-8").splitlines()
    assert lines[1:3] == ["'=1+1,-1.5,True,'=1+1", "''=x,-1.5,True,''=x"]
    assert lines[6:8] == ["'t hof,-1.5,True,'t hof", "NA,-1.5,True,NA"]
    pd.testing.assert_frame_equal(read_name_table(tmp_path / "names.csv", "sample"), table)


def test_a_missing_or_empty_table_names_the_stage(tmp_path):
    with pytest.raises(ArtifactError, match='run "dvc repro sample"'):
        read_name_table(tmp_path / "names.csv", "sample")
    (tmp_path / "names.csv").write_text("")
    with pytest.raises(ArtifactError, match="not valid CSV"):
        read_name_table(tmp_path / "names.csv", "sample")


WRITES = """
import sys, time
from pathlib import Path
from nomosaurus.files import replace_file, replace_folder
path = Path(sys.argv[2])

def pause():
    print("now", flush=True)
    time.sleep(60)

def fill(beside):
    (beside / "half").touch()
    if sys.argv[1] == "folder":
        pause()

def write(beside):
    beside.write_text("half")
    pause()

if sys.argv[1] == "file":
    replace_file(path, write)
rename = Path.replace

def rename_but_the_last(self, target):
    if target == path and sys.argv[1] == "renaming":
        pause()
    return rename(self, target)

Path.replace = rename_but_the_last
replace_folder(path, fill)
"""


@pytest.fixture(params=["file", "folder", pytest.param("renaming", id="between two renames")])
def writing(request, tmp_path):
    """A process in the middle of writing `data`, which stood before."""
    if request.param == "file":
        write_text(tmp_path / "data", "former")
    else:
        replace_folder(tmp_path / "data", lambda beside: (beside / "former").touch())
    command = [sys.executable, "-c", WRITES, request.param, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "now\n"
        yield process
        process.kill()


def write_again(data: Path) -> None:
    if data.is_file():
        write_text(data, "new")
    else:
        replace_folder(data, lambda beside: (beside / "new").touch())


@pytest.mark.slow
def test_what_a_killed_process_left_is_swept_by_the_next_that_writes(writing, tmp_path):
    other = tmp_path / ".data.notes.tmp"  # somebody else's
    other.touch()
    writing.kill()
    writing.wait()
    assert len(list(tmp_path.iterdir())) >= 3
    write_again(tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "data"]
    assert not list(tmp_path.rglob("half"))


def test_what_was_absent_at_the_kill_is_put_back_though_the_next_process_fails(tmp_path):
    left = tmp_path / f".data.{files.MACHINE}-{2**22 + 1}.former.tmp"
    left.mkdir()
    with pytest.raises(ZeroDivisionError):
        replace_folder(tmp_path / "data", lambda beside: 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.slow
def test_what_another_process_is_writing_is_left_alone(writing, tmp_path):
    before = {path.name for path in tmp_path.iterdir()} - {"data"}
    write_again(tmp_path / "data")
    assert before < {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(("hours", "swept"), [(1, False), (25, True)])
def test_what_another_machine_is_writing_is_left_alone_for_a_day(tmp_path, hours, swept):
    left = tmp_path / ".data.elsewhere-1.tmp"
    left.touch()
    long_ago = left.stat().st_mtime - 3600 * hours
    os.utime(left, (long_ago, long_ago))
    write_text(tmp_path / "data", "new")
    assert left.exists() != swept


def test_git_and_dvc_ignore_what_a_killed_process_leaves():
    beside = files._beside(Path("data/prepared"))
    for name in (beside, beside.with_suffix(".former.tmp")):
        git = ["git", "check-ignore", "--quiet", name]
        assert subprocess.run(git, cwd=REPOSITORY, check=False).returncode == 0
        assert name.match(".*.tmp")
    assert ".*.tmp" in (REPOSITORY / ".dvcignore").read_text().splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "name\n",
        "distance\n1\n",
        "name,distance\na,b\n",
        "name,distance\na\n",
        "name,distance\na,1,2\n",
        "name,distance\na,\n",
        '"name,distance\na,1\n',
        "{}",
        "[]",
        "\0\0\0",
    ],
)
def test_an_edited_table_names_the_stage(tmp_path, text):
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(ArtifactError, match=r"names\.csv is damaged .* --force sample") as caught:
        read_name_table(tmp_path / "names.csv", "sample", ("name", "distance"))
    assert "\n" not in str(caught.value)
