"""Dealt splits: written all or none, never over others, and no leak goes unseen."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.cli.main import main
from leuko_mm.datasets.audit import full_audit, quick_check
from leuko_mm.datasets.audit_checks import ERROR
from leuko_mm.datasets.prepared import DatasetError, read_index, read_split
from leuko_mm.errors import UsageError
from leuko_mm.split import (
    REFUSED,
    REPLACED,
    UNCHANGED,
    WRITTEN,
    SplitRequest,
    run_split,
    show_splits,
)


@pytest.fixture
def smears(tiny_home, tmp_path):
    """Return a copy of 25 drawn cells on five slides, to write splits into."""
    return shutil.copytree(tiny_home / "synthetic", tmp_path / "smears")


@pytest.fixture
def copied_cell(smears):
    """Show a cell of one slide a second time on another, mirrored."""
    rows = read_index(smears)
    first = next(row for row in rows if row.group == "slide_1")
    second = next(row for row in rows if row.group == "slide_2")
    with Image.open(smears / first.image) as image:
        mirrored = np.array(image.convert("RGB"))[:, ::-1]
    Image.fromarray(np.ascontiguousarray(mirrored)).save(smears / second.image)
    return first, second


def files(root) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "splits").iterdir()}


def deal(root, **options):
    return run_split(SplitRequest(str(root), **options))


def test_folds_are_written_beside_the_others_and_divide_no_slide(smears):
    before = files(smears)
    reports = deal(smears)
    names = [f"grouped_fold{k}" for k in range(1, 6)] + ["grouped_development"]
    assert [report.name for report in reports] == names
    assert {report.state for report in reports} == {WRITTEN}
    assert files(smears).keys() - before.keys() == {f"{name}.csv" for name in names}
    assert {n: c for n, c in files(smears).items() if n in before} == before
    groups = {row.stem: row.group for row in read_index(smears)}
    for report in reports[:5]:
        parts = read_split(smears, report.name)
        tested = {stem for stem, part in parts.items() if part == "test"}
        assert report.groups == {"train": 4, "test": 1}
        assert sum(report.cells["test"].values()) == len(tested) == 5
        assert len({groups[stem] for stem in tested}) == 1
        assert not report.leaks


def test_development_keeps_the_last_fold_apart(smears):
    deal(smears)
    chosen, last = (
        read_split(smears, f"grouped_{n}") for n in ("development", "fold5")
    )
    kept = {stem for stem, part in last.items() if part == "test"}
    assert chosen.keys() == last.keys() - kept
    fold4 = read_split(smears, "grouped_fold4")
    assert chosen == {stem: fold4[stem] for stem in chosen}


def test_repeats_are_named_by_their_seeds(smears):
    names = [r.name for r in deal(smears, folds=2, repeats=4, prefix="by_slide")]
    assert names == [f"by_slide_s{s}_fold{k}" for s in range(4) for k in (1, 2)]
    assert [r.name for r in deal(smears, holdout=0.2, seed=4)] == ["grouped_s4_holdout"]
    dealt = [tuple(read_split(smears, name).values()) for name in names[::2]]
    assert len(set(dealt)) > 1


def test_a_second_time_changes_nothing(smears, snapshot_of):
    deal(smears)
    before = snapshot_of(smears)
    assert {report.state for report in deal(smears)} == {UNCHANGED}
    assert snapshot_of(smears) == before


@pytest.fixture
def snapshot_of():
    def take(root):
        return {p.name: p.stat().st_mtime_ns for p in (root / "splits").iterdir()}

    return take


def test_other_splits_of_that_name_need_force(smears):
    deal(smears, folds=2)
    before = files(smears)
    with pytest.raises(
        DatasetError, match=r"grouped_fold1, grouped_fold2 already.*--force"
    ):
        deal(smears, folds=4)
    assert files(smears) == before
    states = {r.name: r.state for r in deal(smears, folds=4, force=True)}
    assert states["grouped_fold1"] == REPLACED
    assert states["grouped_fold4"] == WRITTEN


def test_an_official_split_is_named_as_such(smears):
    before = files(smears)
    with pytest.raises(DatasetError, match="official splits, under whose names"):
        deal(smears, prefix="", folds=3)
    assert files(smears) == before
    reports = deal(smears, prefix="", folds=3, force=True)
    assert reports[0].official
    assert reports[0].state == REPLACED


def test_a_cell_on_two_slides_is_found_and_nothing_is_written(smears, copied_cell):
    before = files(smears)
    reports = deal(smears)
    assert files(smears) == before
    assert {report.state for report in reports} == {REFUSED}
    leaking = [report for report in reports if report.leaks]
    assert len(leaking) >= 2
    for report in leaking:
        (pair,) = report.copies
        assert {pair.first, pair.second} == {row.stem for row in copied_cell}
        assert pair.distance == 0


def test_slides_that_show_the_same_cell_can_be_joined(smears, copied_cell):
    reports = deal(smears, folds=4, join=True)
    assert not any(report.leaks for report in reports)
    first, second = (row.group for row in copied_cell)
    groups = {row.stem: row.group for row in read_index(smears)}
    for report in reports[:4]:
        parts = read_split(smears, report.name)
        of = {g: {parts[s] for s in parts if groups[s] == g} for g in (first, second)}
        assert of[first] == of[second]
    with pytest.raises(UsageError, match=r"5 folds of 4 group"):
        deal(smears, folds=5, join=True)


def plant(root, name: str) -> None:
    """Write a split that divides every slide."""
    stems = [row.stem for row in read_index(root)]
    with open(root / "splits" / f"{name}.csv", "w", newline="") as file:
        rows = [(stem, ("train", "test")[i % 2]) for i, stem in enumerate(stems)]
        csv.writer(file).writerows([("stem", "part"), *rows])


def test_a_planted_leak_is_shown_and_the_papers_is_meant(smears):
    names = ("mine", "paper", "paper_mosaics", "random", "paper_fold1")
    for name in names:
        plant(smears, name)
    reports = {report.name: report for report in show_splits(str(smears))}
    assert {len(reports[name].shared) for name in names} == {5}
    leaking = {name for name, report in reports.items() if report.leaks}
    assert leaking == {"mine", "random", "paper_fold1"}
    assert reports["paper"].by_design
    audit = full_audit(smears)
    # One rule for both commands, and for what a training refuses.
    leaks = [f for f in audit.findings if f.rule == "split-leak"]
    assert {Path(f.file).stem for f in leaks if f.severity == ERROR} == leaking
    with pytest.raises(DatasetError, match=r"mine\.csv(?s:.*)leuko split"):
        quick_check(smears, split="mine")
    quick_check(smears, split="paper")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(folds=6), r"6 folds of 5 group\(s\)"),
        (dict(holdout=1.5), "a holdout of 1.5"),
    ],
)
def test_what_cannot_be_dealt_is_refused(smears, options, words):
    with pytest.raises(UsageError, match=words):
        deal(smears, **options)


def test_a_cell_that_cannot_be_read_is_named(smears):
    row = read_index(smears)[3]
    path = smears / row.image
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=rf"{row.stem}(?s:.*)leuko check"):
        deal(smears)


def test_a_learning_curves_splits_learn_from_fewer_slides(smears):
    before = files(smears)
    one, three = deal(smears, of="fold1", fewer=(1, 3))
    assert (one.name, three.name) == ("fold1_groups1", "fold1_groups3")
    assert (one.groups, three.groups) == (dict(train=1, test=1), dict(train=3, test=1))
    assert {n: c for n, c in files(smears).items() if n in before} == before
    whole, few = (read_split(smears, n) for n in ("fold1", "fold1_groups3"))
    assert few.items() < whole.items()
    assert {r.state for r in deal(smears, of="fold1", fewer=(1, 3))} == {UNCHANGED}
    (other,) = deal(smears, of="fold1", fewer=(3,), seed=1)
    assert (other.name, other.state) == ("fold1_s1_groups3", WRITTEN)
    with pytest.raises(UsageError, match="expected 1 up to the 4 that the split has"):
        deal(smears, of="fold1", fewer=(5,))


@pytest.mark.parametrize("words", [["--repeats", "2"], ["--prefix", "few"]])
def test_fewer_leaves_no_option_unheard(smears, words, capsys):
    asked = ["split", str(smears), "--fewer", "2", "--of", "fold1"]
    assert main([*asked, *words]) == 2
    assert "leave --repeats and --prefix out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--fewer", "2"], ["--of", "fold1"]])
def test_fewer_needs_the_split_that_is_meant(smears, words, capsys):
    assert main(["split", str(smears), *words]) == 2
    assert "--fewer 10,20 --of development" in capsys.readouterr().err
