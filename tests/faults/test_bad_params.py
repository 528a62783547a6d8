"""params.yaml with every kind of mistake, through the real stage `prepare`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import NAMES, Case, check, in_a_process, rows, set_params

pytestmark = pytest.mark.slowest

PARAMS = "params.yaml"
DEEP = 5_000


def value(key: str, wrong: object, says: str = "") -> Case:
    """One value replaced; refused with its key unless `says` is more exact."""
    return Case(
        f"{key}: {wrong!r}"[:60],
        lambda folder: set_params(folder, {key: wrong}),
        says or key.rpartition(".")[2],
    )


def good(key: str, right: object) -> Case:
    return Case(
        f"{key}: {right!r} is right",
        lambda folder: set_params(folder, {key: right}),
        counts={"names_kept": len(NAMES)},
    )


def text(
    name: str, change: Callable[[str], str | bytes], says: str = "", *, alone: bool = False
) -> Case:
    """The file's text changed; `alone` where it might take the whole process along."""

    def make(folder: Path) -> None:
        changed = change((folder / PARAMS).read_text("utf-8"))
        (folder / PARAMS).write_bytes(changed.encode() if isinstance(changed, str) else changed)

    case = Case(name, make, says)
    return Case(name, make, says, run=in_a_process) if alone else case


def line(after: str, added: str) -> Callable[[str], str]:
    return lambda old: old.replace(f"{after}\n", f"{after}\n{added}\n", 1)


def a_folder(folder: Path) -> None:
    (folder / PARAMS).unlink()
    (folder / PARAMS).mkdir()


BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 10)}]\n" for i in range(9))

FILES = [
    Case("no file", lambda folder: (folder / PARAMS).unlink(), "params.yaml not found"),
    Case("a folder", a_folder, "params.yaml"),
    text("empty", lambda old: "", "must hold sections"),
    text("only comments", lambda old: "# nothing\n", "must hold sections"),
    text("null", lambda old: "null\n", "must hold sections"),
    text("a list", lambda old: "- data\n- model\n", "must hold sections"),
    text("a word", lambda old: "data\n", "must hold sections"),
    text("a number", lambda old: "3\n", "must hold sections"),
    text("JSON cut off", lambda old: '{"data": ', "not valid YAML"),
    text("a tab", lambda old: old.replace("  path:", "\tpath:"), "line .*not valid YAML"),
    text("a bracket never closed", lambda old: old + "more: [1, 2\n", "not valid YAML"),
    text("a quote never closed", lambda old: old + 'more: "a\n', "not valid YAML"),
    text("a key twice", lambda old: old + "seed: 2\n", "line .*seed"),
    text("a section twice", lambda old: old + "data: {}\n", "line .*data"),
    text("two documents", lambda old: old + "---\n" + old, "not valid YAML|document"),
    text("an unknown alias", lambda old: old + "more: *nobody\n", "line .*(alias|nobody)"),
    text("an alias of itself", lambda old: old + "more: &a [*a]\n", "more"),
    text("aliases that multiply", lambda old: old + BOMB, "unknown key", alone=True),
    text("aliases that multiply in a value",
         lambda old: BOMB + old.replace("seed: 1", "seed: *a8"), "seed|unknown key", alone=True),
    text("a merged key", lambda old: old + "<<: {seed: 2}\n", ""),
    text("a merged key that is none", lambda old: old + "<<: {sed: 2}\n", "did you mean seed"),
    text("Python's tag", lambda old: old + "more: !!python/object/apply:os.getcwd []\n",
         "line .*tag|constructor"),
    text("a binary value", lambda old: old.replace("seed: 1", "seed: !!binary aaaa"), "seed"),
    text("a binary value that is none", lambda old: old + "more: !!binary é\n", "more|base64|line"),
    text("a date", lambda old: old.replace("seed: 1", "seed: 2026-01-01"), "seed"),
    text("no such date", lambda old: old.replace("seed: 1", "seed: 2026-13-41"), "seed|date|month"),
    text("YAML 1.1", lambda old: "%YAML 1.1\n---\n" + old, ""),
    text("YAML 9.9", lambda old: "%YAML 9.9\n---\n" + old, "not valid YAML|version"),
    text("no such directive", lambda old: "%TAG ! !\n%TAG ! !\n---\n" + old, "not valid YAML"),
    text("a merge conflict", lambda old: "<<<<<<< HEAD\n" + old + "=======\nx: 1\n>>>>>>> b\n",
         "not valid YAML|conflict"),
    text("Latin-1", lambda old: (old + "# ñ\n").encode("latin-1"), "not UTF-8"),
    text("UTF-16", lambda old: old.encode("utf-16"), "not UTF-8"),
    text("a byte-order mark", lambda old: old.encode("utf-8-sig"), ""),
    text("NUL", lambda old: old + "more: a\0b\n", "not valid YAML|special characters"),
    text("an escape", lambda old: old + "more: \x1b[31m\n", "not valid YAML|special characters"),
    text("a written escape", lambda old: old + 'more: "\\e[31m"\n', "unknown key more"),
    text("an escape in a key", lambda old: old + '"\\e[31m": 1\n', "unknown key"),
    text("a key with a line end", lambda old: old + '"a\\nb": 1\n', "unknown key"),
    text("half a character", lambda old: old + 'more: "\\ud800"\n', "unknown key|not valid YAML"),
    text("CRLF", lambda old: old.replace("\n", "\r\n"), ""),
    text("lines end in CR", lambda old: old.replace("\n", "\r"), ""),
    text("a number as a key", lambda old: old + "1: 2\n", "Keys should be strings"),
    text("null as a key", lambda old: old + "~: 2\n", "Keys should be strings"),
    text("a list as a key", lambda old: old + "? [a, b]\n: 2\n", "Keys should be strings"),
    text("a mapping as a key", lambda old: old + "? {a: b}\n: 2\n", "[Kk]ey|line"),
    text("deep brackets", lambda old: old + f"more: {'[' * DEEP}{']' * DEEP}\n", "deep|nested",
         alone=True),
    text("deep braces", lambda old: old + f"more: {'{a: ' * DEEP}{'}' * DEEP}\n", "deep|nested",
         alone=True),
    text("a value of 1 MB", lambda old: old + f"more: {'x' * 10**6}\n", "unknown key more"),
    text("a key of 100,000 letters", lambda old: old + f"{'x' * 10**5}: 1\n", "not valid|unknown"),
    text("a number of 10,000 digits", lambda old: old.replace("seed: 1", f"seed: {'9' * 10**4}"),
         "seed|digits"),
    text("an unknown section", lambda old: old + "modle:\n  cell: gru\n", "did you mean model"),
    text("an unknown key", line("model:", "  hiden_size: 3"), "did you mean hidden_size"),
    text("a key without a value", line("model:", "  hiden_size:"), "did you mean hidden_size"),
    text("a section left out", lambda old: old[: old.index("train:")] + old[old.index("sample:"):],
         "train|missing"),
]  # fmt: skip

VALUES = [
    value("data", None, "data must be a section"),
    value("data", "list.csv", "data must be a section"),
    value("data", [], "data must be a section"),
    value("model", 3, "model must be a section"),
    value("seed", "one", "seed must be a whole number"),
    value("seed", True, "seed must be a whole number"),
    value("seed", None, "seed must be a whole number"),
    value("seed", 1.5, "seed must be a whole number"),
    value("seed", -1, "seed must be greater"),
    value("seed", 10**40, "seed"),
    value("seed", float("nan"), "seed"),
    value("seed", [1], "seed must be a whole number"),
    value("data.path", ""),
    value("data.path", None, "data.path must be text"),
    value("data.path", 7, "data.path must be text"),
    value("data.path", ["list.csv"], "data.path must be text"),
    value("data.column", ""),
    value("data.column", True, "data.column must be text"),
    value("data.condition", None, "data.condition must be text"),
    value("data.encoding", "utf-9", "encoding must be auto"),
    value("data.encoding", "rot13", "encoding must be auto"),
    value("data.encoding", "hex", "encoding must be auto"),
    value("data.encoding", "a\0b", "encoding must be auto"),
    value("data.encoding", ""),
    value("data.lowercase", "yes", "lowercase must be true or false"),
    value("data.lowercase", 1, "lowercase must be true or false"),
    value("data.max_length", 0),
    value("data.max_length", 1001),
    value("data.max_length", 10.0),
    value("data.max_length", "auto"),
    value("data.validation_share", 0),
    value("data.validation_share", 0.41),
    value("data.validation_share", float("nan")),
    value("data.validation_share", "10 %"),
    value("data.test_share", -0.1),
    value("data.test_share", float("inf")),
    value("data.split_key", ""),
    value("data.split_key", "seventeen letters"),
    value("data.split_key", "é" * 17),
    value("model.cell", "GRU", "model.cell must be 'rnn', 'gru', 'lstm' or 'auto'"),
    value("model.cell", ["gru"], "model.cell"),
    value("model.hidden_size", 0, "or 'auto'|greater"),
    value("model.hidden_size", 10**40),
    value("model.hidden_size", "Auto", "or 'auto'"),
    value("model.num_layers", 5),
    value("model.dropout", 1),
    value("model.dropout", -0.0001),
    value("model.members", 33),
    value("model.ngram_weight", 1.1),
    value("model.ngram_max_order", 21),
    value("train.start", "never", "train.start must be"),
    value("train.start_from", ""),
    value("train.device", "tpu", "train.device must be"),
    value("train.num_threads", 0),
    value("train.max_epochs", 0),
    value("train.max_epochs", 10**40),
    value("train.patience", "none", "or 'auto'"),
    value("train.batch_size", 10**40),
    value("train.learning_rate", 0),
    value("train.learning_rate", "1e-3 "),
    value("train.weight_decay", float("nan")),
    value("train.clip_norm", float("nan")),
    value("train.clip_norm", float("inf")),
    value("train.average_decay", 1),
    value("evaluate.bootstrap_samples", 99),
    value("crossvalidate.folds", 2),
    value("sample.count", 0),
    value("sample.count", 10**40),
    value("sample.temperature", 0),
    value("sample.temperature", float("nan")),
    value("sample.top_k", -1),
    value("sample.top_p", 0),
    value("sample.prefix", None),
    value("sample.prefix", "x" * 100_000),
    value("sample.min_length", 10**40),
    value("sample.max_length", -1),
    value("sample.match", "(", "match"),
    value("sample.match", "(?R)", "match"),
    value("sample.match", "(" * DEEP + ")" * DEEP, "match"),
    value("sample.avoid", "rex", "sample.avoid must be a list"),
    value("sample.avoid", [1], "sample.avoid"),
    value("sample.max_bits", float("nan")),
    value("sample.given", "long", "section sample: .* category"),
    value("sample.unique", None, "sample.unique must be true or false"),
    value("promote.registered_model", "a/b"),
    value("promote.registered_model", "a\n"),
    value("promote.margin_nats", float("nan")),
    value("promote.margin_nats", -1),
    value("promote.min_novelty", 2),
    value("promote.min_gain_nats", "much"),
    Case("shares that leave too little", lambda folder: set_params(
        folder, {"data.validation_share": 0.3, "data.test_share": 0.3}), "at most 0.5"),
    Case("lengths that no name has", lambda folder: set_params(
        folder, {"sample.min_length": 9, "sample.max_length": 3}), "max_length must be at least"),
    good("seed", 2**63 - 1),
    good("data.split_key", "é" * 16),
    good("data.encoding", "UTF8"),
    good("model.hidden_size", 4096),
    good("sample.temperature", 1),
]  # fmt: skip

CASES = FILES + VALUES


@pytest.mark.parametrize("case", rows(CASES))
def test_params_are_refused_in_a_line_or_taken_as_said(case, tmp_path, record_property):
    check(case, tmp_path, record_property)


def test_the_table_is_long_enough():
    assert len({case.name for case in CASES}) == len(CASES) >= 60
