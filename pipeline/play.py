"""Stage `play`: a page that runs the model in a browser, and shows a network remember and learn."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.files import in_project, write_text
    from nomosaurus.model.device import make_repeatable
    from nomosaurus.model.file import load_held_out, load_model
    from nomosaurus.params import load_params
    from nomosaurus.report.play import ArticleNetwork, build_play_page
    from nomosaurus.training.lesson import teach


@one_line_errors()
@in_project
def main(params: Path, prepared: Path, model: Path, page: Path) -> None:
    """Train the article's network along, and write the page."""
    values = load_params(params)
    make_repeatable(values.train.num_threads)
    trained = load_model(model, values)
    validation = load_held_out(prepared, "validation", trained)
    article = ArticleNetwork(*teach(trained, validation, values))
    write_text(page, build_play_page(trained, validation, article))


if __name__ == "__main__":
    typer.run(main)
