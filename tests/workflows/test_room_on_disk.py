"""Full disks and folders that cannot be written to, found early, survived late."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from torch import nn

from leuko_mm.cli.main import main
from leuko_mm.engine.checkpoint_files import write_checkpoint
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.files import write_text
from leuko_mm.workflows import room_on_disk
from leuko_mm.workflows.room_on_disk import check_room, check_writable

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def mounted(tmp_path):
    """Return a function that mounts a small disk of its own, or skips the test."""
    places = []

    def mount(options: str):
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("needs root on Linux, to mount a small disk")
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_found_before_training(tmp_path, monkeypatch):
    model = nn.Linear(1000, 1000)  # 4 MB, 36 MB in three states
    free = Usage(1, 1, 50_000_000)
    monkeypatch.setattr(room_on_disk.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UsageError, match=r"has 50 MB left.*up to 56 MB"):
        check_room(tmp_path / "not" / "there", model)
    free = Usage(1, 1, 60_000_000)
    check_room(tmp_path / "not" / "there", model)
    with pytest.raises(UsageError, match="up to 68 MB"):
        check_room(tmp_path / "not" / "there", model, averaged=True)


def test_the_states_of_a_run_that_goes_on_make_room(tmp_path, monkeypatch):
    """They are replaced one by one; else a disk that sufficed would be refused."""
    model = nn.Linear(1000, 1000)
    free = Usage(1, 1, 50_000_000)
    monkeypatch.setattr(room_on_disk.shutil, "disk_usage", lambda _: free)
    for name in ("iter_1.pth", "net.pth"):
        (tmp_path / name).write_bytes(b"\0" * 5_000_000)
    with pytest.raises(UsageError, match="has 55 MB left"):
        check_room(tmp_path, model)
    (tmp_path / "iter_2.pth").write_bytes(b"\0" * 5_000_000)
    check_room(tmp_path, model)


def test_a_real_small_disk_is_found_full(mounted):
    with pytest.raises(UsageError, match="has 2 MB left"):
        check_room(mounted("size=2m") / "run", nn.Linear(1000, 1000))


def test_a_disk_that_fills_later_keeps_what_was_there(mounted):
    disk = mounted("size=2m")
    small = nn.Linear(100, 100)
    write_checkpoint(disk / "net.pth", small, dict(method="toy"))
    former = {path: path.read_bytes() for path in disk.iterdir()}
    with pytest.raises((OSError, RuntimeError)):
        write_checkpoint(disk / "net.pth", nn.Linear(1000, 1000), dict(method="toy"))
    with pytest.raises(OSError, match="No space"):
        write_text(disk / "net.json", "x" * 3_000_000)
    assert {path: path.read_bytes() for path in disk.iterdir()} == former
    assert torch.equal(load_tensors(disk / "net.pth")["weight"], small.weight)


def test_a_read_only_disk_is_refused(mounted, tiny_config, tiny_data, capfd):
    place = mounted("size=1m,ro")
    with pytest.raises(UsageError, match="cannot be written to"):
        check_writable(place / "run")
    assert main(["train", str(tiny_config), "--work-dir", str(place / "run")]) == 2
    said = capfd.readouterr().err
    assert "cannot be written to" in said
    assert "Traceback" not in said


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    check_writable(tmp_path / "run")
    monkeypatch.setattr(room_on_disk.os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="--work-dir"):
        check_writable(tmp_path / "run")


def test_a_file_above_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is a file"):
        check_writable(tmp_path / "file" / "run")
    assert shutil.disk_usage(tmp_path).free > 0
