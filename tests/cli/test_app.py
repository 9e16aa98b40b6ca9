"""`leuko app`: what is refused before anything is served."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from leuko_mm.cli.main import WRONG_USE, main
from leuko_mm.files import locked


def test_a_port_that_is_taken_is_named(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["app", str(tmp_path), "--port", str(port)]
        assert main(words) == WRONG_USE
    said = capsys.readouterr().err
    assert f"port {port}" in said
    assert "give another --port, or 0" in said


@pytest.mark.parametrize(
    "words", [["--port", "99999"], ["--host", "no.such.name.invalid"]]
)
def test_an_address_that_is_none_is_named(tmp_path, capsys, words):
    assert main(["app", str(tmp_path / "s"), *words]) == WRONG_USE
    assert "cannot listen on" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--checkpoint", "missing.onnx"], "missing.onnx does not exist"),
        (["--checkpoint", "cbam_unet_compac"], "Did you mean cbam_unet_compact"),
        (["--um-per-px", "50"], "red cell would be 0.15 pixels wide"),
        # A model's name is one: the port alone is wrong.
        (["--checkpoint", "cbam_unet_compact", "--port", "99999"], "cannot listen on"),
    ],
)
def test_options_that_do_not_fit_are_named_before_it_listens(
    tmp_path, capsys, words, said
):
    assert main(["app", str(tmp_path / "s"), *words]) == WRONG_USE
    assert said in capsys.readouterr().err


def test_a_folder_that_another_serves_is_refused(tmp_path, capsys):
    with locked(tmp_path / ".lock"):
        assert main(["app", str(tmp_path), "--port", "0"]) == WRONG_USE
    assert "another leuko app serves" in capsys.readouterr().err


def test_a_file_for_a_folder_is_refused(tmp_path, capsys):
    (tmp_path / "s").write_text("")
    assert main(["app", str(tmp_path / "s"), "--port", "0"]) == WRONG_USE
    assert "expected a folder" in capsys.readouterr().err


def test_a_folder_of_images_is_no_folder_of_sessions(tmp_path, capsys):
    (tmp_path / "field.JPG").write_bytes(b"")
    assert main(["app", str(tmp_path), "--port", "0"]) == WRONG_USE
    assert "drop the images on the page" in capsys.readouterr().err


def test_without_its_libraries_it_says_what_to_install(tmp_path, project_root):
    (tmp_path / "uvicorn.py").write_text(
        "raise ModuleNotFoundError('No module', name='uvicorn')"
    )
    paths = os.pathsep.join([str(tmp_path), str(project_root)])
    done = subprocess.run(
        [sys.executable, "-m", "leuko_mm.cli.main", "app", str(tmp_path / "s")],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == WRONG_USE
    assert done.stderr == (
        "leuko app: it needs uvicorn, which is not installed: pip install "
        "starlette uvicorn\n"
    )
