"""The quick check: everything that would stop or mislead a training, named before."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.audit import label_findings, quick_check, row_findings
from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.datasets.prepared_writing import write_split

MASK = "masks/baso_1-1_0.png"
IMAGE = "images/baso_1-1_0.png"
LABELS = np.array([[0, 1], [1, 255]], np.uint8)


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
        f"leuko prepare SOURCE PATH --out {copied_dataset} --force",
    )


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((20, 24), 7, np.uint8), "value 7 on 480 pixel(s); expected 0 to 5"),
        (np.full((20, 24), -1, np.int32), "value -1 on 480 pixel(s)"),
        (np.full((20, 24), 70000, np.int32), "value 70000 on 480"),
        (np.full((20, 24), 0.5, np.float32), "2 dimensions of float32"),
        (np.zeros((20, 24, 3), np.uint8), "3 dimensions of uint8"),
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
    refused(copied_dataset, "baso_1-1_0: cannot be read")


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
    refused(copied_dataset, "1 group(s) in train and test", "'basophil_1'")
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


def test_findings_of_one_mask():
    assert label_findings("m", LABELS, "basophil") == []
    assert label_findings("m", LABELS, "") == []
    assert "holds basophil" in label_findings("m", LABELS, "eos")[0]
    assert label_findings("m", LABELS.astype(bool), "baso") == []


def test_findings_of_one_row(tiny_dataset):
    assert row_findings(tiny_dataset, read_index(tiny_dataset)[0]) == []
