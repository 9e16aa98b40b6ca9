"""A checkpoint that is not what its sidecar says is refused, with the reason."""

import copy
import hashlib
import json

import pytest
import torch
from tiny_checkpoint import METRICS, rewrite, write_tiny

from leuko_mm.errors import UsageError
from leuko_mm.workflows.zoo_verify import (
    SaidAndFound,
    compare_figures,
    measure,
    test_config,
    verify,
)


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
