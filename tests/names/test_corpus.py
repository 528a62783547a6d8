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


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "parquet"])
def test_a_guard_against_spreadsheets_is_no_part_of_a_name(tmp_path, suffix):
    names = ["'-ana", "''=bea", "'t hof", "'", "-eli"]
    path = tmp_path / f"list.{suffix}"
    table = pd.DataFrame({"name": names, "other": 1})
    if suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "txt":
        path.write_text("\n".join(names), "utf-8")
    else:
        table.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False)
        names = ["-ana", "'=bea", *names[2:]]
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


def test_a_name_belongs_to_the_categories_of_all_its_rows(tmp_path):
    rows = [f"{name},even" if i % 2 else f"{name}, odd " for i, name in enumerate(NAMES)]
    rows += ["Name1,odd", "name1,even", "NAME0,odd", "name2,", "name200,", "name201"]
    corpus = conditional_corpus(tmp_path, rows)
    assert corpus.categories["name1"] == ("even", "odd")
    assert corpus.categories["name0"] == corpus.categories["name2"] == ("odd",)
    assert corpus.categories["name200"] == corpus.categories["name201"] == ("",)
    report = corpus.report(Vocabulary.from_names(corpus.train, corpus.categories))
    assert report["several_categories"] == 1
    assert report["duplicates_merged"] == 4
    assert report["categories"] == 3


def test_categories_do_not_move_a_name_to_another_side(tmp_path):
    conditional = conditional_corpus(tmp_path, [f"{n},{i % 3}" for i, n in enumerate(NAMES)])
    plain = corpus_of(tmp_path, NAMES)
    for side in SPLITS:
        assert getattr(plain, side) == getattr(conditional, side)
    assert plain.categories == {}
    report = plain.report(Vocabulary.from_names(plain.train, plain.categories))
    keys = ("categories", "several_categories", "unknown_category_validation")
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


@pytest.mark.parametrize(("key", "column"), [("condition", "kind"), ("weight", "births")])
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("list.txt", "has no columns, and so no column '{}'; save the list as CSV, or set"),
        ("list.csv", "has no column '{}'; it has 'name'; set data.{}"),
    ],
)
def test_a_list_without_a_column_it_should_have_gets_one_clear_line(
    tmp_path, key, column, file, message
):
    with pytest.raises(ListError) as caught:
        corpus_of(tmp_path, ["name", *NAMES], file, **{key: column})
    assert message.format(column, key) in str(caught.value)
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
        ("list.csv", b"name\nAna,1\n", "line 2: 2 fields, and the first line, which names the"),
        ("list.csv", b"My towns\nname,x\nAna,1\n", "line 2: 2 fields, and the first line"),
        ("list.csv", b'name\n"a, b"\n\nAna,1\n', "line 4: 2 fields"),
        ("list.csv", b'name\n"a\nb"\n"Ana\nBea\n', "line 4: a quote that opens a field is not"),
        ("list.csv", b'name\n"' + b"a" * 200_000 + b'",1\n', "line 2: 2 fields"),
        ("list.csv", b"Ana\nBea\n", "put a line with the columns' names above it"),
        ("list.txt", b"Ana\n# More\nBea\n", "line 2: '# More' looks like a heading"),
        ("list.txt", b"1. Ana\n2. Bea\n", "line 1: '1. Ana' looks like a numbered item"),
        ("list.txt", b"\n- Ana\n- Bea\n", "line 2: '- Ana' looks like a bulleted item"),
        ("list.txt", b'"Ana",\n"Bea"\n', "looks like a quoted name"),
        ("list.txt", b'[\n"Ana",\n"Bea"\n]\n', "line 1: '[' looks like JSON"),
        ("list.txt", b'["Ana", "Bea"]\n', "looks like JSON"),
        ("list.txt", b"anna,F,2604\nemma,F,2003\n", "line 1: 'anna,F,2604' looks like a row of a"),
        ("list.txt", b"Ana\tF\nBea\tF\n", "looks like a row of a table"),
        ("list.csv", b'name\n"Ana\n', "line 2: a quote that opens a field"),
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


@pytest.mark.parametrize(
    "line", ["'Nduja", "1860 Munich", "St. Mary", "Smith, John", "1. FC Köln", "-es", "A-B", '"Q"']
)
def test_a_name_that_only_looks_odd_is_learnt(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"Ana\nBea\n{line}\nCora\n", "utf-8")
    assert names_in(tmp_path / "list.txt") == ["Ana", "Bea", line, "Cora"]


def test_what_lies_beside_lists_is_left_out_and_said(tmp_path, capsys):
    (tmp_path / "towns.txt").write_text("Ana\n")
    (tmp_path / "README.txt").write_text("What this is\n")
    assert names_in(tmp_path) == ["Ana"]
    assert "README.txt is left out" in capsys.readouterr().err


def test_a_spreadsheets_line_about_the_separator_is_no_header(tmp_path):
    (tmp_path / "list.csv").write_text("sep=;\nname;x\nAna;1\n")
    assert names_in(tmp_path / "list.csv") == ["Ana"]


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("auto", "utf-8"), ("auto", "utf-8-sig"), ("auto", "utf-16"), ("cp1252", "cp1252")],
)
def test_a_list_is_read_in_its_encoding(tmp_path, encoding, written):
    for name in ("list.txt", "list.csv"):
        path = tmp_path / name
        path.write_bytes("name\r\nMüller\r\n".encode(written))
        rows = [row.name for row in read_rows(path, "name", encoding=encoding)]
        assert rows[-1] == "Müller"


def test_another_encoding_is_one_line(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"M\xfcller\n")
    with pytest.raises(ListError, match=r"set data\.encoding to what it is, such as cp1252"):
        read_rows(tmp_path / "list.txt", "name")
    with pytest.raises(ListError, match=r"list\.txt: not ascii"):
        read_rows(tmp_path / "list.txt", "name", encoding="ascii")


def test_invisible_marks_are_taken_out_and_counted(tmp_path):
    (tmp_path / "list.txt").write_text(
        "\n".join(
            ["an\u200ba", "ana", "\u202ebe\u00ada\u2069", "न\u200dन", *map(str, range(100, 200))]
        ),
        "utf-8",
    )
    corpus = build_corpus(params_with(data={"path": str(tmp_path / "list.txt")}).data)
    assert {"ana", "bea", "न\u200dन"} <= set(corpus.names())
    assert corpus.invisible == 2
    assert corpus.duplicates == 1
    assert corpus.report(Vocabulary.from_names(corpus.train))["invisible_removed"] == 2


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


def test_a_folder_of_lists_gives_each_name_the_categories_of_its_files(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "elves.txt").write_text("\n".join([*NAMES[:120], "Both"]), "utf-8")
    (folder / "dwarves.csv").write_text("\n".join(["name", *NAMES[120:], "both"]), "utf-8")
    corpus = build_corpus(params_with(data={"path": str(folder), "condition": "<file>"}).data)
    assert corpus.categories["name0"] == ("elves",)
    assert corpus.categories["name199"] == ("dwarves",)
    assert corpus.categories["both"] == ("dwarves", "elves")
    vocabulary = Vocabulary.from_names(corpus.train, corpus.categories)
    assert vocabulary.categories == ("dwarves", "elves")
    assert corpus.report(vocabulary)["several_categories"] == 1


def weighted_corpus(tmp_path, rows, **data):
    return corpus_of(tmp_path, ["name,births", *rows], "list.csv", weight="births", **data)


def test_weights_of_merged_rows_add_up_and_names_that_never_count_are_dropped(tmp_path):
    rows = [*(f"{name},2" for name in NAMES), "NAME0, 1.5", "nobody,0", "name1,0", ","]
    corpus = weighted_corpus(tmp_path, rows)
    assert corpus.weights["name0"] == 3.5
    assert corpus.weights["name1"] == corpus.weights["name2"] == 2
    assert corpus.dropped["zero_weight"] == 2
    assert corpus.dropped["empty"] == 1
    assert "nobody" not in corpus.names()
    assert corpus_of(tmp_path, NAMES).weights == {}


def test_weights_do_not_move_a_name_to_another_side(tmp_path):
    weighted = weighted_corpus(tmp_path, [f"{name},{i + 1}" for i, name in enumerate(NAMES)])
    plain = corpus_of(tmp_path, NAMES)
    for side in SPLITS:
        assert getattr(plain, side) == getattr(weighted, side)


@pytest.mark.parametrize("weight", ["-1", "many", "nan", "inf", "", "1,5", "0x10", "1 000"])
def test_a_weight_that_is_no_number_gets_one_clear_line(tmp_path, weight):
    with pytest.raises(ListError) as caught:
        weighted_corpus(tmp_path, [*(f"{name},1" for name in NAMES), f'wrong,"{weight}"'])
    assert "data.weight" in str(caught.value)
    assert "'births'" in str(caught.value)
    assert f"got {weight!r} for the name 'wrong'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], ["1", "2.0"], pd.array([1, 2], "Int64")])
def test_weights_in_parquet_may_be_numbers_or_text(tmp_path, values):
    path = tmp_path / "list.parquet"
    pd.DataFrame({"name": ["ana", "bea"], "births": values}).to_parquet(path)
    assert [row.weight for row in read_rows(path, "name", weight="births")] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("twice.csv", "name,clade,name\nana,x,bela\n"),
        ("twice.csv", '"name"; name\nana;bela\n'),
        ("twice.tsv", "name\tname\nana\tbela\n"),
    ],
)
def test_a_column_that_is_there_twice_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ListError, match="has the column 'name' twice"):
        read_rows(tmp_path / name, "name")
    (tmp_path / name).write_text(text.replace("name", "a", 1).replace("name", "b", 1))
    assert read_rows(tmp_path / name, "a")
