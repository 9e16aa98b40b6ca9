"""A file arrives whole and right, or not at all."""

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
