"""ImageNet weights: where they are looked for, fetched from and fitted."""

from __future__ import annotations

import hashlib
import io
import shutil

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from leuko_mm.engine import EncoderWeights
from leuko_mm.engine.encoder_weights import (
    KNOWN,
    KnownWeights,
    WeightsError,
    find_weights,
    weight_folders,
)
from leuko_mm.models import VGG

FIRST, SECOND = KNOWN["vgg16"].names


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Make all folders that are searched lie below the test's own; return them."""
    here = tmp_path / "clone"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "home"))
    return [folder.absolute() for folder in weight_folders()]


def put(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"weights")
    return folder / name


def small_vgg(**options) -> VGG:
    return VGG(depth=11, width=0.125, **options)


def weights_of(model) -> dict:
    torch.manual_seed(5)
    tensors = {
        k: torch.randn(v.shape).to(v.dtype) for k, v in model.state_dict().items()
    }
    return {**tensors, "classifier.0.weight": torch.zeros(2, 2)}


def as_bytes(tensors) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


@pytest.fixture
def remote(web, monkeypatch):
    """Offer weights under a new name; return the file's."""
    body = as_bytes(weights_of(small_vgg()))
    name, digest = "small.pth", hashlib.sha256(body).hexdigest()[:8]
    web.files[f"/{name}"] = body
    known = KnownWeights((name,), f"{web.address}/{name}", digest)
    monkeypatch.setitem(KNOWN, "small", known)
    return name


def test_folders_are_searched_in_order(places):
    expected = None
    for folder in reversed(places):
        expected = put(folder, SECOND)
        assert find_weights("vgg16", download=False).resolve() == expected.resolve()
    # Of one folder, the file with torchvision's name.
    expected = put(places[0], FIRST)
    assert find_weights("vgg16", download=False) == expected


def test_the_folders_are_the_documented_ones(tmp_path, places):
    assert [folder.resolve() for folder in places] == [
        tmp_path / "home" / "weights",
        tmp_path / "clone" / "weights",
        tmp_path / "shared" / "weights",
        tmp_path / "torch" / "hub" / "checkpoints",
    ]


def test_the_folder_of_the_tests_is_not_searched(tmp_path, monkeypatch):
    put(tmp_path / "elsewhere" / "weights", FIRST)
    monkeypatch.setenv("LEUKO_MM_SHARED", str(tmp_path / "elsewhere"))
    with pytest.raises(WeightsError):
        find_weights("vgg16", download=False)


def test_missing_weights_raise_with_places_and_commands(places):
    with pytest.raises(WeightsError) as raised:
        find_weights("vgg16", download=False)
    message = str(raised.value)
    for wanted in (FIRST, SECOND, "home/weights", "../shared/weights", "torch/hub"):
        assert wanted in message
    assert f"curl -L --create-dirs -o {places[0] / FIRST} https://" in message
    assert "model.backbone.init_cfg=None" in message


def test_a_path_is_taken_as_it_is(tmp_path):
    path = put(tmp_path, "mine.pth")
    assert find_weights(str(path)) == path
    with pytest.raises(WeightsError, match=r"'other.pth': no such file.*vgg16"):
        find_weights("other.pth")


def test_what_is_fetched_is_known_by_its_digest():
    for known in KNOWN.values():
        assert len(known.sha256) >= 8
        assert set(known.sha256) <= set("0123456789abcdef")
        # torchvision writes the beginning of a file's digest into its name.
        if known.convert is None:
            assert known.served == known.names[0]
            assert f"-{known.sha256}." in known.served


@pytest.fixture
def packed(web, monkeypatch):
    """Offer a package that is converted by copying; return its name and the file's."""
    body = as_bytes(weights_of(small_vgg()))
    web.files["/small.tgz"] = body
    digest = hashlib.sha256(body).hexdigest()

    def convert(package, target):
        if package.stat().st_size < len(body):
            raise ValueError(f"{package} ends early")
        shutil.copy(package, target)

    url = f"{web.address}/small.tgz"
    known = KnownWeights(("small.pth",), url, digest, convert)
    monkeypatch.setitem(KNOWN, "small", known)
    return "small.tgz", "small.pth"


def test_what_is_served_in_another_form_is_fetched_once_and_converted(
    web, places, packed
):
    assert find_weights("small") == find_weights("small") == places[0] / packed[1]
    assert web.asked == [f"/{packed[0]}"]
    # What was fetched for it is not kept beside it.
    assert [path.name for path in places[0].iterdir()] == [packed[1]]
    EncoderWeights("small")(small_vgg())


def test_a_package_that_somebody_brought_is_converted_and_kept(web, places, packed):
    brought = places[1] / packed[0]
    brought.parent.mkdir(parents=True)
    brought.write_bytes(web.files[f"/{packed[0]}"])
    assert find_weights("small", download=False) == places[0] / packed[1]
    assert web.asked == []
    assert brought.is_file()


@pytest.mark.parametrize("fault", ["missing", "another file", "damaged"])
def test_a_package_that_is_not_right_is_told_with_its_command(
    web, places, packed, fault
):
    if fault == "missing":
        web.files.clear()
    elif fault == "another file":
        web.files[f"/{packed[0]}"] += b"x"
    else:
        put(places[0], packed[0])
    with pytest.raises(WeightsError) as raised:
        find_weights("small")
    message = str(raised.value)
    assert ("ends early" if fault == "damaged" else "fetching them failed") in message
    assert f"-o {places[0] / packed[0]} {web.address}/{packed[0]}" in message
    assert "makes small.pth of it" in message
    assert not (places[0] / packed[1]).exists()


def test_a_package_is_not_asked_for_without_download(web, places, packed):
    with pytest.raises(WeightsError, match="not fetched"):
        find_weights("small", download=False)
    assert web.asked == []


def test_converted_weights_that_are_there_are_found(places):
    path = put(places[1], KNOWN["resnet50"].names[0])
    assert find_weights("resnet50").resolve() == path.resolve()


def test_weights_are_fetched_once(web, places, remote):
    assert find_weights("small") == find_weights("small") == places[0] / remote
    assert web.asked == [f"/{remote}"]
    model = small_vgg()
    EncoderWeights("small")(model)
    for name, tensor in weights_of(small_vgg()).items():
        if not name.startswith("classifier"):
            assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize("fault", ["missing", "ended early", "another file"])
def test_a_failed_fetch_raises_and_leaves_nothing(web, places, remote, fault):
    if fault == "missing":
        web.files.clear()
    elif fault == "ended early":
        web.broken.add(f"/{remote}")
    else:
        web.files[f"/{remote}"] += b"x"
    with pytest.raises(WeightsError, match="fetching them failed"):
        find_weights("small")
    assert list(places[0].iterdir()) == []


def test_download_false_asks_nobody(web, places, remote):
    with pytest.raises(WeightsError, match="not fetched"):
        find_weights("small", download=False)
    assert web.asked == []
    assert not places[0].exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_values_arrive_as_float32(tmp_path, dtype, nested, norm):
    model = small_vgg(batch_norm=norm)
    wanted = {k: v.to(dtype) for k, v in weights_of(model).items()}
    torch.save(dict(state_dict=wanted) if nested else wanted, tmp_path / "w.pth")
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
        (lambda t: t.update({"features.0.bias": "text"}), "features.0.bias is miss"),
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
    path = put(tmp_path, "whole.pth")
    tensors = weights_of(whole)
    torch.save(tensors, path)
    with pytest.raises(ValueError, match="has no place for"):
        EncoderWeights(str(path))(beginning)
    EncoderWeights(str(path), beginning=True)(beginning)
    for name, value in beginning.state_dict().items():
        torch.testing.assert_close(value, tensors[name])
    # All of its tensors are there, but it is not how the file begins.
    torch.save(dict(reversed(tensors.items())), path)
    with pytest.raises(ValueError, match="has no place for"):
        EncoderWeights(str(path), beginning=True)(beginning)


def test_an_init_cfg_loads_them_into_a_backbone(tmp_path):
    wanted = weights_of(small_vgg())
    torch.save(wanted, tmp_path / "w.pth")
    recipe = dict(type="leuko_mm.EncoderWeights", checkpoint=str(tmp_path / "w.pth"))
    config = dict(type="leuko_mm.VGG", depth=11, width=0.125, init_cfg=recipe)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(config)
        model.init_weights()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted[name])


@pytest.mark.parametrize("kind", ["leuko_mm.SkipResNet", "ResNet"])
def test_a_resnet_takes_all_and_nothing_else(tmp_path, kind):
    with DefaultScope.overwrite_default_scope("mmseg"):
        model, other = (
            MODELS.build(dict(type=kind, depth=depth, norm_cfg=dict(type="BN")))
            for depth in (18, 34)
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
@pytest.mark.parametrize("kind", ["leuko_mm.SkipResNet", "ResNet"])
def test_the_real_weights_fit_resnet50(shared_folder, kind):
    path = shared_folder / "weights" / KNOWN["resnet50"].names[0]
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(dict(type=kind, depth=50, style="caffe"))
    EncoderWeights(str(path))(model)
    # Features of a photograph's statistics neither vanish nor explode.
    torch.manual_seed(0)
    with torch.no_grad():
        model.eval()
        deepest = model(torch.randn(1, 3, 128, 128) * 60)[-1]
    assert deepest.shape == (1, 2048, 4, 4)
    assert 0.01 < deepest.mean() < 10


@pytest.mark.slow
def test_the_real_weights_fit_vgg16(shared_folder):
    path = shared_folder / "weights" / SECOND
    model = VGG(depth=16)
    EncoderWeights(str(path))(model)
    stored = torch.load(path, weights_only=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name].float())
