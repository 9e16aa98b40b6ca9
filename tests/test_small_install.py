"""Cells are counted where PyTorch and MMSegmentation are not installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from PIL import Image

from leuko_mm.files import sha256_of_file
from leuko_mm.inference import model as module
from leuko_mm.inference.model import (
    read_sidecar_of,
    shipped_checkpoint,
    shipped_model,
    shipped_names,
)

# Hides what the extra `train` installs, as if it were not there.
HIDDEN = """
import sys
from importlib import metadata
GONE = "torch torchvision mmengine mmcv mmseg matplotlib sklearn scipy".split()
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *a: None if name in GONE else found(name, *a)
version = metadata.version
def visible(name):
    if name == "torch" or name.startswith("onedl-"):
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = visible
"""


# Sends an image to the page's server as the page does.
ASKED = """
import json, sys, time, urllib.request
address, token = sys.argv[1:]
def ask(path, body=None):
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address + path, body, headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()
session = "/s/" + json.loads(ask("/sessions", b"{}"))["id"]
ask(session + "/images?name=field.png", open("field.png", "rb").read())
ask(session + "/start", b"")
while (status := json.loads(ask(session + "/status")))["running"]:
    time.sleep(0.1)
print(status["done"], end=" ")
print("differential.csv" if b"neutrophil" in ask(
    session + "/export/differential.csv") else status)
"""


@pytest.fixture
def leuko(tmp_path, project_root):
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    paths = [str(tmp_path), str(project_root)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def run(*words):
        command = [sys.executable, "-m", "leuko_mm.cli.main", *map(str, words)]
        return subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True
        )

    run.env = env
    return run


def test_predict_counts_cells(leuko, tmp_path):
    Image.new("RGB", (400, 300), (230, 225, 230)).save(tmp_path / "field.png")
    done = leuko("predict", "field.png", "--out", "o", "--scale", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 images done" in done.stdout
    assert (tmp_path / "o" / "report.html").is_file()


def test_the_app_finds_cells(leuko, tmp_path):
    pytest.importorskip("starlette", reason="needs the extra app")
    Image.new("RGB", (400, 300), (230, 225, 230)).save(tmp_path / "field.png")
    (tmp_path / "asked.py").write_text(ASKED)
    server = subprocess.Popen(
        [sys.executable, "-m", "leuko_mm.cli.main", "app", "s", "--port", "0"],
        env=leuko.env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        words = [server.stdout.readline() for _ in range(3)]
        assert words[2].startswith("For research only.")
        address, _, token = words[1].split()[1].partition("/?token=")
        done = subprocess.run(
            [sys.executable, "asked.py", address, token],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["1", "differential.csv"], done.stderr
    finally:
        server.terminate()
        server.communicate()
    assert server.returncode == 143


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["predict", "--help"],
        ["zoo", "list"],
        ["zoo", "show", "cbam_unet_compact"],
        ["zoo", "fetch", "cbam_unet_compact"],
        ["enhance", "--help"],
        ["app", "--help"],
    ],
)
def test_what_needs_no_toolkit_works(leuko, words):
    done = leuko(*words)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_finds_no_fault(leuko):
    done = leuko("doctor")
    assert "0 faults, 1 warning" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["train", "cbam_unet"],
        ["export", "x.pth", "x.onnx"],
        ["zoo", "verify", "cbam_unet_compact"],
        ["predict", "x.png", "--out", "o", "--runtime", "torch"],
    ],
)
def test_the_rest_says_in_one_line_what_to_install(leuko, tmp_path, words):
    Image.new("RGB", (400, 300)).save(tmp_path / "x.png")
    done = leuko(*words)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert 'python -m pip install "leuko-mm[train]' in line


@pytest.mark.parametrize("name", shipped_names())
def test_an_export_is_that_of_the_checkpoint(name):
    sidecar = read_sidecar_of(shipped_model(name, runtime="onnxruntime"))
    assert sidecar["export"]["of"] == sha256_of_file(shipped_checkpoint(name))


@pytest.mark.parametrize(
    ("gpu", "options", "suffix"),
    [
        (False, {}, ".onnx"),
        (True, {}, ".pth"),
        (True, dict(device="cpu"), ".onnx"),
        (False, dict(device="cuda:0"), ".pth"),
        (True, dict(runtime="onnxruntime"), ".onnx"),
        (False, dict(runtime="torch"), ".pth"),
    ],
)
def test_the_file_fits_device_and_runtime(monkeypatch, gpu, options, suffix):
    monkeypatch.setattr(module, "_gpu_is_there", lambda: gpu)
    path = shipped_model(**options)
    assert path.suffix == suffix
    assert path.is_file()
