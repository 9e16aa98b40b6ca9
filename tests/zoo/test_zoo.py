"""Models are fetched from a server, and refused where they do not fit their sidecar."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from tiny_checkpoint import METRICS, rewrite, write_tiny

from leuko_mm.cli.main import exit_code_of
from leuko_mm.errors import UsageError
from leuko_mm.inference.model import CheckpointError
from leuko_mm.zoo import entries, zoo
from leuko_mm.zoo.entries import ZooEntry, checkpoint_of
from leuko_mm.zoo.zoo import (
    MetricPair,
    compare_metrics,
    fetch,
    measure,
    measuring_config,
    verify,
    zoo_rows,
)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

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
    for module in (entries, zoo):
        monkeypatch.setattr(module, "read_entries", lambda: [entry])
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


def test_a_fetch_by_force_that_fails_leaves_the_old_file(published):
    path = fetch("tiny")
    before = path.read_bytes()
    (published[1] / "tiny.pth").write_bytes(b"something else")
    with pytest.raises(zoo.FetchError):
        fetch("tiny", force=True)
    assert path.read_bytes() == before
    assert {p.name for p in path.parent.iterdir()} == {"tiny.pth", "tiny.json"}


def test_a_file_of_the_repository_is_found_beside_the_package(
    published, tmp_path, monkeypatch
):
    entry = replace(published[0], weights="www/tiny.pth")
    for module in (entries, zoo):
        monkeypatch.setattr(module, "read_entries", lambda: [entry])
    monkeypatch.setattr(entries, "config_home", lambda: tmp_path / "configs")
    path = fetch("tiny")
    assert path == published[1] / "tiny.pth" == checkpoint_of("tiny")
    assert zoo_rows()[0][-1] == "in the repository"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UsageError, match="git checkout www/tiny"):
        fetch("tiny")
    path.unlink()
    with pytest.raises(entries.NotPublishedError, match="from a clone into") as raised:
        fetch("tiny")
    assert exit_code_of(raised.value) == 3


def test_what_is_not_here_yet_names_the_command(published):
    with pytest.raises(UsageError, match="leuko zoo fetch tiny"):
        checkpoint_of("tiny")
    assert zoo_rows()[0][-1] == "to fetch"


@pytest.fixture
def path(tmp_path, tiny_config):
    write_tiny(tmp_path / "a.pth", tiny_config)
    return tmp_path / "a.pth"


def resave(path, tensors):
    torch.save(tensors, path)
    rewrite(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_sidecar_without_a_licence_is_refused(path):
    sidecar = json.loads(path.with_suffix(".json").read_text())
    del sidecar["licence"]
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(UsageError, match=r"a\.json lacks licence"):
        verify(path)


def test_classes_of_nobody_are_refused(path):
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    names = ["background", "one", "two", "three", "four", "five"]
    rewrite(path, classes=names, config={**config, "classes": names})
    with pytest.raises(UsageError, match=r"has the classes .*'one'.*; expected"):
        verify(path)


@pytest.mark.parametrize("change", ["wider", "no such part"])
def test_a_config_that_does_not_fit_is_refused(path, change):
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    if change == "wider":
        config["model"]["decode_head"]["channels"] = [32, 16, 16, 16]
        message = "does not fit the config in its sidecar.*size mismatch"
    else:
        config["model"]["neck"]["type"] = "leuko_mm.CBAMSkipNek"
        message = r"cannot be built.*CBAMSkipNeck"
    rewrite(path, config=config)
    with pytest.raises(CheckpointError, match=message):
        verify(path)


def test_more_tensors_and_values_that_are_not_finite_are_refused(path):
    tensors = torch.load(path, weights_only=True)
    resave(path, {**tensors, "more": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r'Unexpected key.*"more"'):
        verify(path)
    first = next(iter(tensors))
    resave(path, {**tensors, first: tensors[first] * float("nan")})
    with pytest.raises(UsageError, match=f"not finite, in {first}"):
        verify(path)


def test_metrics_agree_within_a_tolerance():
    assert MetricPair("a", 80.0, 80.2).agrees
    assert not MetricPair("a", 80.0, 79.0).agrees
    assert MetricPair("a", None, None).agrees
    assert not MetricPair("a", None, 1.0).agrees
    sidecar, results = dict(metrics=METRICS), dict(metrics=dict(METRICS, mIoU=70.0))
    differ = [f.name for f in compare_metrics(sidecar, results) if not f.agrees]
    assert differ == ["mIoU"]


def test_it_is_tested_at_its_own_scale_on_cells_that_it_left_out(path):
    config = measuring_config(verify(path))
    dataset = config.test_dataloader.dataset
    assert (dataset.size, dataset.n, dataset.mode) == (64, 2, "every")
    assert dataset.dataset == dict(name="synthetic", split="fold5", part="test")


@pytest.mark.slow
def test_a_checkpoint_is_measured(path, tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = measure(path, verify(path), work_dir=tmp_path / "test")
    assert results["metrics"]["mIoU"] is not None
    assert results["run"]["protocol"] == "zoo"
    calibration = json.loads((tmp_path / "test" / "calibration.json").read_text())
    assert calibration["cells"]["error"] is not None
