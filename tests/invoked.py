"""The `nomosaurus` command, run in this process."""

from typer.testing import CliRunner

from nomosaurus.commands.app import app


def invoke(*arguments: object, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors; a defect's traceback is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
