"""Stage `track`: the model's MLflow run gets all that the other stages wrote."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # this checkout's code

from nomosaurus.errors import ArtifactError, one_line_errors

with one_line_errors():  # as for a Ctrl-C that comes while these are read
    import typer

    from nomosaurus.files import in_project, write_text
    from nomosaurus.tracking.lineage import Origin, file_md5, file_sha256
    from nomosaurus.tracking.lock import MODEL_FILE, locked_stages, outputs
    from nomosaurus.tracking.run import log_outputs


@one_line_errors()
@in_project
def main(model: Path, receipt: Path) -> None:
    """Send the outputs that dvc.lock names; the receipt says for which model that was done."""
    md5 = file_md5(model)
    if outputs(locked_stages()).get(MODEL_FILE, md5) != md5:
        raise ArtifactError(f'{model} is not the model that dvc.lock names; run "dvc repro"')
    log_outputs(Path(), Origin.of_checkout())
    write_text(receipt, f"{file_sha256(model)}\n")


if __name__ == "__main__":
    typer.run(main)
