"""A checkpoint and its sidecar appear whole, and belong together."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from torch import nn

from leuko_mm.engine import checkpoint_files
from leuko_mm.engine.checkpoint_files import write_checkpoint, write_text
from leuko_mm.engine.safe_load import load_tensors

SIDECAR = dict(method="toy", classes=["background", "leukocyte"])


@pytest.fixture
def model() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    return layers.to(memory_format=torch.channels_last)


def test_the_sidecar_names_the_digest_of_the_file(tmp_path, model):
    returned = write_checkpoint(tmp_path / "net.pth", model, SIDECAR)
    written = json.loads((tmp_path / "net.json").read_text())
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    assert written == returned == {"schema": 1, **SIDECAR, "sha256": digest}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "net.pth"]


def test_the_tensors_come_back_contiguous(tmp_path, model):
    write_checkpoint(tmp_path / "net.pth", model, SIDECAR)
    tensors = load_tensors(tmp_path / "net.pth")
    assert list(tensors) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].is_contiguous()
    assert not model[0].weight.is_contiguous()


def test_the_prefix_of_a_wrapper_is_left_out(tmp_path, model):
    write_checkpoint(tmp_path / "net.pth", nn.DataParallel(model), SIDECAR)
    assert list(load_tensors(tmp_path / "net.pth")) == list(model.state_dict())


def test_a_failure_leaves_the_former_files(tmp_path, model, monkeypatch):
    write_checkpoint(tmp_path / "net.pth", model, SIDECAR)
    former = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def full_disk(tensors, file):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint_files.torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(tmp_path / "net.pth", model, SIDECAR)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == former


def test_a_sidecar_that_is_no_json_raises_and_writes_nothing(tmp_path, model):
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path / "net.pth", model, dict(method=object()))
    assert list(tmp_path.iterdir()) == []


def test_a_text_replaces_the_former_one(tmp_path):
    path = tmp_path / "table.md"
    write_text(path, "old")
    write_text(path, "Zellgröße")
    assert path.read_text(encoding="utf-8") == "Zellgröße"
    assert list(tmp_path.iterdir()) == [path]
