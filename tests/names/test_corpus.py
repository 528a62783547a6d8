from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, params_with
from hypothesis import given
from hypothesis import strategies as st

from nomosaurus.errors import ListError
from nomosaurus.names.corpus import (
    SPLITS,
    build_corpus,
    name_hash,
    name_hashes,
    normalise,
    side_of,
)
from nomosaurus.names.reading import read_lines, read_rows
from nomosaurus.names.vocabulary import Vocabulary

NAMES = [f"name{i}" for i in range(200)]


def corpus_of(tmp_path, rows, file="list.txt", **data):
    path = tmp_path / file
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return build_corpus(params_with(data={"path": str(path)} | data).data)


def names_in(path) -> list[str]:
    return [row.name for row in read_rows(path, "name")]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("  Ana ", "ana"),
        ("Nueva \t York", "nueva york"),
        ("ni\u006e\u0303o", "niño"),  # n and a combining tilde become one code point
        ("\u00a0", ""),
    ],
)
def test_normalise(row, name):
    assert normalise(row, lowercase=True) == name


@given(st.text())
def test_normalising_twice_is_normalising_once(row):
    once = normalise(row, lowercase=False)
    assert normalise(once, lowercase=False) == once


def test_case_is_kept_when_asked():
    assert normalise("McDonald", lowercase=False) == "McDonald"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    names = ["Ana", "", "NA", "null", "Zoë", "a b"]
    path = tmp_path / f"list.{suffix}"
    table = pd.DataFrame({"other": range(len(names)), "name": names})
    if suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "txt":
        path.write_text("\n".join(names) + "\n", "utf-8")
    else:
        table.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False)
    assert names_in(path) == names


def test_txt_keeps_its_first_line_and_ignores_marks_and_line_ends(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffAna\r\nBea\r\nCleo".encode())
    assert names_in(path) == ["Ana", "Bea", "Cleo"]


def test_a_folder_is_read_file_by_file(tmp_path):
    (tmp_path / "a.txt").write_text("Ana\n")
    (tmp_path / "b.csv").write_text("name\nBea\n")
    (tmp_path / "README.md").write_text("not a list")
    assert names_in(tmp_path) == ["Ana", "Bea"]


def test_a_spreadsheets_semicolons_separate_columns(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("id;name\n1;Ana\n2;Bea, la mayor\n")
    assert names_in(path) == ["Ana", "Bea, la mayor"]


def test_quoted_commas_stay_inside_a_name(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('name,x\n"Smith, Ana",1\n')
    assert names_in(path) == ["Smith, Ana"]


def test_every_row_is_accounted_for(tmp_path):
    rows = [*NAMES, "Name1", " ", "x" * 51, "bad\x00name", ""]
    corpus = corpus_of(tmp_path, rows, max_length=50)
    report = corpus.report(Vocabulary.from_names(corpus.train))
    assert report["rows_read"] == 205
    assert report["names_kept"] == 200
    assert report["duplicates_merged"] == 1
    assert report["dropped_empty"] == 2
    assert report["dropped_too_long"] == 1
    assert report["dropped_control_character"] == 1
    sides = sum(report[f"names_{side}"] for side in SPLITS)
    assert sides == report["names_kept"]
    assert report["letters"] == sum(map(len, NAMES))


def test_no_name_is_on_two_sides(tmp_path):
    corpus = corpus_of(tmp_path, NAMES + [name.upper() for name in NAMES])
    names = corpus.names()
    assert sorted(names) == sorted(NAMES)


def test_adding_names_moves_no_name_to_another_side(tmp_path):
    before = corpus_of(tmp_path, NAMES)
    after = corpus_of(tmp_path, [f"new{i}" for i in range(300)] + NAMES[::-1])
    for side in SPLITS:
        assert set(getattr(before, side)) <= set(getattr(after, side))


def test_split_shares_are_what_params_say():
    params = params_with().data
    names = [f"n{i}" for i in range(20_000)]
    sides = np.array([side_of(name, params) for name in names])
    # Binomial with n = 20,000 and p = 0.1: standard deviation 42.4, five of them 212.
    assert abs((sides == "test").sum() - 2000) < 212
    assert abs((sides == "validation").sum() - 2000) < 212


def test_another_key_is_another_split():
    one, other = params_with().data, params_with(data={"split_key": "other"}).data
    assert [side_of(n, one) for n in NAMES] != [side_of(n, other) for n in NAMES]


def test_name_hash_is_the_same_in_every_process():
    assert name_hash("ana", "nomosaurus") == 13303990931892875599
    hashes = name_hashes(["ana", "bea"], "nomosaurus")
    assert hashes.dtype == np.uint64
    assert name_hash("ana", "nomosaurus") in hashes.tolist()


def test_unknown_characters_of_held_out_names_are_counted(tmp_path):
    corpus = corpus_of(tmp_path, NAMES)
    vocabulary = Vocabulary.from_names(["name"])
    digits = sum(len(name) - 4 for name in corpus.test)
    assert corpus.report(vocabulary)["unknown_test"] == digits


def conditional_corpus(tmp_path, rows):
    return corpus_of(tmp_path, ["name,kind", *rows], "list.csv", condition="kind")


def test_the_first_row_of_a_name_decides_on_its_category_and_conflicts_are_counted(tmp_path):
    rows = [f"{name},even" if i % 2 else f"{name}, odd " for i, name in enumerate(NAMES)]
    rows += ["Name1,odd", "name1,even", "NAME0,odd", "name2,", "name200,", "name201"]
    corpus = conditional_corpus(tmp_path, rows)
    assert corpus.categories["name1"] == "even"
    assert corpus.categories["name0"] == corpus.categories["name2"] == "odd"
    assert corpus.categories["name200"] == corpus.categories["name201"] == ""
    report = corpus.report(Vocabulary.from_names(corpus.train, corpus.categories))
    assert report["category_conflicts"] == 2  # Name1,odd and name2,
    assert report["duplicates_merged"] == 4
    assert report["categories"] == 3


def test_categories_do_not_move_a_name_to_another_side(tmp_path):
    conditional = conditional_corpus(tmp_path, [f"{n},{i % 3}" for i, n in enumerate(NAMES)])
    plain = corpus_of(tmp_path, NAMES)
    for side in SPLITS:
        assert getattr(plain, side) == getattr(conditional, side)
    assert plain.categories == {}
    report = plain.report(Vocabulary.from_names(plain.train, plain.categories))
    keys = ("categories", "category_conflicts", "unknown_category_validation")
    assert [report[key] for key in (*keys, "unknown_category_test")] == [0, 0, 0, 0]


def test_held_out_names_of_a_category_that_no_training_name_has_are_counted(tmp_path):
    corpus = conditional_corpus(tmp_path, [f"{name},{name}" for name in NAMES])
    report = corpus.report(Vocabulary.from_names(corpus.train, corpus.categories))
    assert report["unknown_category_test"] == report["names_test"] > 0
    assert report["unknown_category_validation"] == report["names_validation"] > 0


@pytest.mark.parametrize("values", [["x", "y"], pd.Categorical(["x", "y"]), [1, 2]])
def test_categories_in_parquet_may_be_text_codes_or_numbers(tmp_path, values):
    path = tmp_path / "list.parquet"
    pd.DataFrame({"name": ["ana", "bea"], "kind": values}).to_parquet(path)
    assert [row.category for row in read_rows(path, "name", "kind")] == list(map(str, values))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("list.txt", "has no columns, and so no column 'kind'; save the list as CSV, or set"),
        ("list.csv", "has no column 'kind'; it has 'name'; set data.condition"),
    ],
)
def test_a_list_without_the_categories_gets_one_clear_line(tmp_path, file, message):
    with pytest.raises(ListError) as caught:
        corpus_of(tmp_path, ["name", *NAMES], file, condition="kind")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_quotes_in_a_tsv_are_characters(tmp_path):
    path = tmp_path / "list.tsv"
    path.write_text('name\tx\n"Quo\t2\neve"\t3\n')
    assert names_in(path) == ['"Quo', 'eve"']


@pytest.mark.parametrize("values", [[b"ana"], [["ana", "bea"]], [1.5]])
def test_parquet_column_that_is_no_text_is_refused(tmp_path, values):
    pd.DataFrame({"name": values}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(ListError, match="does not hold text"):
        read_rows(tmp_path / "list.parquet", "name")


def test_a_byte_order_mark_does_not_shift_the_line_of_an_error():
    with pytest.raises(ListError, match=r"line 2: not UTF-8 \(byte 0xfc\)"):
        list(read_lines(BytesIO(b"\xef\xbb\xbfana\nM\xfcller\n"), "list.txt"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list.csv", b"", "is empty; the first line must name the columns"),
        ("list.csv", b"name\n", "has no usable name: 0 rows read"),
        ("list.txt", b"", "has no usable name"),
        ("list.txt", b" \n\n", "2 dropped as empty"),
        ("list.csv", b"town\nAna\n", "has no column 'name'; it has 'town'; set data.column"),
        ("list.txt", b"Ana\n", "1 different names split into"),
        ("list.txt", b"Ana\nM\xfcller\n", "line 2: not UTF-8 (byte 0xfc); save it"),
        ("list.csv", b"name\nAna,1\n", "not a well-formed CSV"),
        ("list.csv", b'name\n"Ana\n', "not a well-formed CSV"),
        ("list.parquet", b"PAR1", "not a readable Parquet file"),
        ("list.xlsx", b"x", "not a known format"),
    ],
)
def test_bad_list_gets_one_clear_line(tmp_path, file, content, message):
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(ListError) as caught:
        build_corpus(params_with(data={"path": str(path)}).data)
    assert message in str(caught.value)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_list_names_the_param():
    with pytest.raises(ListError, match=r"not found; data\.path in params\.yaml"):
        read_rows(REPOSITORY / "data/absent.csv", "name")


def test_folder_without_lists(tmp_path):
    with pytest.raises(ListError, match="holds no list"):
        read_rows(tmp_path, "name")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb", ["a", "b"]),
        (b"a\n\n", ["a", ""]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\r", ["a", "b"]),
        (b"\xef\xbb\xbfa\nb\n", ["a", "b"]),
        (b"a\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"", []),
    ],
)
def test_lines_end_in_lf_crlf_or_cr_and_the_last_need_not(content, lines):
    assert list(read_lines(BytesIO(content), "x")) == lines


def test_lines_are_read_one_by_one():
    lines = read_lines(BytesIO(b"ana\nM\xfcller\n"), "x")
    assert next(lines) == "ana"  # the second is not UTF-8


def test_the_default_list_is_sorted_and_each_genus_stands_once():
    table = pd.read_csv(REPOSITORY / "data/dinosaurs.csv")
    names = table["name"].tolist()
    assert len(names) >= 1200
    assert names == sorted(set(names))
    assert table["name"].str.fullmatch("[A-Z][a-z]+").all()
    assert set(table["clade"]) == {
        "Theropoda",
        "Sauropodomorpha",
        "Thyreophora",
        "Ornithopoda",
        "Marginocephalia",
        "other",
    }
