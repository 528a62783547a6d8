import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomosaurus.errors import ArtifactError
from nomosaurus.files import (
    guarded,
    read_json,
    read_name_table,
    replace_folder,
    unguarded,
    write_json,
    write_table,
)


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
