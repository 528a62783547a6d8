import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomosaurus.errors import NomosaurusError, abridged, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\u001b[31mb"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b2J", "\\u009b2J"),
        ("a\rb\x08\x7f", "a\\u000db\\u0008\\u007f"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("\u2068a", "\\u2068a"),
        ("a\u2068\u202eb\u2069", "a\\u2068\\u202eb\\u2069"),
        ("a\u2028b", "a\\u2028b"),
        ("a\udcffb", "a\\udcffb"),
        ("a\tb\n", "a\tb\n"),
        ("\u2068القاهرة\u2069 (1)", "\u2068القاهرة\u2069 (1)"),
        ("東京 👩\u200d🚀 ñ", "東京 👩\u200d🚀 ñ"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_json_means_the_same_once_it_is_printable(text):
    assert json.loads(printable(json.dumps([text], ensure_ascii=False))) == [text]


@given(st.text(alphabet="ab \n", max_size=30), st.integers(1, 9_000))
def test_text_of_any_length_is_abridged_once_and_keeps_its_ends(text, times):
    short = abridged(f"first {text * times} last")
    assert max(map(len, short.split("\n"))) <= 1_001
    assert max(map(len, re.findall(r"\S+", short))) <= 200
    assert short.startswith("first ")
    assert short.endswith(" last")
    assert abridged(short) == short


def test_a_message_is_one_line_that_repeats_no_long_value():
    for value in ("a" * 100_000, "a b " * 25_000, "a\nb\r\u2028c"):
        (line,) = str(
            NomosaurusError(f"model.cell must be gru, got {value!s}; see docs")
        ).splitlines()
        assert len(line) <= 1_001
        assert line.startswith("model.cell must be gru, got a")
        assert line.endswith("; see docs")
