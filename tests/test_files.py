"""Files and folders are replaced in one move, hashed, locked, and shown safely."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import leuko_mm
from leuko_mm.files import (
    CHUNK,
    fitting_name,
    locked,
    real_path,
    replace_folder,
    replacing_folder,
    restore_folder,
    sha256_of,
    sha256_of_file,
    write_table,
    write_text,
)


@pytest.fixture
def folders(tmp_path):
    """An old folder and a new one beside it."""
    for name in ("data", ".data-x1234_78"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    return tmp_path / "data", tmp_path / ".data-x1234_78"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_folder_stands_in_place_of_the_old_one(folders):
    old, new = folders
    replace_folder(old, new)
    assert (old / "who").read_text() == ".data-x1234_78"
    assert names(old.parent) == ["data"]
    assert old.stat().st_mode & 0o777 == 0o755


def test_a_failed_move_puts_the_old_one_back(folders, monkeypatch):
    old, new = folders
    move = os.replace

    def fails(source, target):
        if source == new:
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(old, new)
    assert (old / "who").read_text() == "data"


def test_a_filled_folder_takes_the_place_of_the_old_one_or_leaves_it(tmp_path):
    place = tmp_path / "deep" / "out"
    with replacing_folder(place) as building:
        (building / "who").write_text("first")

    def fail():
        with replacing_folder(place) as building:
            (building / "who").write_text("second")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert (place / "who").read_text() == "first"
    assert names(place.parent) == ["out"]


def test_what_a_kill_between_two_moves_set_aside_is_put_back(folders):
    old, _ = folders
    os.replace(old, old.with_name(".data-x1234_78-old"))
    (old.parent / ".data-z-x1234_78-old").mkdir()
    restore_folder(old)
    assert (old / "who").read_text() == "data"
    assert names(old.parent) == [".data-x1234_78", ".data-z-x1234_78-old", "data"]
    os.replace(old.parent / ".data-x1234_78", old.with_name(".data-x1234_78-old"))
    restore_folder(old)
    assert (old / "who").read_text() == "data"


def test_a_table_is_replaced_whole_or_not_at_all(tmp_path):
    def broken():
        yield ("a", "test")
        raise RuntimeError

    path = tmp_path / "fold1.csv"
    write_table(path, ("stem", "part"), [("a", "train"), ("b,c", "test")])
    assert path.read_text() == 'stem,part\na,train\n"b,c",test\n'
    with pytest.raises(RuntimeError):
        write_table(path, ("stem", "part"), broken())
    assert "train" in path.read_text()
    assert names(tmp_path) == ["fold1.csv"]


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    (tmp_path / ".a.json.part").write_text("of a killed process")
    write_text(path, "müde")
    assert path.read_bytes() == "müde".encode()

    def refused(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_bytes() == "müde".encode()
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK + 3])
def test_a_file_is_hashed_piece_by_piece(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    expected = hashlib.sha256(content[:size]).hexdigest()
    assert sha256_of_file(tmp_path / "a") == sha256_of(content[:size]) == expected


def test_a_folder_is_locked_without_a_file(tmp_path):
    pytest.importorskip("fcntl")
    with locked(tmp_path) as mine, locked(tmp_path) as again:
        assert (mine, again) == (True, False)
    assert names(tmp_path) == []


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "locks" / "run"
    with locked(path) as mine, locked(path) as again:
        assert (mine, again) == (True, False)
    with locked(path) as mine:
        assert mine
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    with locked(path) as mine:
        assert not mine
    process.kill()
    process.wait()
    with locked(path) as mine:
        assert mine


def test_a_loop_of_links_is_no_bug(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "link" / ".." / "x") == tmp_path.resolve().parent / "x"
    assert real_path(tmp_path / "loop").name == "loop"
    root = Path(leuko_mm.__file__).parent
    resolving = [
        f"{file.relative_to(root)}: {line.strip()}"
        for file in root.rglob("*.py")
        for line in file.read_text().splitlines()
        if ".resolve()" in line and "__file__" not in line
    ]
    assert not resolving, "which raises a RuntimeError of a loop"


@pytest.mark.parametrize("letter", ["a", "é", "\udcff"])
def test_a_name_as_long_as_may_be_is_written(tmp_path, letter):
    longest = letter * (250 // len(os.fsencode(letter))) + ".json"
    write_text(tmp_path / longest, "content")
    assert names(tmp_path) == [longest]
    cut = [fitting_name(f"{letter * 250}{end}", ".geojson") for end in "ab"]
    assert cut[0] != cut[1]
    assert {len(os.fsencode(name)) > 250 for name in cut} <= {True, letter == "é"}
    for name in cut:
        (tmp_path / name).write_bytes(b"")
    assert fitting_name("short", ".geojson") == "short.geojson"
