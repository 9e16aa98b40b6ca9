"""Odd and broken files: each is found or refused by name, none costs more than that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_variants import EXPECTED, KINDS, MAKERS, TAKEN
from PIL import Image

from leuko_mm.datasets.audit import full_audit
from leuko_mm.datasets.audit_checks import ERROR, AuditFinding
from leuko_mm.datasets.converters.folders.convert import FoldersRequest, prepare_folders
from leuko_mm.datasets.converters.folders.groups import group_images
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared

MEGABYTE = 2**20
MAP = {"0": "background", "3": "lymphocyte"}
Cell = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One harmed file: the number of its cell, what was done, and to which file."""

    number: int
    kind: str
    of_mask: bool

    @property
    def stem(self) -> str:
        return f"cell_{self.number:04d}"


def cases(count: int) -> list[Case]:
    """Return every kind for images and masks by turns; 34 hold each of them once."""
    return [
        Case(i, KINDS[i % len(KINDS)], i // len(KINDS) % 2 == 1) for i in range(count)
    ]


def drawn_cell(number: int) -> Cell:
    """Return a cell of structure that no other number has, with its labels."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(60, 256, (6, 7, 3), np.uint8)
    image = cv2.resize(coarse, (56, 48), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:48, :56]
    inside = (rows - 24) ** 2 + (columns - 28) ** 2 < rng.integers(80, 300)
    return image, np.where(inside, 3, 0).astype(np.uint8)


def make_dataset(root: Path, chosen: list[Case]) -> None:
    """Write a sound dataset, then harm one file of every cell."""
    write_prepared(
        root,
        (
            PreparedCell(case.stem, "lymphocyte", f"s{case.number % 7}", image, labels)
            for case, (image, labels) in ((c, drawn_cell(c.number)) for c in chosen)
        ),
        name="harmed",
        source="a test",
        licence="none",
        citation="none",
        splits={},
    )
    for case in chosen:
        folder = "masks" if case.of_mask else "images"
        write_variant(root / folder / f"{case.stem}.png", case)


def write_variant(path: Path, case: Case) -> None:
    pixels = drawn_cell(case.number)[int(case.of_mask)]
    content = MAKERS[case.kind](pixels, np.random.default_rng(case.number))
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


def check_all(root: Path, chosen: list[Case]) -> None:
    """Harm a dataset and see that the check names every harmed file, as it should."""
    make_dataset(root, chosen)
    found: dict[str, list[AuditFinding]] = {}
    for finding in full_audit(root).findings:
        found.setdefault(Path(finding.file).stem, []).append(finding)
    for case in chosen:
        rules = {finding.rule for finding in found.get(case.stem, [])}
        assert rules & EXPECTED[case.kind][case.of_mask], (case, rules)


def prepare_all(folder: Path, chosen: list[Case]) -> None:
    """Hand each harmed file, beside two sound pairs, to ``leuko prepare folders``."""
    outcomes = Counter(prepare_one(folder / case.stem, case) for case in chosen)
    assert outcomes["taken"]
    assert outcomes["refused"]


def prepare_one(folder: Path, case: Case) -> str:
    source, out = folder / "mine", folder / "data" / "out"
    for name in ("images", "masks"):
        (source / name).mkdir(parents=True)
    for number in (0, 1, case.number):
        stem = case.stem if number == case.number else f"sound_{number}"
        image, labels = drawn_cell(number)
        Image.fromarray(image).save(source / "images" / f"{stem}.png")
        Image.fromarray(labels).save(source / "masks" / f"{stem}.png")
    harmed = source / ("masks" if case.of_mask else "images") / f"{case.stem}.png"
    write_variant(harmed, case)
    refusal = refused(source, out)
    if refusal is None:
        assert case.kind in TAKEN, case
        # What was taken is a sound dataset, whose files all programs read alike.
        assert {row.stem for row in read_index(out)} >= {case.stem}
        assert [f for f in full_audit(out).findings if f.severity == ERROR] == [], case
        return "taken"
    assert case.stem in refusal, (case, refusal)
    assert not list(folder.glob("data/*")), case
    # Turned by a quarter it no longer fits its partner; a flipped byte breaks a PNG.
    assert case.kind not in TAKEN - {"turned by EXIF", "flipped byte"}, refusal
    return "refused"


def refused(source: Path, out: Path) -> str | None:
    """Prepare a folder; return the refusal, None if the dataset was written."""
    try:
        survey = survey_folders(source)
        request = FoldersRequest("mine", MAP, group_images(survey.images, None))
        prepare_folders(survey, out, request)
    except DatasetError as error:
        return str(error)
    return None


@pytest.mark.parametrize("start", range(0, 102, 34))
def test_check_names_every_harmed_file(tmp_path, start):
    check_all(tmp_path / "harmed", cases(102)[start : start + 34])


@pytest.mark.parametrize("start", range(0, 34, 17))
def test_prepare_takes_by_a_rule_or_refuses_by_name(tmp_path, start):
    prepare_all(tmp_path, cases(34)[start : start + 17])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 500, 100))
def test_check_names_500_harmed_files(tmp_path, start):
    check_all(tmp_path / "harmed", cases(500)[start : start + 100])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 500, 100))
def test_prepare_bears_500_harmed_files(tmp_path, start):
    prepare_all(tmp_path, cases(500)[start : start + 100])


@pytest.fixture
def peak_memory() -> Iterator[Callable[[], int]]:
    """Return a function that tells the most bytes held since the test began."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        reset.write_text("5")
    except OSError:
        pytest.skip("needs Linux, which tells a process its own peak of memory")

    def held(name: str) -> int:
        (line,) = [s for s in status.read_text().splitlines() if s.startswith(name)]
        return int(line.split()[1]) * 1024

    before = held("VmRSS")
    return lambda: held("VmHWM") - before


def test_a_huge_header_costs_no_memory(tmp_path, peak_memory):
    chosen = [Case(number, "huge header", number % 2 == 1) for number in range(12)]
    check_all(tmp_path / "harmed", chosen)
    for case in chosen:
        prepare_one(tmp_path / "folders" / case.stem, case)
    # One such picture decoded is 2,700 MB.
    assert peak_memory() < 150 * MEGABYTE
