"""What an exported file contains, what is refused, and that nothing is half."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from exported_network import need_exports, write_uneven
from shipped_configs import CONFIGS, METHODS
from tiny_checkpoint import rewrite, write_tiny
from torch import nn

from leuko_mm.errors import UsageError
from leuko_mm.inference import export as module
from leuko_mm.inference.export import OPSET, Agreement, export, write_onnx
from leuko_mm.inference.model import read_checkpoint, read_model


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    need_exports()
    import onnx

    folder = tmp_path_factory.mktemp("graph")
    read = read_checkpoint(write_uneven(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_onnx(read.model, folder / "net.onnx", read.sidecar)
    return onnx.load(str(folder / "net.onnx"))


def test_batch_norms_are_folded(graph):
    kinds = {node.op_type for node in graph.graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds


def test_batch_and_size_are_free(graph):
    def sides(value):
        dims = value.type.tensor_type.shape.dim
        return [dim.dim_param or dim.dim_value for dim in dims]

    (image,), (logits,) = graph.graph.input, graph.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert sides(image) == ["batch", 3, "height", "width"]
    assert sides(logits)[0::2] == ["batch", "height"]
    versions = [entry.version for entry in graph.opset_import if not entry.domain]
    assert versions == [OPSET]


def test_input_and_output_are_described_in_the_file(graph):
    about = json.loads(graph.graph.input[0].doc_string)
    assert (about["channels"], about["multiple_of"]) == ("RGB", 32)
    assert "softmax" in json.loads(graph.graph.output[0].doc_string)["values"]
    props = {entry.key: json.loads(entry.value) for entry in graph.metadata_props}
    assert props["classes"][1] == "basophil"
    assert props["normalisation"]["mean"] == [123.675, 116.28, 103.53]


class UnwritableNetwork(nn.Module):
    """Does what no exporter can write."""

    def encode_decode(self, images, batch_img_metas):
        return torch.linalg.eigvals(images).abs()


def test_what_cannot_be_written_raises_without_a_flood(tmp_path, capfd):
    need_exports()
    with pytest.raises(Exception, match="eigvals"):
        write_onnx(UnwritableNetwork(), tmp_path / "a.onnx", {})
    out, err = capfd.readouterr()
    assert len(out + err) < 200


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


def test_the_sidecar_of_a_checkpoint_is_never_replaced(path, written):
    before = path.with_suffix(".json").read_text()
    for force in (False, True):
        with pytest.raises(UsageError, match="choose another name"):
            export(path, path.with_suffix(".onnx"), force=force)
    assert path.with_suffix(".json").read_text() == before
    assert not written


def test_another_ending_is_refused(path, tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export(path, tmp_path / "net.pt")


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
