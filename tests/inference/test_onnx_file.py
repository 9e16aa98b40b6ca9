"""What stands in an exported file."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from exported_network import need_exports, write_uneven
from torch import nn

from leuko_mm.inference.checkpoint import read_checkpoint
from leuko_mm.inference.onnx_file import OPSET, write_onnx


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
    told = json.loads(graph.graph.input[0].doc_string)
    assert (told["channels"], told["multiple_of"]) == ("RGB", 32)
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
