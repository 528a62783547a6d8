"""What a release publishes: model, card, report, page, wheel and checksums of this checkout."""

import hashlib
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from nomosaurus import __version__
from nomosaurus.errors import ArtifactError
from nomosaurus.files import (
    read_checked,
    read_name_table,
    read_output,
    replace_folder,
    write_text,
)
from nomosaurus.model.file import load_model
from nomosaurus.params import load_params
from nomosaurus.report.card import Origin, build_card, build_notes
from nomosaurus.report.metrics import DETAILS, PREPARED, TRAINED
from nomosaurus.tracking.lineage import changes, head
from nomosaurus.tracking.lock import MODEL_FILE, hashes, locked_stages, model_at, stale
from nomosaurus.tracking.programs import run

MADE_BY = {
    MODEL_FILE: "train",
    "metrics/prepare.json": "prepare",
    "metrics/train.json": "train",
    "metrics/evaluate_details.json": "evaluate",
    "samples/names.csv": "sample",
    "report.html": "report",
    "play.html": "play",
}
"""What a release is made of, and the stage that writes it."""
SBOM = Path("sbom.cdx.json")
"""The packages that made it, with their versions and licences, in CycloneDX's format."""


def releasable_commit() -> str:
    """The commit that is checked out.

    Raises:
        ArtifactError: If there is none, or the checkout has changes.
    """
    commit = head()
    if not commit or changes():
        raise ArtifactError(
            "a release names the commit that it comes from, and this checkout has changes: commit "
            "them, then release"
        )
    return commit


def build_wheel(commit: str) -> tuple[str, bytes]:
    """The package of a commit, to be installed without a clone: the wheel's name and content.

    It is built from what git holds, with the commit's time, so the bytes repeat.

    Raises:
        PipelineError: If it cannot be built.
    """
    with TemporaryDirectory() as folder:
        archive, source = Path(folder, "source.tar"), Path(folder, "source")
        run("git", "archive", "--output", str(archive), commit)
        with tarfile.open(archive) as content:
            content.extractall(source, filter="data")
        quietly = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
        run(
            *(sys.executable, "-m", "pip", "wheel", *quietly, "--wheel-dir", folder, str(source)),
            environment={
                "SOURCE_DATE_EPOCH": run("git", "log", "-1", "--format=%ct", commit).strip()
            },
        )
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.name, wheel.read_bytes()


def write_release(folder: Path, repository: str) -> list[Path]:
    """Write what is to be published, and NOTES.md with its text; returns the files.

    SHA256SUMS covers what is published beside it, and so not the notes.

    Args:
        folder: New or empty.
        repository: OWNER/REPO on GitHub, from which people will verify what they get.

    Raises:
        ArtifactError: If an output is missing, or is not what dvc.lock says that this code, these
            data and these params gave, or if no commit holds these.
    """
    contents = {path: read_output(Path(path), stage) for path, stage in MADE_BY.items()}
    if not SBOM.is_file():
        raise ArtifactError(f'{SBOM} not found; run "make sbom"')
    params = load_params(Path("params.yaml"))
    if found := stale(cached_too=True):
        raise ArtifactError(f'dvc.lock does not match this checkout: {found[0]}; run "make repro"')
    commit = releasable_commit()
    model_file = contents[MODEL_FILE]
    prepared = read_checked(Path("metrics/prepare.json"), PREPARED, "prepare")
    trained = read_checked(Path("metrics/train.json"), TRAINED, "train")
    details = read_checked(Path("metrics/evaluate_details.json"), DETAILS, "evaluate")
    names = read_name_table(Path("samples/names.csv"), made_by="sample")["name"].tolist()
    origin = Origin(
        repository=repository,
        version=__version__,
        commit=commit,
        committed_md5=model_at(commit),
        lock_sha256=hashlib.sha256(Path("dvc.lock").read_bytes()).hexdigest(),
        list_md5=hashes(locked_stages()["prepare"]["deps"])[params.data.path],
    )
    card = build_card(
        load_model(MODEL_FILE),
        model_file,
        prepared,
        trained,
        details,
        names,
        params.evaluate,
        params.sample,
        origin,
    )
    published = {
        "model.safetensors": model_file,
        "report.html": contents["report.html"],
        "play.html": contents["play.html"],
        "MODEL_CARD.md": card.encode(),
        SBOM.name: SBOM.read_bytes(),
    }
    wheel, content = build_wheel(commit)
    published[wheel] = content
    checksums = (
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in published.items()
    )
    notes = build_notes(model_file, prepared, details, names, origin)
    texts = {"SHA256SUMS": "".join(checksums), "NOTES.md": notes}

    def write(beside: Path) -> None:
        for name, content in published.items():
            (beside / name).write_bytes(content)
        for name, text in texts.items():
            write_text(beside / name, text)

    replace_folder(folder, write)
    return [folder / name for name in (*published, "SHA256SUMS", "NOTES.md")]
