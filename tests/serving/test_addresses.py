import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import make_model
from typer.testing import CliRunner

from nomosaurus.commands.app import app
from nomosaurus.model.file import save_model


@pytest.fixture
def web(tmp_path):
    """The address of a server of files, and its folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path
    server.shutdown()
    server.server_close()


def generate(model: str):
    return CliRunner().invoke(app, ["generate", "-n", "5", "--no-new", "--model", model])


def info(model: str):
    return CliRunner().invoke(app, ["info", "--model", model])


def test_a_model_on_the_web_writes_the_names_of_its_file(web):
    address, folder = web
    save_model(folder / "m.safetensors", make_model())
    here, there = generate(str(folder / "m.safetensors")), generate(f"{address}/m.safetensors")
    assert here.exit_code == there.exit_code == 0, there.output
    assert here.stdout == there.stdout != ""
    said = info(f"{address}/m.safetensors")
    assert f"{address}/m.safetensors" in said.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("absent.safetensors", "the server says 404"),
        ("page.html", "{address}/page.html"),
        ("cut.safetensors", "{address}/cut.safetensors"),
    ],
)
def test_what_is_no_model_there_is_one_line_that_names_the_address(web, path, reason):
    address, folder = web
    (folder / "page.html").write_text("<h1>Sign in</h1>")
    save_model(folder / "m.safetensors", make_model())
    content = (folder / "m.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    for command in (generate, info):
        result = command(f"{address}/{path}")
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert reason.format(address=address) in line
        assert "/tmp" not in line


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1/m.safetensors", "https://", "http://[", "models:/nobody@champion"],
)
def test_an_address_that_leads_nowhere_is_one_line(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = generate(address)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
