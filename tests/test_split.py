"""Dealt splits: written all or none, never over others, and no leak goes unseen."""

from __future__ import annotations

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
    REMOVED,
    REPLACED,
    UNCHANGED,
    WRITTEN,
    SplitRequest,
    run_split,
    show_splits,
)


@pytest.fixture
def smears(tiny_home, tmp_path, monkeypatch):
    """Return a copy of 25 drawn cells on five slides, to write splits into."""
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
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


def files(root) -> dict[str, tuple[int, bytes]]:
    folder = root / "splits"
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


def deal(root, **options):
    return run_split(SplitRequest(str(root), **options))


def plant(root, name: str) -> None:
    """Write a split that divides every slide."""
    stems = [row.stem for row in read_index(root)]
    rows = [f"{stem},{('train', 'test')[i % 2]}" for i, stem in enumerate(stems)]
    (root / "splits" / f"{name}.csv").write_text("\n".join(["stem,part", *rows]))


def test_folds_are_written_beside_the_others_and_divide_no_slide(smears):
    before = files(smears)
    reports = deal(smears)
    names = [f"grouped_fold{k}" for k in range(1, 6)] + ["grouped_development"]
    assert [report.name for report in reports] == names
    assert {report.state for report in reports} == {WRITTEN}
    assert files(smears).keys() - before.keys() == {f"{name}.csv" for name in names}
    assert files(smears).items() >= before.items()
    groups = {row.stem: row.group for row in read_index(smears)}
    for report in reports[:5]:
        parts = read_split(smears, report.name)
        tested = {stem for stem, part in parts.items() if part == "test"}
        assert report.groups == {"train": 4, "test": 1}
        assert sum(report.cells["test"].values()) == len(tested) == 5
        assert len({groups[stem] for stem in tested}) == 1
        assert not report.leaks
    written = files(smears)
    assert {report.state for report in deal(smears)} == {UNCHANGED}
    assert files(smears) == written


def test_development_keeps_the_last_fold_apart(smears):
    deal(smears)
    chosen, last = (
        read_split(smears, f"grouped_{n}") for n in ("development", "fold5")
    )
    kept = {stem for stem, part in last.items() if part == "test"}
    assert chosen.keys() == last.keys() - kept
    fold4 = read_split(smears, "grouped_fold4")
    assert chosen == {stem: fold4[stem] for stem in chosen}


def test_other_deals_are_named_by_their_seed(smears):
    names = [
        r.name
        for seed in range(4)
        for r in deal(smears, folds=2, seed=seed, prefix="by_slide")
    ]
    assert names[1:4:2] == ["by_slide_fold2", "by_slide_s1_fold2"]
    assert [r.name for r in deal(smears, holdout=0.2, seed=4)] == ["grouped_s4_holdout"]
    dealt = [tuple(read_split(smears, name).values()) for name in names[::2]]
    assert len(set(dealt)) > 1


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


def test_no_fold_of_the_former_deal_is_left(smears, capsys):
    deal(smears, folds=4)
    deal(smears, folds=4, seed=1)
    assert main(["split", "smears", "--folds", "2", "--force"]) == 0
    printed = capsys.readouterr().out
    for name in ("development", "fold3", "fold4"):
        assert f"grouped_{name}: {REMOVED}\n" in printed
    left = {name for name in files(smears) if name.startswith("grouped")}
    dealt = {"grouped_fold1.csv", "grouped_fold2.csv"}
    assert {name for name in left if "_s1_" not in name} == dealt
    assert len(left) == 2 + 5
    assert "fold5.csv" in files(smears)


def test_an_official_split_is_named_as_such(smears, capsys):
    before = files(smears)
    command = ["split", "smears", "--folds", "4", "--prefix", ""]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko split: ")
    for words in ("fold1", "official splits, under whose names", "--force"):
        assert words in message
    assert files(smears) == before
    assert main([*command, "--force"]) == 0
    assert "measured on other cells" in capsys.readouterr().out


def test_a_cell_on_two_slides_is_found_and_nothing_is_written(
    smears, copied_cell, capsys
):
    before = files(smears)
    reports = deal(smears)
    assert {report.state for report in reports} == {REFUSED}
    leaking = [report for report in reports if report.leaks]
    assert len(leaking) >= 2
    first, second = (row.stem for row in copied_cell)
    for report in leaking:
        assert report.copies == ((first, second, 1),)
    assert main(["split", "smears"]) == 1
    printed = capsys.readouterr().out
    assert f"LEAK: 1 cell(s) in both parts: {first} = {second} (alike" in printed
    assert "leuko split smears --join" in printed
    of = next(report.name for report in show_splits(str(smears)) if report.leaks)
    for joined in ([], ["--join"]):
        assert main(["split", "smears", "--fewer", "4", "--of", of, *joined]) == 1
        printed = capsys.readouterr().out
        assert f"{of} shares them itself" in printed
        assert printed.endswith("    leuko split smears --join\n")
    assert files(smears) == before


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


def test_a_planted_leak_is_shown_and_the_papers_is_meant(smears, capsys):
    names = ("mine", "paper", "paper_mosaics", "random", "paper_fold1")
    for name in names:
        plant(smears, name)
    reports = {report.name: report for report in show_splits(str(smears))}
    assert {len(reports[name].shared) for name in names} == {5}
    leaking = {name for name, report in reports.items() if report.leaks}
    assert leaking == {"mine", "random", "paper_fold1"}
    assert reports["paper"].by_design
    # One rule for both commands, and for what a training refuses.
    leaks = [f for f in full_audit(smears).findings if f.rule == "split-leak"]
    assert {Path(f.file).stem for f in leaks if f.severity == ERROR} == leaking
    with pytest.raises(DatasetError, match=r"mine\.csv(?s:.*)leuko split"):
        quick_check(smears, split="mine")
    quick_check(smears, split="paper")
    assert main(["split", "smears", "--show"]) == 1
    printed = capsys.readouterr().out
    assert "LEAK: 5 group(s) in both parts: slide_1" in printed
    assert "5 group(s) in both parts, by design" in printed
    assert "fold1, an official split: there" in printed


def test_a_learning_curves_splits_train_on_fewer_slides(smears):
    before = files(smears)
    one, three = deal(smears, of="fold1", fewer=(1, 3))
    assert (one.name, three.name) == ("fold1_groups1", "fold1_groups3")
    assert (one.groups, three.groups) == (dict(train=1, test=1), dict(train=3, test=1))
    assert files(smears).items() >= before.items()
    whole, few = (read_split(smears, n) for n in ("fold1", "fold1_groups3"))
    assert few.items() < whole.items()
    assert {r.state for r in deal(smears, of="fold1", fewer=(1, 3))} == {UNCHANGED}
    (other,) = deal(smears, of="fold1", fewer=(3,), seed=1)
    assert (other.name, other.state) == ("fold1_s1_groups3", WRITTEN)
