"""The quick check: everything that would stop or mislead a training, named before."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.audit import full_audit, quick_check, row_findings
from leuko_mm.datasets.audit_finding import tally
from leuko_mm.datasets.prepared import COLUMNS, DatasetError, read_index
from leuko_mm.datasets.prepared_writing import write_split
from leuko_mm.datasets.replacing import content_hash

MASK = "masks/baso_1-1_0.png"
IMAGE = "images/baso_1-1_0.png"


def refused(root, *words: str, split: str | None = "fold1") -> str:
    with pytest.raises(DatasetError) as caught:
        quick_check(root, split=split)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def save(path, array) -> None:
    Image.fromarray(array).save(path)


def test_a_sound_dataset_is_counted(tiny_dataset):
    assert quick_check(tiny_dataset) == {"all": 40}
    assert quick_check(tiny_dataset, split="fold1") == {"train": 20, "test": 20}


def test_what_is_not_prepared_is_refused(tmp_path):
    refused(tmp_path / "bcisc", "does not exist", "leuko prepare bcisc")


@pytest.mark.parametrize("name", [MASK, IMAGE])
def test_a_missing_file_is_named_with_what_to_do(copied_dataset, name):
    (copied_dataset / name).unlink()
    refused(
        copied_dataset,
        f"{copied_dataset / name} is missing",
        f"leuko prepare folders PATH_TO_YOUR_FOLDER --out {copied_dataset} --force",
    )


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((20, 24), 7, np.uint8), "value 7 on 480 pixel(s); expected 0 to 5"),
        (np.full((20, 24), -1, np.int32), "value -1 on 480 pixel(s)"),
        (np.full((20, 24), 70000, np.int32), "value 70000 on 480"),
        (np.full((20, 24), 0.5, np.float32), "32 bits of type F a channel"),
        (np.zeros((20, 24, 3), np.uint8), "holds colours"),
        (np.ones((24, 20), np.uint8), "20x24, but its image is 24x20"),
        (np.zeros((20, 24), np.uint8), "holds background only, but the index says"),
        (np.full((20, 24), 3, np.uint8), "holds lymphocyte, but the index says baso"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(copied_dataset, mask, words):
    path = (copied_dataset / MASK).with_suffix(".tif")
    save(path, mask)
    path.rename(copied_dataset / MASK)
    refused(copied_dataset, "has 1 fault(s)", str(copied_dataset / MASK), words)


def test_a_mask_of_0_and_255_is_explained(copied_dataset):
    mask = np.zeros((20, 24), np.uint8)
    mask[5:9] = 255
    save(copied_dataset / MASK, mask)
    refused(copied_dataset, "only 0 and 255", "give its pixels the class id")


@pytest.mark.parametrize("name", [MASK, IMAGE])
def test_a_broken_file_is_named(copied_dataset, name):
    (copied_dataset / name).write_bytes(b"not an image")
    refused(copied_dataset, f"{copied_dataset / name}: cannot be read")


def test_an_image_of_another_size_than_the_index_says_is_named(edit_index):
    root = edit_index(",24,20,", ",24,24,")
    refused(root, f"{root / IMAGE}: 24x20, but the index says 24x24")


def test_many_faults_are_counted_and_the_first_shown(copied_dataset):
    for path in (copied_dataset / "masks").glob("baso*"):
        path.unlink()
    text = refused(copied_dataset, "has 8 fault(s)", "and 3 more")
    assert text.count("is missing") == 5


def test_only_the_cells_of_the_split_are_looked_at(copied_dataset):
    (copied_dataset / MASK).unlink()
    known = {row.stem for row in read_index(copied_dataset)}
    write_split(
        copied_dataset,
        "few",
        {"eosi_1-1_0": "train", "eosi_2-1_0": "test"},
        known=known,
    )
    assert quick_check(copied_dataset, split="few") == {"train": 1, "test": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stem,part\nx_1,train\n", "names 1 cell(s) that are not in the index"),
        ("stem,part\nbaso_1-1_0,train\n", "leaves train or test empty"),
    ],
)
def test_a_split_that_misleads_is_named(copied_dataset, text, words):
    path = copied_dataset / "splits" / "mine.csv"
    path.write_text(text)
    refused(copied_dataset, str(path), words, "--force", split="mine")


def test_a_fold_may_not_divide_a_group_but_a_random_split_may(copied_dataset):
    text = "stem,part\nbaso_1-1_0,train\nbaso_1-2_0,test\n"
    for name in ("fold1", "paper"):
        (copied_dataset / "splits" / f"{name}.csv").write_text(text)
    refused(copied_dataset, "1 group(s) in train and test: basophil_1")
    assert quick_check(copied_dataset, split="paper") == {"train": 1, "test": 1}


def test_an_index_that_was_cut_short_is_noticed(copied_dataset):
    path = copied_dataset / "index.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-5]))
    refused(copied_dataset, str(path), "edited or cut short", split=None)


def test_a_dataset_without_cells_is_refused(copied_dataset):
    path = copied_dataset / "index.csv"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    refused(copied_dataset, "holds no cell", split=None)


def test_findings_of_one_row(tiny_dataset):
    assert row_findings(tiny_dataset, read_index(tiny_dataset)[0]) == []


def found(root, *, split: str | None = None) -> dict[str, list[str]]:
    """Return the findings' texts by rule."""
    findings: dict[str, list[str]] = {}
    for finding in full_audit(root, split=split).findings:
        findings.setdefault(finding.rule, []).append(str(finding))
    return findings


@pytest.fixture
def unlike_cells(copied_dataset) -> Path:
    """Return a dataset no two pictures of which look alike."""
    rng = np.random.default_rng(0)
    for path in (copied_dataset / "images").iterdir():
        noise = rng.integers(0, 256, (5, 6, 3), np.uint8)
        save(path, np.asarray(Image.fromarray(noise).resize((24, 20))))
    return copied_dataset


def test_the_full_audit_of_a_sound_dataset_counts_it(unlike_cells):
    audit = full_audit(unlike_cells)
    assert tally(audit.findings) == {"error": 0, "warning": 40, "note": 0}
    assert {finding.rule for finding in audit.findings} == {"changed-file"}
    assert len(audit.rows) == 40
    assert audit.counts[""]["all"]["eosinophil"] == 8
    assert audit.counts["fold1"]["test"]["eosinophil"] == 4
    assert [stain.cells for stain in audit.stains] == [2] * 20


def test_an_image_cut_short_passes_the_quick_check_only(copied_dataset):
    content = (copied_dataset / IMAGE).read_bytes()
    (copied_dataset / IMAGE).write_bytes(content[: len(content) - 40])
    assert quick_check(copied_dataset) == {"all": 40}
    (words,) = found(copied_dataset)["unreadable-file"]
    assert words.startswith(f"{copied_dataset / IMAGE}: cannot be read")


def test_a_file_changed_since_is_noticed(copied_dataset):
    with Image.open(copied_dataset / IMAGE) as image:
        pixels = np.array(image)
    pixels[0, 0] ^= 1
    save(copied_dataset / IMAGE, pixels)
    assert found(copied_dataset)["changed-file"] == [
        f"{copied_dataset / IMAGE}: image or mask is not what the index was written for"
    ]


@pytest.mark.parametrize("name", ["index.csv", "splits/fold1.csv"])
def test_a_broken_table_is_a_finding_among_others(copied_dataset, name):
    (copied_dataset / name).write_bytes(b"a,b\nc,d\n")
    (words,) = found(copied_dataset)["broken-table"]
    assert words.startswith(str(copied_dataset / name))
    assert "the first line must be" in words


def test_one_split_is_looked_at_alone(copied_dataset):
    (copied_dataset / MASK).unlink()
    (copied_dataset / "images" / "mine.png").write_bytes(b"")
    rules = found(copied_dataset)
    assert {"missing-file", "extra-file"} <= rules.keys()
    known = {row.stem for row in read_index(copied_dataset)}
    parts = {"eosi_1-1_0": "train", "eosi_2-1_0": "test"}
    write_split(copied_dataset, "few", parts, known=known)
    rules = found(copied_dataset, split="few")
    assert {"missing-file", "extra-file"} & rules.keys() == set()
    with pytest.raises(DatasetError, match="no split 'none'"):
        full_audit(copied_dataset, split="none")


def test_what_is_not_prepared_is_refused_by_the_full_audit_too(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        full_audit(tmp_path / "nothing")


def test_a_dataset_without_cells_is_a_finding(edit_index):
    root = edit_index("", "")
    path = root / "index.csv"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert f"{root}: holds no cell" in found(root)["broken-table"]


@pytest.fixture
def binary_dataset(tmp_path) -> Path:
    """Return a dataset of two classes, written by hand."""
    root = tmp_path / "binary"
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    save(root / "images/a.png", image)
    labels = np.zeros((20, 24), np.uint8)
    labels[5:12, 6:14] = 1
    save(root / "masks/a.png", labels)
    digest = content_hash(root / "images/a.png", labels)
    (root / "index.csv").write_text(
        ",".join(COLUMNS)
        + f"\na,cell,lymphocyte,s1,,,,,,24,20,images/a.png,masks/a.png,{digest}\n"
    )
    about = {
        "schema": 1,
        "classes": ["background", "leukocyte"],
        "sha256": sha256((root / "index.csv").read_bytes()).hexdigest(),
    }
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def test_a_binary_dataset_has_two_labels(binary_dataset):
    assert quick_check(binary_dataset) == {"all": 1}
    assert found(binary_dataset) == {}
    labels = np.full((20, 24), 2, np.uint8)
    save(binary_dataset / "masks/a.png", labels)
    (words,) = found(binary_dataset)["strange-label"]
    assert "value 2 on 480 pixel(s); expected 0 to 1" in words


def copy_cell(root: Path, source: str, target: str) -> None:
    """Put another cell's picture and mask, encoded anew, in a cell's place."""
    with Image.open(root / f"images/{source}.png") as image:
        image.convert("RGB").save(root / f"images/{target}.png", compress_level=9)
    with Image.open(root / f"masks/{source}.png") as mask:
        mask.save(root / f"masks/{target}.png")


def test_a_planted_leak_is_found(unlike_cells):
    # fold1 tests slides 1 and 2: these two groups stand on its two sides.
    copy_cell(unlike_cells, "mono_1-1_0", "mono_3-1_0")
    rules = found(unlike_cells)
    assert rules["split-leak"] == [
        f"{unlike_cells}/splits/fold{k}.csv: mono_1-1_0 ({a}) shows what mono_3-1_0 "
        f"({b}) shows; 0 of 255 bits differ"
        for k, a, b in ((1, "test", "train"), (2, "train", "test"))
    ]
    assert rules["near-duplicate"] == [
        "mono_1-1_0: shows what mono_3-1_0 shows (monocyte_1 and monocyte_3); 0 of "
        "255 bits differ"
    ]
