"""Fetching from a server of this machine, and what cannot be fetched.

A checkpoint that is not what its sidecar says is refused, with the reason.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from tiny_checkpoint import METRICS, rewrite, write_tiny

from leuko_mm.cli.main import exit_code_of
from leuko_mm.errors import UsageError
from leuko_mm.zoo import zoo
from leuko_mm.zoo.entries import NotPublishedError, ZooEntry, checkpoint_of
from leuko_mm.zoo.zoo import (
    SaidAndFound,
    compare_figures,
    describe,
    fetch,
    measure,
    test_config,
    verify,
    zoo_rows,
)


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


@pytest.fixture
def path(tmp_path, tiny_config):
    write_tiny(tmp_path / "a.pth", tiny_config)
    return tmp_path / "a.pth"


def resave(path, tensors):
    torch.save(tensors, path)
    rewrite(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_good_one_passes(path):
    assert verify(path)["method"] == "quickstart"


def test_a_changed_byte_is_refused(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.pth is not the file that a\.json"):
        verify(path)


def test_without_a_sidecar_nothing_is_known(path):
    path.with_suffix(".json").unlink()
    with pytest.raises(UsageError, match=r"no sidecar a\.json"):
        verify(path)


def test_a_wrong_class_list_is_refused(path):
    rewrite(path, classes=["background", "neutrophil", "monocyte"])
    with pytest.raises(UsageError, match=r"has the classes .*neutrophil.*expected"):
        verify(path)


def test_classes_that_the_network_has_not_are_refused(path):
    two = ["background", "leukocyte"]
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    rewrite(path, classes=two, config={**config, "classes": two})
    with pytest.raises(UsageError, match="2 classes, but a network of 6"):
        verify(path)


@pytest.mark.parametrize("change", ["wider", "no such part"])
def test_a_config_that_does_not_fit_is_refused(path, change):
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    wrong = copy.deepcopy(config)
    if change == "wider":
        wrong["model"]["decode_head"]["channels"] = [32, 16, 16, 16]
        said = "does not fit the network of its sidecar.*tensors, first"
    else:
        wrong["model"]["neck"]["type"] = "leuko_mm.CBAMSkipNek"
        said = r"cannot be built.*CBAMSkipNeck"
    rewrite(path, config=wrong)
    with pytest.raises(ValueError, match=said):
        verify(path)


def test_tensors_without_a_place_and_numbers_that_are_none_are_refused(path):
    tensors = torch.load(path, weights_only=True)
    resave(path, {**tensors, "more": torch.zeros(1)})
    with pytest.raises(UsageError, match="more has no place"):
        verify(path)
    first = next(iter(tensors))
    resave(path, {**tensors, first: tensors[first] * float("nan")})
    with pytest.raises(UsageError, match="numbers that are none"):
        verify(path)


def test_a_missing_key_and_another_schema_are_refused(path):
    rewrite(path, schema=99)
    with pytest.raises(UsageError, match="schema 99"):
        verify(path)


def test_figures_agree_within_a_tolerance():
    assert SaidAndFound("a", 80.0, 80.2).agrees
    assert not SaidAndFound("a", 80.0, 79.0).agrees
    assert SaidAndFound("a", None, None).agrees
    assert not SaidAndFound("a", None, 1.0).agrees
    said, found = dict(metrics=METRICS), dict(metrics=dict(METRICS, mIoU=70.0))
    differ = [f.name for f in compare_figures(said, found) if not f.agrees]
    assert differ == ["mIoU"]


def test_it_is_tested_at_its_own_scale_on_cells_that_it_left_out(path):
    config = test_config(verify(path))
    dataset = config.test_dataloader.dataset
    assert (dataset.size, dataset.n, dataset.mode) == (64, 2, "every")
    assert dataset.dataset == dict(name="synthetic", split="fold5", part="test")


@pytest.mark.slow
def test_a_checkpoint_is_measured(path, tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = measure(path, verify(path), work_dir=tmp_path / "test")
    assert results["metrics"]["mIoU"] is not None
    assert results["run"]["protocol"] == "zoo"
    told = json.loads((tmp_path / "test" / "calibration.json").read_text())
    assert told["cells"]["error"] is not None
