"""What an exported file contains, what is refused, and that nothing is half."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from exported_network import need_exports, write_uneven
from shipped_configs import CLASS_NETWORK, CONFIGS, METHODS
from tiny_checkpoint import rewrite, write_tiny

from leuko_mm.errors import UsageError
from leuko_mm.inference import Predictor
from leuko_mm.inference import export as module
from leuko_mm.inference.classify import CellClassifier
from leuko_mm.inference.export import OPSET, Agreement, export, write_onnx
from leuko_mm.inference.model import CheckpointError, read_checkpoint, read_model


def test_the_file_takes_any_size_and_says_what_goes_in_and_out(path, tmp_path):
    need_exports()
    import onnx

    read = read_checkpoint(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_onnx(read.model, tmp_path / "net.onnx", read.sidecar)
    file = onnx.load(str(tmp_path / "net.onnx"))
    (image,), (logits,) = file.graph.input, file.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    sides = [
        side.dim_param or side.dim_value for side in image.type.tensor_type.shape.dim
    ]
    assert sides == ["batch", 3, "height", "width"]
    versions = [entry.version for entry in file.opset_import if not entry.domain]
    assert versions == [OPSET]
    about = json.loads(image.doc_string)
    assert (about["channels"], about["multiple_of"]) == ("RGB", 32)
    props = {entry.key: json.loads(entry.value) for entry in file.metadata_props}
    assert props["classes"][1] == "basophil"
    assert props["normalisation"]["mean"] == [123.675, 116.28, 103.53]


# Their layers depend on the size of the image in ways that ONNX cannot say, or on what
# is seen in it, or on chance.
NOT_EXPORTED = {"leukocyte_mask", "pspnet_r50", "segnet", "segnext_t", "unet"}


@pytest.fixture
def path(tmp_path):
    return write_uneven(tmp_path)


@pytest.fixture
def written(monkeypatch):
    """Replace the exporter by one that takes no time and counts its calls."""
    calls = []

    def write(model, path, sidecar):
        calls.append(path)
        path.write_bytes(b"network")

    need_exports()
    monkeypatch.setattr(module, "write_onnx", write)
    return calls


def agree(monkeypatch, largest=1e-6, same_class=1.0):
    result = Agreement(largest, same_class)
    monkeypatch.setattr(module, "compare", lambda *_: result)


def test_file_and_sidecar_appear_and_fit(path, tmp_path):
    need_exports()
    out = tmp_path / "new" / "net.onnx"
    agreement = export(path, out)
    assert 0 < agreement.largest < 1e-3
    assert agreement.same_class >= 0.9999
    assert sorted(p.name for p in out.parent.iterdir()) == ["net.json", "net.onnx"]
    about = read_model(out).sidecar["export"]["compared"]
    assert about["largest_difference"] == agreement.largest


@pytest.mark.parametrize("there", ["net.onnx", "net.json"])
def test_nothing_is_replaced_without_force(path, tmp_path, written, monkeypatch, there):
    agree(monkeypatch)
    out = tmp_path / "out" / "net.onnx"
    out.parent.mkdir()
    (out.parent / there).write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        export(path, out)
    assert (out.parent / there).read_text() == "mine"
    assert not written
    export(path, out, force=True)
    assert out.read_bytes() == b"network"
    read_model(out)


def test_what_is_no_place_or_no_checkpoint_is_said(path, tmp_path, written):
    (tmp_path / "dir.onnx").mkdir()
    for given, out, said in [
        (path, "dir.onnx", "is a folder; choose another name"),
        (tmp_path, "out.onnx", "is a folder; name the .pth in it"),
        (tmp_path / "net.onnx", "out.onnx", "is an export; give the .pth"),
    ]:
        with pytest.raises((UsageError, CheckpointError), match=said):
            export(given, tmp_path / out, force=True)
    assert not written


def test_the_sidecar_of_a_checkpoint_is_never_replaced(path, written):
    before = path.with_suffix(".json").read_text()
    for force in (False, True):
        with pytest.raises(UsageError, match="choose another name"):
            export(path, path.with_suffix(".onnx"), force=force)
    assert path.with_suffix(".json").read_text() == before
    assert not written


@pytest.mark.parametrize(
    ("largest", "same_class"), [(0.002, 1.0), (1e-6, 0.9), (float("nan"), 1.0)]
)
def test_an_export_that_differs_is_refused_by_name_and_leaves_nothing(
    path, tmp_path, written, monkeypatch, largest, same_class
):
    agree(monkeypatch, largest, same_class)
    rewrite(path, method="nearly")
    out = tmp_path / "out" / "net.onnx"
    with pytest.raises(UsageError, match=r"nearly cannot be .* differ by up to"):
        export(path, out)
    assert written
    assert list(out.parent.iterdir()) == []


def test_a_network_that_no_exporter_can_write_is_refused_by_name(
    path, tmp_path, monkeypatch
):
    def refuse(*_):
        raise TypeError("no such operation\nand much more")

    need_exports()
    monkeypatch.setattr(module, "write_onnx", refuse)
    rewrite(path, method="odd")
    with pytest.raises(UsageError, match=r"odd cannot .* \(no such operation\)"):
        export(path, tmp_path / "out" / "net.onnx")


def test_what_is_not_installed_is_named(path, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: name != "onnxruntime")
    with pytest.raises(UsageError, match="pip install onnxruntime"):
        export(path, tmp_path / "out" / "net.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_exported_or_refused_by_name(method, tmp_path, capfd):
    need_exports()
    path, out = tmp_path / "net.pth", tmp_path / "out" / "net.onnx"
    write_tiny(path, CONFIGS / f"{method}.py")
    rewrite(path, method=method)
    capfd.readouterr()
    if method in NOT_EXPORTED:
        with pytest.raises(UsageError, match=f"^{method} cannot be exported") as error:
            export(path, out)
        assert len(str(error.value)) < 400
        assert not list(out.parent.iterdir())
        assert "Torch IR" not in capfd.readouterr().out
    else:
        assert export(path, out).holds
        assert torch.__version__ == read_model(out).sidecar["export"]["torch"]


def test_the_class_network_of_a_checkpoint_is_exported_too(path, tmp_path):
    need_exports()
    names = tmp_path / "names.pth"
    (tmp_path / "classes").mkdir()
    write_tiny(names, class_config(tmp_path / "classes"))
    rewrite(names, scale=dict(px_per_um=None, rbc_px=35.0, cell_px=128))
    rewrite(path, classifier="names.pth", scale=dict(rbc_px=50.0, cell_px=32))
    out = tmp_path / "out" / "net.onnx"
    export(path, out)
    written = sorted(file.name for file in out.parent.iterdir())
    assert written == ["net-classes.json", "net-classes.onnx", "net.json", "net.onnx"]
    image = np.full((64, 64, 3), 200, np.uint8)
    image[20:44, 20:44] = (90, 40, 120)
    cell = Predictor(path, classifier="", scale=1.0).predict(image)
    found = [
        CellClassifier(file).probabilities([image[:64, :64]])
        for file in (names, out.with_name("net-classes.onnx"))
    ]
    np.testing.assert_allclose(*found, atol=1e-4)
    assert Predictor(out, scale=1.0).classifier is not None
    assert cell.names_other is False


def class_config(folder):
    """Write the config of a class network from random weights."""
    file = folder / "names.py"
    random = "model = dict(backbone=dict(init_cfg=None))"
    file.write_text(f"_base_ = [{str(CLASS_NETWORK)!r}]\n{random}\n")
    return file
