import pytest
from pydantic import TypeAdapter

from nomosaurus.errors import ArtifactError
from nomosaurus.files import read_checked, read_name_table, replace_folder, write_json

NUMBERS = TypeAdapter(dict[str, float | None])


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


def test_a_missing_or_empty_table_names_the_stage(tmp_path):
    with pytest.raises(ArtifactError, match='run "dvc repro sample"'):
        read_name_table(tmp_path / "names.csv", "sample")
    (tmp_path / "names.csv").write_text("")
    with pytest.raises(ArtifactError, match="not valid CSV"):
        read_name_table(tmp_path / "names.csv", "sample")


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
