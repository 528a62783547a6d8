"""A stand-in for GitHub's command line: it notes each call, and answers as it was told."""

import json
import sys
from pathlib import Path

STUB = r"""#!/bin/sh
'''exec' "PYTHON" -I "$0" "$@"
' '''
import json, os, re, sys
from pathlib import Path

here, argv = Path(__file__).resolve().parent, sys.argv[1:]
call = {"argv": argv, "stdin": None, "files": {}}
call["token"] = bool(os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN"))
api = argv[:1] == ["api"]
for word, following in zip(argv, [*argv[1:], ""]):
    option, joined, value = word.partition("=") if word.startswith("--") else (word, "", "")
    path = value if joined else following
    if api and option in ("-F", "--field"):
        path = path.partition("=@")[2]
    elif option not in ("--input", "--body-file", "--notes-file", "-F"):
        continue
    if path == "-":
        call["stdin"] = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    elif path:
        call["files"][path] = Path(path).read_bytes().decode("utf-8", "surrogateescape")
with (here / "gh-calls.jsonl").open("a") as log:
    log.write(json.dumps(call) + "\n")
if not call["token"]:
    sys.stderr.write("gh: set the GH_TOKEN environment variable\n")
    sys.exit(4)
for answer in json.loads((here / "gh-answers.json").read_text()):
    match = answer["match"]
    if re.search(match, " ".join(argv)) if isinstance(match, str) else argv[:len(match)] == match:
        sys.stdout.write(answer.get("stdout", ""))
        sys.stderr.write(answer.get("stderr", ""))
        sys.exit(answer.get("exit", 0))
"""


def write_gh_stub(folder: Path, answers: list[dict] | None = None) -> Path:
    """Put `gh` into a folder, which is to come first on the PATH.

    Args:
        folder: Made if need be. The calls are noted in it, and the answers may be rewritten in
            its `gh-answers.json` between two runs.
        answers: The first that matches is given: {"match": the first arguments, or a regular
            expression for all of them joined by spaces, "stdout": "", "stderr": "", "exit": 0}.
            A call that none matches prints nothing and succeeds; one without a token fails,
            as the real one does in a workflow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gh").write_text(STUB.replace("PYTHON", sys.executable))
    (folder / "gh").chmod(0o755)
    (folder / "gh-answers.json").write_text(json.dumps(answers or []))
    (folder / "gh-calls.jsonl").write_text("")
    return folder


def read_gh_calls(folder: Path) -> list[dict]:
    """The calls so far: argv, stdin if it was read, the files named by options, and the token.

    `files` has the content by path; `token` says whether one was set.
    """
    return [json.loads(line) for line in (folder / "gh-calls.jsonl").read_text().splitlines()]
