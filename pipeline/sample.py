"""Stage `sample`: the trained network writes names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import SamplingError, one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.files import in_project, write_table
    from nomosaurus.generation.generator import NameGenerator
    from nomosaurus.generation.nearest import name_table
    from nomosaurus.generation.request import Request
    from nomosaurus.model.device import make_repeatable
    from nomosaurus.model.file import load_model
    from nomosaurus.params import load_params


@one_line_errors()
@in_project
def main(params: Path, model: Path, names: Path) -> None:
    """Draw the names that params.yaml asks for; write them with their scores."""
    values = load_params(params)
    make_repeatable(values.train.num_threads)
    trained = load_model(model, values)
    try:
        drawn = NameGenerator(trained).generate(
            values.sample.count, Request.from_params(values.sample)
        )
    except SamplingError as error:
        if not error.managed:
            raise
        print(f"warning: {error}", file=sys.stderr)
        drawn = list(error.managed)
    write_table(names, name_table(trained, drawn))


if __name__ == "__main__":
    typer.run(main)
