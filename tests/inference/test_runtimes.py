"""Exports give what the checkpoint gives, whatever runs them."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest
import torch
from exported_network import need_exports, write_uneven
from painted_network import disc, paint

from leuko_mm.inference.exported import read_model
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.runtime_choice import RuntimeChoiceError
from leuko_mm.inference.runtimes import open_runtime
from leuko_mm.inference.tile_network import TileNetwork
from leuko_mm.workflows.export import export

LIMIT, SAME_CLASS = 1e-3, 0.9999
EXPORTS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a checkpoint and its export, as they are read."""
    need_exports()
    folder = tmp_path_factory.mktemp("pair")
    path = write_uneven(folder)
    export(path, folder / "out" / "net.onnx")
    return read_model(path), read_model(folder / "out" / "net.onnx")


@pytest.fixture(scope="module", params=EXPORTS)
def runtimes(request, pair):
    """Return the network by torch and by another runtime, in float32."""
    if not importlib.util.find_spec(request.param):
        pytest.skip(f"{request.param} is not installed: pip install {request.param}")
    own = open_runtime(pair[0], device="cpu", float32=True)
    return own, open_runtime(pair[1], request.param, float32=True)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_logits_are_those_of_the_checkpoint(runtimes, batch, size):
    drawn = torch.Generator().manual_seed(batch)
    images = torch.randn((batch, 3, *size), generator=drawn)
    own, other = (runtime(images) for runtime in runtimes)
    assert own.shape == other.shape == (batch, 6, *size)
    assert other.dtype == torch.float32
    assert (own - other).abs().max() <= LIMIT
    assert (own.argmax(1) == other.argmax(1)).float().mean() >= SAME_CLASS


@pytest.mark.parametrize("shape", [(33, 47), (97, 131), (20, 70), (1, 1)])
@pytest.mark.parametrize("tta", [False, True])
def test_tiles_of_odd_sides_are_taken(runtimes, pair, shape, tta):
    tile = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    own, other = (TileNetwork(pair[0], runtime, tta=tta)(tile) for runtime in runtimes)
    assert own.shape == other.shape == (6, *shape)
    np.testing.assert_allclose(own, other, atol=LIMIT)


def test_real_cells_keep_their_classes(runtimes, pair, shared_folder):
    files = sorted((shared_folder / "datasets/BCISC/sub-images/images").glob("*.jpg"))
    if not files:
        pytest.skip(f"no BCISC images below {shared_folder}")
    networks = [TileNetwork(pair[0], runtime) for runtime in runtimes]
    same = pixels = 0
    # Whole, and cut to odd sides.
    for number, file in enumerate(files[:: len(files) // 5]):
        cell = cv2.imread(str(file))[: 256 - 7 * number, : 256 - 3 * number, ::-1]
        own, other = (network(cell) for network in networks)
        assert abs(own - other).max() <= LIMIT
        same += (own.argmax(0) == other.argmax(0)).sum()
        pixels += own[0].size
    assert same >= SAME_CLASS * pixels


def test_cells_are_found_in_a_field_by_an_export(painted, tmp_path):
    need_exports()
    labels = np.zeros((150, 261), np.uint8)
    labels[disc(labels.shape, 60, 60, 25)] = 5
    labels[disc(labels.shape, 200, 90, 22)] = 2
    export(painted, tmp_path / "painted.onnx")
    wanted = Predictor(painted, scale=1, tile=128).predict(paint(labels))
    by_export = Predictor(
        tmp_path / "painted.onnx", scale=1, tile=128, runtime="onnxruntime"
    )
    assert (by_export.runtime, by_export.checkpoint.model) == ("onnxruntime", None)
    found = by_export.predict(paint(labels))
    assert dict(found.counts) == dict(wanted.counts)
    assert sum(found.counts.values()) == 2
    assert (found.labels == wanted.labels).mean() >= SAME_CLASS


def test_an_export_runs_on_the_cpu_only(pair):
    with pytest.raises(RuntimeChoiceError, match="'cuda:0'"):
        open_runtime(pair[1], "onnxruntime", device="cuda:0")


def test_torch_can_be_kept_from_bfloat16(pair):
    images = torch.randn(1, 3, 32, 32)
    runtime = open_runtime(pair[0], device="cpu", float32=True)
    assert not runtime.low_precision
    model = pair[0].model
    about = dict(ori_shape=(32, 32), img_shape=(32, 32), pad_shape=(32, 32))
    with torch.no_grad():
        plain = model.encode_decode(images, [about])
    torch.testing.assert_close(runtime(images).clone(), plain, atol=1e-4, rtol=1e-4)
