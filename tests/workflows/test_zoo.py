"""Fetching from a server of this machine, and what cannot be fetched."""

import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny_checkpoint import write_tiny

from leuko_mm.cli.main import exit_code_of
from leuko_mm.errors import UsageError
from leuko_mm.workflows import zoo
from leuko_mm.workflows.zoo import checkpoint_of, describe, fetch, zoo_rows
from leuko_mm.workflows.zoo_entries import NotPublishedError, ZooEntry
from leuko_mm.workflows.zoo_verify import verify


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_):
        pass


@pytest.fixture
def published(tmp_path, tiny_config, monkeypatch):
    """Return the entry of a checkpoint that a server of this machine offers."""
    folder = tmp_path / "www"
    folder.mkdir()
    sidecar = write_tiny(folder / "tiny.pth", tiny_config)
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    entry = ZooEntry(
        "tiny",
        "configs/tiny.py",
        1.0,
        2.0,
        weights=f"http://127.0.0.1:{server.server_port}/tiny.pth",
        sha256=sidecar["sha256"],
    )
    monkeypatch.setattr(zoo, "find_entry", lambda name: entry)
    monkeypatch.setattr(zoo, "read_entries", lambda: [entry])
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    yield entry, folder
    server.shutdown()
    server.server_close()


def test_what_is_fetched_is_whole_and_verifies(published):
    path = fetch("tiny")
    assert path == zoo.fetched_folder() / "tiny.pth"
    assert verify(path)["sha256"] == published[0].sha256
    assert checkpoint_of("tiny") == path
    assert zoo_rows()[0][-1] == "fetched"
    left = {p.name for p in path.parent.iterdir()}
    assert left == {"tiny.pth", "tiny.json"}


def test_another_file_at_the_address_is_not_taken(published):
    _, folder = published
    (folder / "tiny.pth").write_bytes(b"something else")
    with pytest.raises(zoo.FetchError, match="damaged or another") as found:
        fetch("tiny")
    assert exit_code_of(found.value) == 3
    assert not (zoo.fetched_folder() / "tiny.pth").exists()


def test_a_file_that_has_changed_here_is_named_and_replaced_by_force(published):
    path = fetch("tiny")
    path.write_bytes(b"changed")
    with pytest.raises(UsageError, match="--force"):
        fetch("tiny")
    fetch("tiny", force=True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == published[0].sha256


def test_what_is_not_here_yet_names_the_command(published):
    with pytest.raises(UsageError, match="leuko zoo fetch tiny"):
        checkpoint_of("tiny")
    assert zoo_rows()[0][-1] == "to fetch"


def test_nothing_published_prints_the_training_command_and_ends_with_3():
    command = re.escape("leuko train segnet --protocol half --split fold5")
    with pytest.raises(NotPublishedError, match=command) as found:
        fetch("segnet")
    assert exit_code_of(found.value) == 3


def test_a_wrong_name_is_answered_by_the_nearest():
    with pytest.raises(UsageError, match=r"Did you mean .*cbam_unet"):
        fetch("cbam_unett")


def test_a_model_is_described():
    text = "\n".join(describe("cbam_unet"))
    assert "configs/cbam_unet.py" in text
    assert "ImageNet, vgg16" in text
    assert "leuko train cbam_unet" in text
