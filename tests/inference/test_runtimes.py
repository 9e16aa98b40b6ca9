"""What runs a file, and that every runtime gives the checkpoint's answer."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_red_cells import disc
from exported_network import need_exports, uneven, write_uneven
from mmcv.cnn import ConvModule
from painted_network import paint
from tiny_checkpoint import rewrite
from torch import nn

from leuko_mm.inference import runtimes as module
from leuko_mm.inference.export import export
from leuko_mm.inference.model import read_checkpoint, read_model
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.runtimes import (
    Runtime,
    RuntimeChoiceError,
    TorchRuntime,
    choose_runtime,
    fold_batch_norms,
    open_runtime,
)
from leuko_mm.models.encoders import VGG

PTH, ONNX = Path("net.pth"), Path("net.onnx")
LIMIT, SAME_CLASS = 1e-3, 0.9999


def norms(model):
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


class DrawsNumbers(nn.Module):
    """What SegNeXt's head does: its answer depends on random numbers."""

    def encode_decode(self, images, about):
        return torch.rand(len(images), 2, *images.shape[2:])


def test_a_network_that_draws_numbers_repeats_its_answer():
    runtime = TorchRuntime(DrawsNumbers(), device="cpu")
    images = np.zeros((1, 3, 8, 8), np.float32)
    before = torch.get_rng_state()
    assert np.array_equal(runtime(images), runtime(images))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_folded_network_answers_as_before(tmp_path):
    model = read_checkpoint(write_uneven(tmp_path)).model
    image = torch.randn(1, 3, 32, 48)
    before = module.whole_logits(model, image)
    count = norms(model)
    assert fold_batch_norms(model) == count > 0
    assert norms(model) == 0
    torch.testing.assert_close(
        module.whole_logits(model, image), before, atol=1e-4, rtol=1e-4
    )


def test_maps_taken_between_layers_stay_the_same():
    encoder = VGG(11, width=0.125, batch_norm=True).eval().requires_grad_(False)
    uneven(encoder)
    image = torch.randn(1, 3, 32, 32)
    before = encoder(image)
    assert fold_batch_norms(encoder) == 8
    for own, other in zip(encoder(image), before, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        ConvModule(3, 4, 1, norm_cfg=dict(type="BN"), order=("norm", "conv", "act")),
        ConvModule(3, 4, 1, norm_cfg=dict(type="GN", num_groups=2)),
        ConvModule(3, 4, 1),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)),
        nn.ModuleList([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)]),
    ],
)
def test_what_may_be_read_by_others_is_not_folded(model):
    model = copy.deepcopy(model).eval()
    state = list(model.state_dict())
    assert fold_batch_norms(model) == 0
    assert list(model.state_dict()) == state


@pytest.fixture
def installed(monkeypatch):
    """Return a function that decides which libraries there are."""

    def only(*names):
        monkeypatch.setattr(module, "find_spec", lambda name: name in names)

    return only


@pytest.mark.parametrize(
    ("libraries", "path", "wanted", "chosen"),
    [
        ((), PTH, None, "torch"),
        ((), PTH, "torch", "torch"),
        (("onnxruntime", "openvino"), PTH, None, "torch"),
        (("onnxruntime", "openvino"), ONNX, None, "openvino"),
        (("onnxruntime",), ONNX, None, "onnxruntime"),
        (("onnxruntime", "openvino"), ONNX, "onnxruntime", "onnxruntime"),
    ],
)
def test_a_file_gets_what_runs_it(installed, libraries, path, wanted, chosen):
    installed(*libraries)
    assert choose_runtime(path, wanted) == chosen


@pytest.mark.parametrize(
    ("libraries", "path", "wanted", "fix"),
    [
        ((), ONNX, None, "pip install onnxruntime"),
        (("openvino",), ONNX, "onnxruntime", "pip install onnxruntime"),
        (("onnxruntime",), ONNX, "openvino", "pip install openvino"),
        (("openvino",), ONNX, "torch", "runs the .pth"),
        (("openvino",), PTH, "openvino", "leuko export net.pth NAME.onnx"),
        ((), PTH, "abacus", "expected one of torch, onnxruntime, openvino"),
    ],
)
def test_what_cannot_run_is_refused_with_the_fix(
    installed, libraries, path, wanted, fix
):
    installed(*libraries)
    with pytest.raises(RuntimeChoiceError) as error:
        choose_runtime(path, wanted)
    assert fix in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_probabilities_are_those_of_torch(channels):
    class Fixed(Runtime):
        def logits(self, images):
            return images

    logits = np.random.default_rng(0).normal(0, 40, (2, channels, 3, 4))
    wanted = torch.from_numpy(logits).softmax(dim=1)
    if channels == 1:
        leukocyte = torch.from_numpy(logits).sigmoid()
        wanted = torch.cat([1 - leukocyte, leukocyte], dim=1)
    np.testing.assert_allclose(Fixed()(logits), wanted, atol=1e-12)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a checkpoint and its export, as they are read."""
    need_exports()
    folder = tmp_path_factory.mktemp("pair")
    path = write_uneven(folder)
    export(path, folder / "out" / "net.onnx")
    return read_model(path), read_model(folder / "out" / "net.onnx")


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def runtimes(request, pair):
    """Return the network by torch and by another runtime, in float32."""
    if not importlib.util.find_spec(request.param):
        pytest.skip(f"{request.param} is not installed: pip install {request.param}")
    own = open_runtime(pair[0], device="cpu", float32=True)
    return own, open_runtime(pair[1], request.param, float32=True)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_logits_are_those_of_the_checkpoint(runtimes, batch, size):
    rng = np.random.default_rng(batch)
    images = rng.normal(size=(batch, 3, *size)).astype(np.float32)
    own, other = (runtime.logits(images) for runtime in runtimes)
    assert own.shape == other.shape == (batch, 6, *size)
    assert other.dtype == np.float32
    assert abs(own - other).max() <= LIMIT
    assert (own.argmax(1) == other.argmax(1)).mean() >= SAME_CLASS


# Without torch, as an installation for predicting alone has it.
TORCH_FREE = """
import importlib, pkgutil, sys
import leuko_mm.inference as room
for found in pkgutil.iter_modules(room.__path__):
    importlib.import_module(f"{room.__name__}.{found.name}")
import cv2
predictor = room.Predictor(sys.argv[1], scale=1, tile=128, runtime="onnxruntime")
found = predictor.predict(cv2.imread(sys.argv[2])[..., ::-1])
cv2.imwrite(sys.argv[3], found.labels)
heavy = {"torch", "torchvision", "mmengine", "mmcv", "mmseg"}
print(sum(found.counts.values()), sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "enhance", [None, dict(type="leuko_mm.AHERetinex", reading="rgb", window=128)]
)
def test_an_export_finds_the_same_cells_without_torch(painted, tmp_path, enhance):
    need_exports()
    rewrite(painted, enhance=enhance)
    labels = np.zeros((150, 261), np.uint8)
    labels[disc(labels.shape, 60, 60, 25)] = 5
    labels[disc(labels.shape, 200, 90, 22)] = 2
    files = [tmp_path / name for name in ("net.onnx", "field.png", "labels.png")]
    files[0] = tmp_path / "out" / "net.onnx"
    export(painted, files[0])
    cv2.imwrite(str(files[1]), paint(labels)[..., ::-1])
    done = subprocess.run(
        [sys.executable, "-c", TORCH_FREE, *map(str, files)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wanted = Predictor(painted, scale=1, tile=128).predict(paint(labels))
    assert done.stdout == f"{sum(wanted.counts.values())} []\n"
    found = cv2.imread(str(files[2]), cv2.IMREAD_GRAYSCALE)
    assert (found == wanted.labels).mean() >= SAME_CLASS
    assert enhance or sum(wanted.counts.values()) == 2


def test_an_export_runs_on_the_cpu_only(pair):
    with pytest.raises(RuntimeChoiceError, match="'cuda:0'"):
        open_runtime(pair[1], "onnxruntime", device="cuda:0")


def test_onnx_runtime_reports_nothing(tmp_path):
    need_exports()
    environment = {k: v for k, v in os.environ.items() if k[:4] not in ("ORT_", "XDG_")}
    subprocess.run(
        [sys.executable, "-c", "import leuko_mm, onnxruntime"],
        env=environment | dict(HOME=str(tmp_path)),
        check=True,
    )
    assert not list(tmp_path.iterdir()), "an identifier for telemetry"
