"""The `nomosaurus` command, put together. Heavy imports wait until a command needs them."""

from typing import Any

from nomosaurus.errors import one_line_errors, shown_safely

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer
    from typer.core import TyperGroup

    from nomosaurus.commands import names, runs
    from nomosaurus.commands.ci import ci


class Commands(TyperGroup):
    """The commands, with what typer says of wrong options shown safely too."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the one that is asked for."""
        with shown_safely():
            return super().main(*args, **kwargs)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Write new names like those on a list, and score names, with the model that "
    "`dvc repro` trained on the list.",
)
app.add_typer(names.commands)
app.add_typer(runs.commands)
app.add_typer(ci, name="ci")
