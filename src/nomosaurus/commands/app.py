"""The `nomosaurus` command, put together. Heavy imports wait until a command needs them."""

from nomosaurus.errors import one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.commands import names, runs
    from nomosaurus.commands.ci import ci

app = typer.Typer(
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
