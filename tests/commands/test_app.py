import subprocess
import sys

import pytest
from invoked import invoke

OF_A_PROJECT = [
    *("generate", "score ana", "explain ana", "info"),
    *("summary", "runs", "sync", "backfill", "promote", "promote --rollback"),
    *("ci check-lock", "ci pull", "ci push", "ci repeat x", "ci before HEAD x", "ci compare x"),
    *("ci retrain x", "ci release x --repository owner/names"),
]


def test_help_lists_the_commands_in_the_order_of_their_use():
    code, out, _ = invoke("--help")
    assert code == 0
    listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line]
    assert listed == [
        *("generate", "score", "explain", "info"),
        *("summary", "runs", "sync", "backfill", "promote", "ci"),
    ]


def test_an_unknown_command_exits_with_2():
    assert invoke("unknown")[0] == 2


def test_help_waits_for_no_heavy_import():
    code = (
        "import sys\n"
        "from nomosaurus.commands.app import app\n"
        "app(['generate', '--help'], standalone_mode=False)\n"
        "print({'torch', 'mlflow', 'pandas', 'dvc'} & set(sys.modules), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == "set()\n"


@pytest.mark.parametrize("command", OF_A_PROJECT)
def test_outside_of_a_project_a_command_says_so_and_makes_nothing(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(*command.split())
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path} is in no Nomosaurus project")
    assert len(err.splitlines()) == 1
    assert not [*tmp_path.iterdir()]
