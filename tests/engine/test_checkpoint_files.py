"""A checkpoint and its sidecar appear whole, and belong together."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from leuko_mm.engine import checkpoint_files
from leuko_mm.engine.checkpoint_files import (
    newest_state,
    save_states_whole,
    write_checkpoint,
)
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.files import write_text

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


def write_state(folder, name: str, *, damaged: bool = False) -> None:
    torch.save(dict(meta={}, state_dict=dict(a=torch.zeros(100))), folder / name)
    if damaged:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


def test_the_newest_state_is_found_by_its_number(tmp_path):
    assert newest_state(tmp_path) is None
    for name in ("iter_100.pth", "iter_20.pth", "best_iter_900.pth", "iter_x.pth"):
        write_state(tmp_path, name)
    assert newest_state(tmp_path) == tmp_path / "iter_100.pth"


def test_a_damaged_newest_state_is_passed_over(tmp_path, caplog):
    write_state(tmp_path, "iter_20.pth")
    write_state(tmp_path, "iter_30.pth", damaged=True)
    (tmp_path / "iter_40.pth").write_bytes(b"")
    with caplog.at_level("WARNING", "leuko_mm"):
        assert newest_state(tmp_path) == tmp_path / "iter_20.pth"
    for name, record in zip(("iter_40", "iter_30"), caplog.records, strict=True):
        assert name in record.getMessage()
        assert "going on from the state before it" in record.getMessage()
    (tmp_path / "iter_20.pth").unlink()
    assert newest_state(tmp_path) is None


def test_the_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noting(*args, name=name, real=real):
            order.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, noting)
    write_text(tmp_path / "a.json", "{}")
    assert order == ["fsync", "replace"]


class Saver:
    """Stands for mmengine's runner, whose writing is cut short on request."""

    def __init__(self, work_dir):
        self.work_dir, self.cut_short = str(work_dir), False

    def save_checkpoint(self, out_dir, filename, meta=None):
        """Write half a file, and on request no more."""
        path = Path(out_dir) / filename
        path.write_text("half")
        if self.cut_short:
            raise OSError("no space left")
        path.write_text(f"whole {meta}")


def test_a_state_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / ".iter_1.pth.part").write_text("of a killed process")
    saver = Saver(tmp_path)
    save_states_whole(saver)
    assert list(tmp_path.iterdir()) == []
    saver.save_checkpoint(str(tmp_path), "iter_1.pth", meta=1)
    saver.cut_short = True
    for name in ("iter_1.pth", "iter_2.pth"):
        with pytest.raises(OSError, match="no space"):
            saver.save_checkpoint(str(tmp_path), name, meta=2)
    assert [p.name for p in tmp_path.iterdir()] == ["iter_1.pth"]
    assert (tmp_path / "iter_1.pth").read_text() == "whole 1"
