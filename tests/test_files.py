from pathlib import Path

import pytest
from conftest import as_project

from nomosaurus.errors import ArtifactError, PipelineError
from nomosaurus.files import (
    in_project,
    project_root,
    read_json,
    read_name_table,
    replace_folder,
    write_json,
)


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
    write_json(tmp_path / "new folder/a.json", {"b": 1, "a": None, "ñ": 0.1})
    assert read_json(tmp_path / "new folder/a.json", "prepare") == {"b": 1, "a": None, "ñ": 0.1}
    assert (tmp_path / "new folder/a.json").read_bytes().endswith(b"}\n")


def test_missing_and_broken_json_name_the_stage(tmp_path):
    with pytest.raises(ArtifactError, match='run "dvc repro train"'):
        read_json(tmp_path / "a.json", "train")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_json(tmp_path / "a.json", "train")


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


def test_a_missing_or_empty_table_names_the_stage(tmp_path):
    with pytest.raises(ArtifactError, match='run "dvc repro sample"'):
        read_name_table(tmp_path / "names.csv", "sample")
    (tmp_path / "names.csv").write_text("")
    with pytest.raises(ArtifactError, match="not valid CSV"):
        read_name_table(tmp_path / "names.csv", "sample")
