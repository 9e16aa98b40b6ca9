"""The cache on disk: gives back what was put in, or nothing; and never fails a run."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from leuko_mm.datasets import preprocessing_cache
from leuko_mm.datasets.preprocessing_cache import (
    DEFAULT_LIMIT,
    PreprocessingCache,
    cache_setting,
    decode,
    encode,
    read_setting,
)

fork = multiprocessing.get_context("fork")


def key(number: int) -> str:
    return f"{number:040x}"


def arrays(number: int, side: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    return image, rng.integers(0, 6, (side, side + 3), dtype=np.uint8)


def same(one, other) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.fixture
def cache(tmp_path) -> PreprocessingCache:
    return PreprocessingCache(tmp_path / "cache")


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """Return the list that warnings go to."""
    messages = []
    monkeypatch.setattr(preprocessing_cache, "_TOLD", set())
    monkeypatch.setattr(
        preprocessing_cache, "print_log", lambda text, **_: messages.append(text)
    )
    return messages


@pytest.mark.parametrize(
    ("text", "folder", "limit"),
    [
        ("", "~/.cache/leuko_mm", DEFAULT_LIMIT),
        ("500M", "~/.cache/leuko_mm", 500 * 2**20),
        ("/srv/cache", "/srv/cache", DEFAULT_LIMIT),
        ("~/mine,2GiB", "~/mine", 2**31),
        ("a,b", "a,b", DEFAULT_LIMIT),
    ],
)
def test_one_variable_names_folder_and_limit(text, folder, limit, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert read_setting(text) == (Path(folder).expanduser(), limit)


def test_it_can_be_off_and_stands_where_caches_stand(monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKO_MM_CACHE", "OFF")
    assert cache_setting() is None
    assert PreprocessingCache.of_environment() is None
    monkeypatch.delenv("LEUKO_MM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_setting()[0] == tmp_path / "leuko_mm"


def test_what_was_written_is_read(cache):
    assert cache.read(key(1)) is None
    for number, kind in ((1, np.uint8), (2, np.float32)):
        image, labels = arrays(number)
        cache.write(key(number), image.astype(kind)[:, ::-1], labels)
        assert same(cache.read(key(number)), (image.astype(kind)[:, ::-1], labels))
    assert len(cache.entries()) == 2


def test_every_damage_is_noticed():
    content = encode(*arrays(1, side=3))
    assert same(decode(content), arrays(1, side=3))
    for place in range(len(content)):
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        with pytest.raises(ValueError, match="written"):
            decode(bytes(spoilt))
    for length in (*range(len(content)), len(content) + 1):
        with pytest.raises(ValueError, match=r"written|not found"):
            decode((content + b"\0")[:length])
    with pytest.raises(ValueError, match="written"):
        decode(bytes(len(content)))


def test_a_damaged_entry_is_made_anew(cache):
    cache.write(key(1), *arrays(1))
    (path, about), *_ = cache.entries()
    with open(path, "r+b") as file:
        file.truncate(about.st_size // 2)
    assert cache.read(key(1)) is None
    cache.write(key(1), *arrays(1))
    assert same(cache.read(key(1)), arrays(1))


def test_the_longest_unused_go_first(tmp_path):
    size = len(encode(*arrays(0)))
    cache = PreprocessingCache(tmp_path, limit=10 * size)
    for number in range(10):
        cache.write(key(number), *arrays(number))
        os.utime(tmp_path / f"{key(number)}.cell", (number, number))
    assert cache.read(key(0)) is not None  # used now, so it stays
    for number in range(10, 14):
        cache.write(key(number), *arrays(number))
        assert cache.size() <= cache.limit
    kept = {number for number in range(14) if cache.read(key(number)) is not None}
    assert kept >= {0, 10, 11, 12, 13}
    assert not kept & {1, 2, 3, 4}


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path):
    cache = PreprocessingCache(tmp_path, limit=100)
    cache.write(key(1), *arrays(1))
    assert list(tmp_path.iterdir()) == []


def test_clearing_touches_nothing_else(cache):
    cache.write(key(1), *arrays(1))
    others = [cache.folder / name for name in (".profile", "notes.cell", "a.txt")]
    for path in others:
        path.touch()
    half = cache.folder / f".{key(2)}-12-345"
    half.touch()
    assert cache.clear() == (1, len(encode(*arrays(1))))
    assert sorted(cache.folder.iterdir()) == sorted(others)
    assert cache.clear() == (0, 0)


def write_often(cache: PreprocessingCache, number: int) -> None:
    for _ in range(30):
        cache.write(key(7), *arrays(7, side=200))
        cache.write(key(100 + number), *arrays(number))


def write_half(cache: PreprocessingCache) -> None:
    class HalfFile(io.FileIO):
        """Take half of what is written, and then no more."""

        def write(self, content):
            super().write(content[: len(content) // 2])
            time.sleep(60)

    preprocessing_cache.open = HalfFile
    cache.write(key(7), *arrays(7, side=200))


def test_processes_write_the_same_entry_while_one_is_killed(cache):
    writers = [fork.Process(target=write_often, args=(cache, n)) for n in range(3)]
    killed = fork.Process(target=write_half, args=(cache,))
    for process in (killed, *writers):
        process.start()
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size for p in cache.folder.glob(f".*-{killed.pid}-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    while any(writer.is_alive() for writer in writers):
        found = cache.read(key(7))
        assert found is None or same(found, arrays(7, side=200))
    for process in (killed, *writers):
        process.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert same(cache.read(key(7)), arrays(7, side=200))
    assert all(same(cache.read(key(100 + n)), arrays(n)) for n in range(3))
    # What the killed one left goes when it is old enough to be surely abandoned.
    (left,) = cache.folder.glob(".*")
    cache.trim()
    assert left.exists()
    os.utime(left, (0, 0))
    cache.trim()
    assert not left.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails_ends_the_cache_with_one_warning(
    cache, told, monkeypatch, code
):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    cache.write(key(1), *arrays(1))
    monkeypatch.setattr(preprocessing_cache.os, "replace", refuse)
    for number in range(2, 5):
        cache.write(key(number), *arrays(number))
    (message,) = told
    assert str(cache.folder) in message
    assert os.strerror(code) in message
    assert "LEUKO_MM_CACHE" in message
    assert [path.name for path in cache.folder.iterdir()] == [f"{key(1)}.cell"]
    assert same(cache.read(key(1)), arrays(1))


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path, told, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEUKO_MM_CACHE", str(tmp_path / "file" / "cache"))
    assert PreprocessingCache.of_environment() is None
    assert PreprocessingCache.of_environment() is None
    assert len(told) == 1


def test_a_folder_that_works_is_left_empty(tmp_path, told, monkeypatch):
    monkeypatch.setenv("LEUKO_MM_CACHE", f"{tmp_path / 'a' / 'b'},3M")
    cache = PreprocessingCache.of_environment()
    assert (cache.folder, cache.limit) == (tmp_path / "a" / "b", 3 * 2**20)
    assert list(cache.folder.iterdir()) == []
    assert told == []
