import pytest

from nomosaurus.errors import MOST_SAID, in_one_line

# What the programs really say, on standard error.
DVC_LOCK = """'./dvc.lock' is invalid.

While parsing a flow node, in line 2, column 1
Expected the node content, but found '<stream end>', in line 2, column 1
  2
"""
DVC_YAML = """'./dvc.yaml' validation failed: 2 errors.

extra keys not allowed, in stages -> prepare -> cmdx, line 6, column 5
    5   prepare:
    6 │   desc: Read the list, split it, and encode its names
    7 │   cmdx: python params.yaml data/prepared metrics/prepare.json
"""
DVC_REMOTE = """WARNING: failed to collect 'workspace', skipping
ERROR: unexpected error - s3 is supported, but requires 'dvc-s3' to be installed: No module

Having any troubles? Hit us up at https://dvc.org/support, we are always happy to help!
"""
GIT_REMOTE = """fatal: 'origin' does not appear to be a git repository
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
"""
GIT_PUSH = """To /tmp/origin
 ! [rejected]        HEAD -> main (fetch first)
error: failed to push some refs to '/tmp/origin'
hint: Updates were rejected because the remote contains work that you do not
"""
GIT_SWITCH = """error: Your local changes to the following files would be overwritten by checkout:
\tparams.yaml
Please commit your changes or stash them before you switch branches.
Aborting
"""
GH = "gh: Bad credentials (HTTP 401)\nTry authenticating with:  gh auth login\n"
GH_PR = """Warning: 1 uncommitted change
pull request create failed: GraphQL: Resource not accessible by integration
"""
TRACEBACK = """Traceback (most recent call last):
  File "dvc", line 5, in <module>
    import dvc
ModuleNotFoundError: No module named 'dvc'
"""


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            DVC_LOCK,
            "'./dvc.lock' is invalid. While parsing a flow node, in line 2, column 1",
        ),
        (
            DVC_YAML,
            "'./dvc.yaml' validation failed: 2 errors. "
            "extra keys not allowed, in stages -> prepare -> cmdx, line 6, column 5",
        ),
        (DVC_REMOTE, "s3 is supported, but requires 'dvc-s3' to be installed: No module"),
        (GIT_REMOTE, "'origin' does not appear to be a git repository"),
        (GIT_PUSH, "failed to push some refs to '/tmp/origin'"),
        (
            GIT_SWITCH,
            "Your local changes to the following files would be overwritten by checkout: "
            "params.yaml",
        ),
        (GH, "gh: Bad credentials (HTTP 401) Try authenticating with: gh auth login"),
        (GH_PR, "pull request create failed: GraphQL: Resource not accessible by integration"),
        (TRACEBACK, "ModuleNotFoundError: No module named 'dvc'"),
        ("hint: nothing else\n", "hint: nothing else"),
        ("", "it said nothing"),
        (
            ValueError("Error tokenizing data. C error: Expected 2 fields in line 3, saw 4\n"),
            "Expected 2 fields in line 3, saw 4",
        ),
        (ValueError(), "ValueError"),
        (ValueError("disk I/O error\n[SQL: SELECT 1]\n(Background on this)"), "disk I/O error"),
        (
            OSError(
                "HTTPConnectionPool(host='a', port=1): Max retries exceeded with url: /api "
                "(Caused by NewConnectionError(\"HTTPConnection(host='a'): refused\"))"
            ),
            "refused",
        ),
    ],
)
def test_the_line_is_the_one_that_names_the_cause(said, line):
    assert in_one_line(said) == line


def test_a_remedy_is_whole_or_not_there():
    schema = (
        "Detected out-of-date database schema (found version a, but expected b). Take a backup of "
        "your database, then run 'mlflow db upgrade <database_uri>' to migrate your database to "
        "the latest schema. NOTE: schema migration may result in database downtime - please "
        "consult your database's documentation for more detail."
    )
    assert in_one_line(ValueError(schema)) == schema
    longer = in_one_line(ValueError(f"{schema} {schema}"))
    assert longer == f"{schema} {schema.partition(' Take')[0]}"
    assert in_one_line("x" * 10_000) == "x" * MOST_SAID + "…"
