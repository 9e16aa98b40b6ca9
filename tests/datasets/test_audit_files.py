"""Findings about the files of a dataset."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.audit_files import changed_since, file_lists, open_cell
from leuko_mm.datasets.prepared import read_index

MASK = "masks/baso_1-1_0.png"
IMAGE = "images/baso_1-1_0.png"


@pytest.fixture
def first(copied_dataset):
    """Return the dataset's root and first row."""
    return copied_dataset, read_index(copied_dataset)[0]


def rules(root, row) -> list[str]:
    return [finding.rule for finding in open_cell(root, row).findings]


def turned(root, name) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(root / name) as image:
        image.copy().save(root / name, exif=exif)


def test_a_sound_cell_is_read_with_its_labels(first):
    files = open_cell(*first)
    assert files.findings == ()
    assert files.image.shape == (20, 24, 3)
    assert files.labels.shape == (20, 24)
    assert changed_since(*first) == []
    assert open_cell(*first, decode=False).image is None


@pytest.mark.parametrize("name", [IMAGE, MASK])
@pytest.mark.parametrize(
    ("harm", "rule"),
    [
        (lambda root, name: (root / name).unlink(), "missing-file"),
        (lambda root, name: (root / name).write_bytes(b""), "unreadable-file"),
        (turned, "turned-file"),
    ],
)
def test_a_harmed_file_has_one_finding_that_names_it(first, name, harm, rule):
    root, row = first
    harm(root, name)
    (finding,) = open_cell(root, row).findings
    assert finding.rule == rule
    assert finding.file == str(root / name)
    assert finding.stems == (row.stem,)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (Image.new("RGBA", (24, 20), (9, 9, 9, 255)), "an alpha channel"),
        (Image.new("I;16", (24, 20), 40000), "16 bits a channel"),
        (Image.new("P", (24, 20)), "PNG of type P"),
    ],
)
def test_what_programs_read_differently_is_a_warning(first, picture, words):
    root, row = first
    picture.save(root / IMAGE)
    files = open_cell(root, row)
    assert files.image.shape == (20, 24, 3)
    assert [f.rule for f in files.findings] == ["odd-file"]
    assert files.findings[0].words == words


def test_content_and_ending_that_differ_are_a_warning(first):
    root, row = first
    Image.new("RGB", (24, 20)).save(root / IMAGE, "JPEG")
    assert "JPEG by its content" in open_cell(root, row).findings[0].words


def test_sizes_are_compared_with_the_index_and_the_mask(first):
    root, row = first
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(root / MASK)
    assert rules(root, row) == ["size-mismatch"]
    Image.fromarray(np.zeros((30, 24, 3), np.uint8)).save(root / IMAGE)
    assert rules(root, row) == ["size-mismatch"] * 2


def test_a_changed_mask_is_noticed(first):
    root, row = first
    with Image.open(root / MASK) as mask:
        labels = np.array(mask)
    labels[9, 9] = 0
    Image.fromarray(labels).save(root / MASK)
    assert [f.rule for f in changed_since(root, row)] == ["changed-file"]


def test_a_nucleus_that_cannot_be_read_is_named(first):
    root, row = first
    (root / "nuclei").mkdir()
    (root / "nuclei" / f"{row.stem}.png").write_bytes(b"no picture")
    (finding,) = changed_since(root, row)
    assert finding.rule == "unreadable-file"
    assert finding.file.endswith("nuclei/baso_1-1_0.png")


def test_files_beside_the_index_are_listed(first):
    root, _ = first
    rows = read_index(root)
    (root / "images" / ".hidden").touch()
    (root / "images" / "Thumbs.db").touch()
    assert file_lists(root, rows) == []
    (root / "masks" / "mine.png").touch()
    (finding,) = file_lists(root, rows)
    assert str(finding) == f"{root / 'masks/mine.png'} is not in the index"


def test_a_file_that_two_rows_name_is_listed(edit_index):
    root = edit_index("images/baso_1-2_0.png", "images/baso_1-1_0.png")
    found = {f.rule: str(f) for f in file_lists(root, read_index(root))}
    assert found.keys() == {"shared-file", "extra-file"}
    assert f"{root / IMAGE}: named 2 times" in found["shared-file"]
