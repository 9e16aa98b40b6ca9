"""A file arrives whole and right, or not at all; a broken connection is resumed."""

from __future__ import annotations

import hashlib
import threading
import urllib.request

import pytest

from leuko_mm import files
from leuko_mm.engine import download as module
from leuko_mm.engine.download import download

BODY = bytes(range(256)) * 40
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def url(web):
    web.files["/file.pth"] = BODY
    return f"{web.address}/file.pth"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "file.pth"


@pytest.fixture
def part(tmp_path):
    return tmp_path / ".file.pth.part"


def test_the_file_arrives_in_a_new_folder(url, tmp_path):
    target = tmp_path / "new" / "file.pth"
    assert download(url, target, sha256=DIGEST[:8]) == target
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "404"),
        ("ended early", "ended after|IncompleteRead"),
        ("another file", "expected 00000000"),
        ("no server", "refused"),
    ],
)
def test_a_failure_raises_and_leaves_nothing(web, url, target, fault, message):
    if fault == "missing":
        web.files.clear()
    if fault == "ended early":
        web.broken.add("/file.pth")
    if fault == "no server":
        url = "http://127.0.0.1:9/file.pth"
    digest = "00000000" if fault == "another file" else ""
    with pytest.raises(OSError, match=message):
        download(url, target, sha256=digest)
    assert list(target.parent.iterdir()) == []


@pytest.mark.skipif(files.fcntl is None, reason="this system has no flock")
def test_of_several_one_fetches_and_the_others_wait(web, url, target, monkeypatch):
    started = threading.Barrier(3)
    slow = threading.Event()

    def open_slowly(url, timeout):
        slow.wait(0.2)
        return urllib.request.urlopen(url, timeout=timeout)

    monkeypatch.setattr(module, "urlopen", open_slowly)
    results = []

    def fetch():
        started.wait()
        results.append(download(url, target).read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [BODY] * 3
    assert web.asked == ["/file.pth"]


@pytest.mark.parametrize("ranges", [True, False])
def test_the_rest_is_fetched_and_the_whole_is_right(web, url, target, part, ranges):
    web.ranges = ranges
    web.broken.add("/file.pth")
    with pytest.raises(OSError, match="ended"):
        download(url, target, sha256=DIGEST, resume=True)
    assert not target.exists()
    begun = part.stat().st_size
    assert 0 < begun < len(BODY)
    web.broken.clear()
    download(url, target, sha256=DIGEST, resume=True)
    assert target.read_bytes() == BODY
    assert not part.exists()
    assert web.asked_ranges == [None, f"bytes={begun}-"]


def test_the_start_of_another_file_is_detected_and_removed(url, target, part):
    part.write_bytes(b"another file")
    with pytest.raises(OSError, match="damaged or another"):
        download(url, target, sha256=DIGEST, resume=True)
    assert list(target.parent.iterdir()) == []
    download(url, target, sha256=DIGEST, resume=True)
    assert target.read_bytes() == BODY
