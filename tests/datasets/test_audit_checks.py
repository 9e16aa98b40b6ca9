"""Findings about files, labels and cells of a dataset, and how they are ordered."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import BINARY_NAMES
from leuko_mm.datasets.audit_checks import (
    AuditFinding,
    by_rule,
    cell_findings,
    changed_since,
    file_lists,
    fitting_orientations,
    label_findings,
    open_cell,
    tally,
    turned_masks,
)
from leuko_mm.datasets.prepared import read_index

MASK = "masks/baso_1-1_0.png"
IMAGE = "images/baso_1-1_0.png"
SOUND = np.array([[0, 1], [1, 0]], np.uint8)


def rules(findings) -> list[str]:
    return [finding.rule for finding in findings]


@pytest.fixture
def labels() -> np.ndarray:
    """Return a mask with one cell of 400 pixels in its middle."""
    labels = np.zeros((64, 64), np.uint8)
    labels[22:42, 22:42] = 3
    return labels


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (np.s_[0:9, 30:37], "7 px top"),
        (np.s_[50:64, 30:37], "7 px bottom"),
        (np.s_[30:37, 0:22], "7 px left"),
        (np.s_[57:64, 58:64], "6 px bottom, 7 px right"),
    ],
)
def test_a_cell_on_the_border_is_named_with_its_sides(labels, where, words):
    labels[where] = 3
    (cut,) = [f for f in cell_findings("m", labels, stem="m") if f.rule == "cut-cell"]
    assert cut.words == f"on the border: {words}"
    assert cut.stems == ("m",)
    assert cut.severity == "note"


def test_a_whole_cell_is_sound_and_ignored_pixels_cut_nothing(labels):
    labels[0] = 255
    assert cell_findings("m", labels) == []
    assert cell_findings("m", np.zeros((8, 8), np.uint8)) == []


def test_a_fragment_is_no_second_cell_but_a_large_piece_is(labels):
    labels[50:55, 50:55] = 3
    assert cell_findings("m", labels) == []
    labels[50:60, 50:60] = 2
    (finding,) = cell_findings("m", labels)
    assert finding.rule == "several-cells"
    assert finding.words == "2 separate pieces of 400, 100 pixels"


@pytest.fixture
def first(copied_dataset):
    """Return the dataset's root and first row."""
    return copied_dataset, read_index(copied_dataset)[0]


def test_a_sound_cell_is_read_with_its_labels(first):
    files = open_cell(*first)
    assert files.findings == ()
    assert files.image.shape == (20, 24, 3)
    assert files.labels.shape == (20, 24)
    assert changed_since(*first) == []
    assert open_cell(*first, decode=False).image is None


def turned(path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.copy().save(path, exif=exif)


@pytest.mark.parametrize("name", [IMAGE, MASK])
@pytest.mark.parametrize(
    ("harm", "rule"),
    [
        (lambda path: path.unlink(), "missing-file"),
        (lambda path: path.write_bytes(b""), "unreadable-file"),
        (turned, "turned-file"),
    ],
)
def test_a_harmed_file_has_one_finding_that_names_it(first, name, harm, rule):
    root, row = first
    harm(root / name)
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
        (Image.new("RGB", (24, 20)), "JPEG by its content"),
    ],
)
def test_what_programs_read_differently_is_a_warning(first, picture, words):
    root, row = first
    picture.save(root / IMAGE, words.split()[0] if picture.mode == "RGB" else None)
    files = open_cell(root, row)
    assert files.image.shape == (20, 24, 3)
    assert rules(files.findings) == ["odd-file"]
    assert files.findings[0].words == words


def test_sizes_are_compared_with_the_index_and_the_mask(first):
    root, row = first
    Image.fromarray(np.eye(24, 20, dtype=np.uint8)).save(root / MASK)
    assert rules(open_cell(root, row).findings) == ["size-mismatch"]
    Image.fromarray(np.zeros((30, 24, 3), np.uint8)).save(root / IMAGE)
    assert rules(open_cell(root, row).findings) == ["size-mismatch"] * 2


def test_files_that_are_not_in_the_index_are_listed(first):
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


def test_findings_are_grouped_the_gravest_first():
    findings = [
        AuditFinding("cut-cell", "a", "x"),
        AuditFinding("split-leak", "b", "x", (), "note"),
        AuditFinding("missing-file", "c", "is missing"),
        AuditFinding("split-leak", "d", "x"),
        AuditFinding("cut-cell", "e", "x"),
    ]
    assert [(rule, [f.file for f in group]) for rule, group in by_rule(findings)] == [
        ("missing-file", ["c"]),
        ("split-leak", ["d"]),
        ("split-leak", ["b"]),
        ("cut-cell", ["a", "e"]),
    ]
    assert tally(findings) == {"error": 2, "warning": 0, "note": 3}
    assert (str(findings[0]), str(findings[2])) == ("a: x", "c is missing")


def label_rules(labels, class_name="basophil", **more) -> list[str]:
    return rules(label_findings("m.png", np.asarray(labels), class_name, **more))


def test_a_sound_mask_has_no_findings():
    assert label_rules(SOUND) == label_rules(SOUND.astype(bool)) == []
    assert label_rules(SOUND, "baso") == []


@pytest.mark.parametrize(
    ("labels", "rule", "text"),
    [
        ([[0, 6], [1, 6]], "strange-label", "value 6 on 2 pixel(s); expected 0 to 5"),
        ([[0, 0]], "empty-mask", "holds background only, but the index says basophil"),
        ([[0, 3]], "class-mismatch", "holds lymphocyte, but the index says basophil"),
        ([[0, 255]], "only-ignored", "only 0 and 255"),
        ([[1, 1]], "full-mask", "basophil on every pixel"),
        ([[0, 1, 2]], "several-classes", "beside basophil also eosinophil on 1"),
        ([[0, 1, 1, 255]], "ignored-pixels", "1 pixel(s), 25.0% of the picture"),
    ],
)
def test_each_fault_has_its_rule(labels, rule, text):
    labels = np.array(labels, np.uint8)
    (finding,) = label_findings("m.png", labels, "basophil", stem="m")
    assert finding.rule == rule
    assert text in finding.words
    assert (finding.file, finding.stems) == ("m.png", ("m",))


def test_the_fringe_of_a_brush_is_no_second_class():
    labels = np.ones((10, 20), np.uint8)
    labels[0], labels[5, :3] = 0, 2
    assert label_rules(labels) == []
    labels[5, :5] = 2
    assert label_rules(labels) == ["several-classes"]


def test_a_field_may_hold_any_cells_or_none():
    assert label_rules([[0, 1, 5, 255]], "") == label_rules([[255]], "") == []
    assert label_rules([[9]], "") == ["strange-label"]


def test_a_binary_dataset_knows_one_class():
    two = dict(classes=BINARY_NAMES)
    assert label_rules(SOUND, "leukocyte", **two) == []
    assert label_rules(SOUND, "eosinophil", **two) == []
    assert label_rules(SOUND * 2, "leukocyte", **two) == ["strange-label"]
    assert label_rules(SOUND * 0, "leukocyte", **two) == ["empty-mask"]


def stained(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a dark cell in its upper left quarter, and its mask."""
    labels = np.zeros((80, 100), np.uint8)
    y, x = rng.integers(2, 12, 2)
    labels[y : y + 20, x : x + 24] = 3
    image = rng.integers(150, 250, (80, 100, 3)).astype(np.uint8)
    image[labels > 0] //= 3
    return image, labels


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (np.asarray, None),
        (np.fliplr, "mirrored left to right"),
        (np.flipud, "mirrored top to bottom"),
        (lambda mask: np.rot90(mask, 2), "turned by half"),
    ],
)
def test_masks_that_are_turned_are_told_how(turn, words):
    rng = np.random.default_rng(0)
    pairs = [stained(rng) for _ in range(6)]
    compared = [fitting_orientations(image, turn(mask)) for image, mask in pairs]
    found = turned_masks(compared)
    assert found == (words and f"6 of 6 masks fit their images better {words}")


def test_masks_in_the_middle_or_of_other_images_say_nothing_of_their_orientation(
    labels,
):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert fitting_orientations(image, labels) == {}
    assert fitting_orientations(image, np.zeros_like(labels)) == {}
    corners = (np.asarray, np.fliplr, np.flipud, lambda mask: mask[::-1, ::-1])
    images = [stained(rng)[0] for _ in range(20)]
    masks = [corners[rng.integers(4)](stained(rng)[1]) for _ in range(20)]
    compared = list(map(fitting_orientations, images, masks))
    assert sum(map(bool, compared)) > 10  # each of them may have an answer
    assert turned_masks(compared) is None
    assert turned_masks([]) is None
