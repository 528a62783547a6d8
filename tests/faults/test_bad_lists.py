"""Lists of every kind of oddity, through the real stage `prepare`."""

import gzip
import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from harness import NAMES, Case, check, rows, set_params

pytestmark = pytest.mark.slowest

ALL = len(NAMES)
GOOD = "\n".join(NAMES) + "\n"
CSV = "name\n" + GOOD
ESCAPE = "\x1b[31m"
CONFLICT = "<<<<<<< HEAD\n" + GOOD + "=======\nother\n>>>>>>> theirs\n"


def of(
    file: str,
    content: str | bytes | Callable[[Path], object],
    says: str = "",
    *,
    why: str = "",
    params: dict | None = None,
    **counts: object,
) -> Case:
    """A list in a file, refused for the reason that `says` matches, or with these counts."""

    def make(folder: Path) -> None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        set_params(folder, {"data.path": file} | (params or {}))

    return Case(f"{file}: {why or repr(content)[:40]}", make, says, counts)


def parquet(says: str = "", *, why: str, table: dict | pd.DataFrame, **counts: object) -> Case:
    return of(
        "a.parquet",
        lambda path: pd.DataFrame(table).to_parquet(path),
        says,
        why=why,
        **counts,
    )


def parquet_bytes(change: Callable[[bytes], bytes]) -> bytes:
    buffer = BytesIO()
    pd.DataFrame({"name": NAMES}).to_parquet(buffer)
    return change(buffer.getvalue())


def workbook() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


def duplicate_columns(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_arrays([pa.array(NAMES)] * 2, names=["name", "name"]), path)


def folder_of(**files: str | bytes) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / name.replace("__", ".")
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.csv")


TOO_FEW = "too few names"
NO_NAME = "no usable name"
NOT_UTF_8 = "not UTF-8"

COMMA_SEPARATED = [
    of("a.csv", "", "is empty", why="empty"),
    of("a.csv", b"\xef\xbb\xbf", "is empty", why="only a byte-order mark"),
    of("a.csv", "\n\n\n", "is empty|no column|no usable", why="only line ends"),
    of("a.csv", "name\n", NO_NAME, why="only the columns' names"),
    of("a.csv", "name\n\n\n \n", NO_NAME, why="blank rows"),
    of("a.csv", GOOD, "no column 'name'", why="no line of columns"),
    of("a.csv", "Name\n" + GOOD, "no column 'name'; it has 'Name'", why="another case"),
    of("a.csv", "name,name\n" + "".join(f"{n},x\n" for n in NAMES), "name", why="a column twice"),
    of("a.csv", "name\nana,bea\n" + GOOD, "line 2: 2 fields", why="a row too long"),
    of("a.csv", "name,x\n" + GOOD, why="rows too short", names_kept=ALL),
    of("a.csv", 'name\n"ana\n' + GOOD, "well-formed|unclosed|quote", why="a quote never closed"),
    of("a.csv", 'name\nan"a\n' + GOOD, why="a quote in a name", names_kept=ALL + 1),
    of("a.csv", 'name\n"two\nlines"\n' + GOOD, why="a name on two lines", names_kept=ALL + 1),
    of("a.csv", "name\nan\0a\n" + GOOD, why="NUL in a name", dropped_control_character=1),
    of("a.csv", "name\n" + ESCAPE + "ana\n" + GOOD, why="an escape", dropped_control_character=1),
    of("a.csv", "name\nmuñoz\n".encode("latin-1"), NOT_UTF_8, why="Latin-1"),
    of("a.csv", CSV.encode("utf-16"), why="UTF-16 with its mark", names_kept=ALL),
    of("a.csv", CSV.encode("utf-16-le"), "name", why="UTF-16 without its mark"),
    of("a.csv", CSV.encode("utf-16")[:-1], "not utf-16", why="UTF-16 cut in a character"),
    of("a.csv", CSV.encode("utf-32"), "no column|utf", why="UTF-32"),
    of("a.csv", (CSV + "muñ").encode()[:-1], NOT_UTF_8, why="UTF-8 cut in a character"),
    of("a.csv", b"name\n\xed\xa0\x80\n" + GOOD.encode(), NOT_UTF_8, why="a surrogate"),
    of("a.csv", b"name\n\xc0\x80\n" + GOOD.encode(), NOT_UTF_8, why="an overlong NUL"),
    of("a.csv", "x;name\n" + "".join(f";{n}\n" for n in NAMES), why=";", names_kept=ALL),
    of("a.csv", "sep=;\nx;name\n" + "".join(f";{n}\n" for n in NAMES), why="sep", names_kept=ALL),
    of("a.csv", "sep=;\n", "is empty", why="only sep=;"),
    of("a.csv", "x\tname\n" + "".join(f"\t{n}\n" for n in NAMES), "no column", why="tabs"),
    of("a.csv", "x|name\n" + "".join(f"|{n}\n" for n in NAMES), "no column", why="bars"),
    of("a.csv", CSV.replace("\n", "\r"), why="lines end in CR", names_kept=ALL),
    of("a.csv", CSV.replace("\n", "\r\n", 30), why="two ends of lines", names_kept=ALL),
    of("a.csv", CSV.replace("\n", ",\n"), why="a comma at each end", names_kept=ALL),
    of("a.csv", "name\n" + ("x" * 101 + "\n") * 9, NO_NAME, why="all too long"),
    of("a.csv", "name\nana\n", TOO_FEW, why="one name"),
    of("a.csv", "name\n" + "ana\n" * 1000, TOO_FEW, why="one name a thousand times"),
    of("a.csv", "name\n" + "\x01\n" * 9, NO_NAME, why="only control characters"),
    of("a.csv", "name\n" + "\u200b\n" * 9, NO_NAME, why="only invisible marks"),
    of("a.csv", "name\n" + "".join(f"{i}\n" for i in range(100)), why="numbers", names_kept=100),
    of("a.csv", "name\nNA\nnull\nNone\nnan\n" + GOOD, why="NA", names_kept=ALL + 4),
    of("a.csv", " name \n" + GOOD, "no column|'name '", why="a space in the column's name"),
    of("a.csv", "a,\ufeffname\n,ana\n", "no column", why="a byte-order mark inside"),
    of("a.csv", ",".join(f"c{i}" for i in range(5000)) + "\n", "no column", why="5,000 columns"),
    of("a.csv", f"name\n{'x' * 3_000_000}\n{GOOD}", why="a line of 3 MB", dropped_too_long=1),
    of("a.csv", f'name\n"{"x" * 200_000}"\n{GOOD}', why="a long field", dropped_too_long=1),
    of("a.csv", "name\ne" + "\u0301" * 3000 + "\n" + GOOD, why="many accents", rows_read=ALL + 1),
    of("a.csv", "name\n👩‍👩‍👧‍👦a\n" + GOOD, why="a family of emoji", names_kept=ALL + 1),
    of("a.csv", "name\n\u202eana\n" + GOOD, why="written backwards", rows_read=ALL + 1),
    of("a.csv", json.dumps([{"name": name} for name in NAMES]), "no column", why="JSON"),
    of("a.csv", "<html><body>404</body></html>", "no column", why="a page"),
    of("a.csv", workbook(), "UTF-8|no column|well-formed", why="a workbook"),
    of("a.csv", gzip.compress(CSV.encode()), NOT_UTF_8, why="compressed"),
    of("a.csv", bytes(range(256)) * 20, "UTF-8", why="every byte"),
    of("a.csv", "# a comment\n" + CSV, "no column", why="a comment above"),
    of("a.csv", "name\n" + CONFLICT, "line [12]: a merge conflict", why="a merge conflict"),
    of("a.csv", "outs:\n- md5: abc\n  path: a.csv\n", "no column", why="DVC's pointer"),
    of("a.csv", "version https://git-lfs.github.com/spec/v1\n", "no column", why="LFS's pointer"),
    of("a.csv", CSV, "no column ''|data.column", why="column ''", params={"data.column": ""}),
    of("a.csv", CSV, "no column 'kind'", why="no category", params={"data.condition": "kind"}),
    of("a.csv", CSV, "utf-16", why="said to be UTF-16", params={"data.encoding": "utf-16"}),
    of("a.csv", CSV + "ñ\n", "ascii", why="said to be ASCII", params={"data.encoding": "ascii"}),
    of("a.csv", CSV, "no column", why="said to be EBCDIC", params={"data.encoding": "cp037"}),
    of("a.csv", CSV, why="in Punycode", params={"data.encoding": "punycode"}, says="."),
    of("a.csv", CSV, why="in IDNA", params={"data.encoding": "idna"}, names_kept=ALL),
    of("a.csv", "name\n\\ud800\n" + GOOD, "not unicode_escape", why="a surrogate by its escape",
       params={"data.encoding": "unicode_escape"}),
    of("a.csv", CSV, why="UTF-7", params={"data.encoding": "utf-7"}, names_kept=ALL),
]  # fmt: skip

TAB_SEPARATED = [
    of("a.tsv", "", "is empty", why="empty"),
    of("a.tsv", "x\tname\n" + "".join(f"\t{n}\n" for n in NAMES), why="good", names_kept=ALL),
    of("a.tsv", "x,name\n" + "".join(f",{n}\n" for n in NAMES), "no column", why="commas"),
    of("a.tsv", "name\nana\tbea\n" + GOOD, "line 2: 2 fields", why="a row too long"),
    of("a.tsv", 'name\n"ana\n' + GOOD, why="a quote", names_kept=ALL + 1),
    of("a.tsv", "name\n\xa0\n".encode("latin-1") + GOOD.encode(), NOT_UTF_8, why="Latin-1"),
    of("a.tsv", "name\n" + CONFLICT, "line [12]: a merge conflict", why="a merge conflict"),
]

PLAIN = [
    of("a.txt", "", NO_NAME, why="empty"),
    of("a.txt", "\n \n\t\n", NO_NAME, why="blank"),
    of("a.txt", GOOD, why="good", names_kept=ALL),
    of("a.txt", GOOD.encode("utf-8-sig"), why="a byte-order mark", names_kept=ALL),
    of("a.txt", GOOD.replace("\n", "\r\n"), why="CRLF", names_kept=ALL),
    of("a.txt", GOOD.replace("\n", "\r"), why="CR", names_kept=ALL),
    of("a.txt", GOOD.strip(), why="no last line end", names_kept=ALL),
    of("a.txt", "# Dinosaurs\n" + GOOD, "line 1: .* heading", why="a heading"),
    of("a.txt", "".join(f"- {n}\n" for n in NAMES), "bulleted", why="bullets"),
    of("a.txt", "".join(f"{i}. {n}\n" for i, n in enumerate(NAMES)), "numbered", why="numbers"),
    of("a.txt", json.dumps(NAMES, indent=1), "JSON", why="JSON"),
    of("a.txt", "".join(f'"{n}",\n' for n in NAMES), "quoted", why="quotes"),
    of("a.txt", "".join(f"{n},x\n" for n in NAMES), "row of a table", why="a table"),
    of("a.txt", "x" * 3_000_000, NO_NAME, why="a line of 3 MB"),
    of("a.txt", b"\0" * 5000, NO_NAME, why="NUL alone"),
    of("a.txt", bytes(range(256)), NOT_UTF_8, why="every byte"),
    of("a.txt", CONFLICT, "line [12]: a merge conflict", why="a merge conflict"),
    of("a.txt", GOOD, "no columns", why="categories", params={"data.condition": "kind"}),
    of("a.txt", "\n".join(NAMES).encode("cp1252"), why="cp1252", names_kept=ALL,
       params={"data.encoding": "cp1252"}),
    of("a.txt", b"\x81\n", "charmap|cp1252", why="no cp1252", params={"data.encoding": "cp1252"}),
    of("a.txt", "\u2028".join(NAMES), NO_NAME + "|" + TOO_FEW, why="Unicode's own line ends"),
    of("a.txt", "<p>\n" * 50, TOO_FEW, why="tags"),
]  # fmt: skip

PARQUET = [
    of("a.parquet", b"", "not a readable Parquet", why="empty"),
    of("a.parquet", CSV, "not a readable Parquet", why="CSV"),
    of("a.parquet", b"PAR1PAR1", "not a readable Parquet", why="marks alone"),
    of("a.parquet", parquet_bytes(lambda b: b[: len(b) // 2]), "readable", why="cut in half"),
    of("a.parquet", parquet_bytes(lambda b: b[:-20] + b"\xff" * 12 + b[-8:]), "readable|column",
       why="footer damaged"),
    of("a.parquet", parquet_bytes(lambda b: b[:4] + b"\xff" * 60 + b[64:]), "readable",
       why="pages damaged"),
    of("a.parquet", lambda path: duplicate_columns(path), "name", why="a column twice"),
    of("a.parquet", folder_of(), "holds no list", why="a folder"),
    parquet("no column", why="no column", table={"x": NAMES}),
    parquet(NO_NAME, why="no row", table=pd.DataFrame({"name": pd.Series([], dtype=str)})),
    parquet(NO_NAME, why="nulls", table={"name": [None] * 9}),
    parquet(why="some nulls", table={"name": [None, *NAMES]}, dropped_empty=1),
    parquet("does not hold text", why="bytes", table={"name": [b"ana"] * 9}),
    parquet("does not hold text", why="numbers with a point", table={"name": [0.5] * 9}),
    parquet("does not hold text", why="lists", table={"name": [["ana"]] * 9}),
    parquet("does not hold text", why="parts", table={"name": [{"a": 1}] * 9}),
    parquet("does not hold text", why="truths", table={"name": [True, False]}),
    parquet("does not hold text", why="dates", table={"name": pd.date_range("2026", periods=9)}),
    parquet(why="numbers", table={"name": range(100)}, names_kept=100),
    parquet(why="codes", table={"name": pd.Categorical(NAMES)}, names_kept=ALL),
    parquet("no column", why="columns without names", table=pd.DataFrame([NAMES])
            .rename(columns=str)),
    parquet("no column", why="a hostile column", table={f"{ESCAPE}na\nme": NAMES}),
    parquet(why="a long name", table={"name": ["x" * 10**6, *NAMES]}, dropped_too_long=1),
]  # fmt: skip

PLACES = [
    Case("no such file", lambda folder: set_params(folder, {"data.path": "no.csv"}), "not found"),
    Case("the stage's own output", lambda folder: set_params(
        folder, {"data.path": "data/prepared"}), "holds no list"),
    Case("the project", lambda folder: set_params(folder, {"data.path": "."}), counts={
        "names_kept": ALL}),
    Case("NUL in the path", lambda folder: set_params(folder, {"data.path": "a\0.csv"}), "a.*csv"),
    Case("a path of 5,000 characters", lambda folder: set_params(
        folder, {"data.path": "a" * 5000}), "a"),
    Case("below a file", lambda folder: set_params(folder, {"data.path": "list.csv/a"}), "found"),
    Case("an address", lambda folder: set_params(folder, {"data.path": "https://a.invalid/a.csv"}),
         "not found"),
    of("a.csv", loop, "a.csv", why="a link to itself"),
    of("a.csv", dangling, "not found", why="a link to nowhere"),
    of("a.xlsx", workbook(), "not a known format", why="a workbook"),
    of("a.json", "[]", "not a known format", why="JSON"),
    of("names", GOOD, "not a known format", why="no ending"),
    of("A.CSV", CSV, why="a loud ending", names_kept=ALL),
    of("new\nline.csv", "x\n", "no column", why="a line end in the path"),
    of(f"{ESCAPE}.csv", "x\n", "no column", why="an escape in the path"),
    of("lists", folder_of(), "holds no list", why="an empty folder"),
    of("lists", folder_of(README__txt="read me"), "holds no list", why="only a README"),
    of("lists", folder_of(a__csv=CSV, b__txt="ana\n"), why="two lists", names_kept=ALL + 1),
    of("lists", folder_of(a__csv=CSV, b__csv="x\n"), "b.csv has no column", why="one is bad"),
    of("lists", folder_of(a__csv=CSV, b__parquet=b""), "b.parquet", why="one is damaged"),
    of("lists", folder_of(a__csv=CSV, b__csv=b"\xff"), "b.csv, line 1", why="one is not UTF-8"),
]  # fmt: skip

CASES = COMMA_SEPARATED + TAB_SEPARATED + PLAIN + PARQUET + PLACES


@pytest.mark.parametrize("case", rows(CASES))
def test_a_list_is_refused_in_a_line_or_read_as_said(case, tmp_path, record_property):
    check(case, tmp_path, record_property)


def test_the_table_is_long_enough():
    assert len({case.name for case in CASES}) == len(CASES) >= 60
