"""What is published is bare, rounded, hashed, tested as it is, and has a card."""

import json

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_tiny
from tool_module import load_tool

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.calibration import summary
from leuko_mm.evaluation.confusion import scores
from leuko_mm.zoo.zoo import verify

module = load_tool("publish")
PublishRequest, publish = module.PublishRequest, module.publish
STEMS = ["basophil_1_a", "lymphocyte_1_b", "monocyte_2_c"]


def write_test(folder, dataset="synthetic"):
    """Write what a test leaves: the monocyte is taken for a lymphocyte."""
    folder.mkdir(parents=True, exist_ok=True)
    confusion = np.zeros((3, 6, 6), np.int64)
    confusion[:, 0, 0] = 900
    for row, (truth, found) in enumerate([(1, 1), (3, 3), (4, 3)]):
        confusion[row, truth, found] = 100
    groups = np.array(["basophil_1", "lymphocyte_1", "monocyte_2"])
    arrays = dict(stem=np.array(STEMS), group=groups, confusion=confusion)
    np.savez(folder / "cells.npz", **arrays)
    scored = scores(confusion.sum(axis=0), CLASS_NAMES)
    results = dict(
        run=dict(split="fold5"),
        data=dict(dataset=dataset),
        metrics=scored.metrics,
        per_class=scored.per_class,
        confusion=confusion.sum(axis=0).tolist(),
    )
    (folder / "results.json").write_text(json.dumps(results))
    told = summary(np.zeros((15, 3)), [(0.95, True), (0.9, True), (0.8, False)])
    (folder / "calibration.json").write_text(json.dumps(told))
    return results


@pytest.fixture
def trained(tmp_path, tiny_config, monkeypatch):
    def measured(path, sidecar, *, work_dir):
        assert path.is_file()
        return write_test(work_dir)

    monkeypatch.setattr(module, "measure", measured)
    write_tiny(tmp_path / "run.pth", tiny_config)
    return tmp_path / "run.pth"


def test_a_rounded_checkpoint_is_half_as_large_and_says_what_it_is(trained, tmp_path):
    path = publish(PublishRequest(trained, tmp_path / "zoo", name="tiny", float16=True))
    sidecar = verify(path)
    assert path.stat().st_size < 0.62 * trained.stat().st_size
    kinds = {t.dtype for t in torch.load(path, weights_only=True).values()}
    assert kinds == {torch.float16, torch.int64}
    assert sidecar["metrics"]["mIoU"] != 50.0
    assert sidecar["training"] == verify(trained)["training"]
    left = {p.name for p in path.parent.iterdir()}
    assert left == {"tiny.pth", "tiny.json", "tiny.md"}


def test_the_card_says_what_it_must(trained, tmp_path):
    other = tmp_path / "elsewhere"
    write_test(other, dataset="segmentation_wbc_2")
    request = PublishRequest(trained, tmp_path / "zoo", transfer=[other])
    card = publish(request).with_suffix(".md").read_text()
    for words in (
        "not for diagnosis",
        "95 % interval",
        "Expected calibration error",
        "Apache-2.0",
        "1 of 3 test cells get another class or none",
        "| monocyte_2_c | monocyte | lymphocyte |",
        "| cells found (half of the union shared) | 100.00 |  |",
        "| segmentation_wbc_2 | 3 | 100.00 | 66.67 |",
        "`leuko train quickstart --split fold5`",
    ):
        assert words in card, words
    for name in CLASS_NAMES:
        assert f"| {name} |" in card


def test_what_it_started_from_is_named_without_a_path(trained, tmp_path):
    file = trained.with_suffix(".json")
    sidecar = json.loads(file.read_text())
    learnt = dict(dataset="bcisc", split="fold5", iterations=1800, git="716ccf03458a")
    sidecar["training"]["start"] = dict(sha256="6b3a" + 60 * "0", training=learnt)
    start = dict(type="Pretrained", checkpoint="/home/me/first.pth")
    sidecar["config"]["model"]["init_cfg"] = start
    file.write_text(json.dumps(sidecar))
    path = publish(PublishRequest(trained, tmp_path / "zoo"))
    card = path.with_suffix(".md").read_text()
    assert "(sha256 `6b3a00000000`) that was trained on bcisc, split fold5" in card
    published = path.with_suffix(".json").read_text()
    assert "/home/me" not in published
    assert json.loads(published)["config"]["model"]["init_cfg"]["checkpoint"] == (
        "first.pth"
    )


def test_a_class_network_has_a_card_of_its_own(trained, tmp_path, monkeypatch):
    def measured(path, sidecar, *, work_dir):
        results = write_test(work_dir)
        with np.load(work_dir / "cells.npz") as file:
            arrays = dict(file)
        # Every pixel of a square has the class of its cell.
        arrays["confusion"][:, 0, 0] = 0
        np.savez(work_dir / "cells.npz", **arrays)
        return results

    monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(module, "names_cells", lambda sidecar: True)
    keys = dict(accept=0.7)
    path = publish(PublishRequest(trained, tmp_path / "zoo", name="names", keys=keys))
    assert verify(path)["accept"] == 0.7
    card = path.with_suffix(".md").read_text()
    assert "none of these" in card
    assert "| monocyte | 1 | 0.0 | 0.0 |" in card
    assert "| basophil | 1 | 100.0 | 0.0 |" in card
    assert "**Not a medical device" in card


def test_nothing_is_replaced_without_force(trained, tmp_path):
    request = PublishRequest(trained, tmp_path / "zoo", name="tiny")
    publish(request)
    with pytest.raises(UsageError, match="--force"):
        publish(request)


def test_one_too_large_is_refused_and_nothing_is_left(trained, tmp_path):
    with pytest.raises(UsageError, match="--float16"):
        publish(PublishRequest(trained, tmp_path / "zoo", limit=(1000, 10**9)))
    assert list((tmp_path / "zoo").iterdir()) == []


# tests/models/test_model_contract.py measures each row of the JSON again.
def test_the_committed_page_shows_the_committed_sizes(project_root):
    sizes = json.loads((project_root / "docs" / "model_table.json").read_text())
    page = (project_root / "docs" / "compare.md").read_text(encoding="utf-8")
    assert module.put_into(page, "model table", module.size_table(sizes)) == page, (
        "run python tools/publish.py sizes"
    )


def test_every_method_has_a_row_in_the_page(project_root):
    page = (project_root / "docs" / "compare.md").read_text(encoding="utf-8")
    for name in module.method_names():
        assert page.count(f"`{name}`") >= 2, f"{name}: its source, and its size"
