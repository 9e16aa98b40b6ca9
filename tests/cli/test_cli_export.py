"""`leuko export` and `leuko predict --runtime`, as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported_network import need_exports, write_uneven
from PIL import Image

from leuko_mm.cli import export as cli_export
from leuko_mm.cli.main import main
from leuko_mm.inference import runtimes
from leuko_mm.inference.export import Agreement


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_uneven(tmp_path)
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save("in/a.png")
    return tmp_path


def predict(*words):
    return main(["predict", "in", "--scale", "1", *words])


def test_an_export_is_written_and_used(place, capsys):
    need_exports()
    assert main(["export", "net.pth", "fast/net.onnx"]) == 0
    said = capsys.readouterr().out
    assert "the same class at 100.00% of the pixels" in said
    assert "leuko predict IMAGES --checkpoint fast/net.onnx" in said
    words = ("--checkpoint", "fast/net.onnx", "--runtime", "onnxruntime")
    assert predict(*words, "--out", "found") == 0
    assert "1 of 1 images done" in capsys.readouterr().out
    state = json.loads((place / "found" / "predict.json").read_text())
    assert state["settings"]["runtime"] == "onnxruntime"
    assert predict("--checkpoint", "net.pth", "--out", "found", "--resume") == 2
    assert "runtime 'onnxruntime', now None" in capsys.readouterr().err


def test_the_export_of_a_class_network_is_used_as_such(place, capsys, monkeypatch):
    (place / "names.onnx").write_bytes(b"")
    head = dict(type="leuko_mm.CellClassHead")
    about = dict(config=dict(model=dict(decode_head=head)))
    monkeypatch.setattr(cli_export, "read_sidecar_of", lambda path: about)
    monkeypatch.setattr(cli_export, "export", lambda *_, **__: Agreement(0.0, 1.0))
    assert main(["export", "names.pth", "names.onnx"]) == 0
    assert "IMAGES --classifier names.onnx" in capsys.readouterr().out


def test_a_runtime_that_is_not_installed_is_refused_before_anything(
    place, capsys, monkeypatch
):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    (place / "net.onnx").write_bytes(b"")
    assert predict("--checkpoint", "net.onnx", "--out", "found") == 2
    message = capsys.readouterr().err
    assert "pip install onnxruntime" in message
    assert "Traceback" not in message
    assert not (place / "found").exists()
