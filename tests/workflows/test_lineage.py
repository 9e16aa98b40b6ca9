"""What a checkpoint has learnt from, whatever it started from."""

from __future__ import annotations

import pytest

from leuko_mm.datasets.prepared import read_about, read_index, read_split
from leuko_mm.errors import UsageError
from leuko_mm.workflows.lineage import check_unseen, learnt_cells, learnt_groups
from leuko_mm.workflows.resolve_config import resolve_config


def trained_on(split, home):
    sha256 = read_about(home / "synthetic")["sha256"]
    return dict(training=dict(split=split, sha256=sha256))


def test_cells_that_were_learnt_are_not_tested(tiny_data, tiny_config):
    def check(tested, learnt="fold5"):
        config = resolve_config(str(tiny_config), split=tested)
        check_unseen(config, trained_on(learnt, tiny_data))

    check("fold5")
    with pytest.raises(UsageError, match=r"5 of the 5 cells.*--split fold5"):
        check("fold4")
    with pytest.raises(UsageError, match=r"20 of the 25 cells"):
        check("all")


def test_learnt_cells_are_tested_where_they_are_asked_for(tiny_data, tiny_config):
    config = resolve_config(str(tiny_config), split="fold5")
    config.test_dataloader.dataset.dataset.part = "train"
    check_unseen(config, trained_on("fold5", tiny_data))


def test_another_dataset_holds_no_learnt_cells(tiny_data, tiny_config):
    config = resolve_config(str(tiny_config), split="all")
    check_unseen(config, dict(training=dict(split="fold5", sha256="0" * 64)))


def test_no_sidecar_knows_no_cells(tiny_data, tiny_config):
    config = resolve_config(str(tiny_config), split="all")
    check_unseen(config, {})
    assert learnt_groups(config, {}) is None


def test_the_groups_learnt_are_those_of_the_sidecar_not_of_the_config(
    tiny_data, tiny_config
):
    config = resolve_config(str(tiny_config), split="fold2")
    root = tiny_data / "synthetic"
    parts = read_split(root, "fold5")
    groups = {row.stem: row.group for row in read_index(root)}
    expected = {groups[stem] for stem, part in parts.items() if part == "train"}
    sidecar = trained_on("fold5", tiny_data)
    assert learnt_groups(config, sidecar) == sorted(expected)
    sidecar["training"]["sha256"] = "0" * 64
    assert learnt_groups(config, sidecar) is None


def test_what_its_start_had_learnt_is_learnt(tiny_data, tiny_config):
    start = trained_on("fold1", tiny_data)
    elsewhere = dict(split="fold5", sha256="0" * 64, start=start)
    tuned = dict(training=elsewhere)
    root = tiny_data / "synthetic"
    assert learnt_cells(root, tuned) == learnt_cells(root, start) != set()
    check_unseen(resolve_config(str(tiny_config), split="fold1"), tuned)
    with pytest.raises(UsageError, match=r"5 of the 5 cells.*--split fold1"):
        check_unseen(resolve_config(str(tiny_config), split="fold2"), tuned)
    # Learnt from both parts of a division: no cell of it is new.
    twice = trained_on("fold2", tiny_data)
    twice["training"]["start"] = start
    with pytest.raises(UsageError, match="5 of the 5"):
        check_unseen(resolve_config(str(tiny_config), split="fold2"), twice)
