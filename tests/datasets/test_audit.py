"""The quick check and the full audit of a dataset, and findings about splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.audit import (
    absent_classes,
    class_counts,
    divided_groups,
    full_audit,
    quick_check,
    unfit_split,
)
from leuko_mm.datasets.audit_checks import tally
from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.datasets.prepared_writing import write_split

MASK = "masks/baso_1-1_0.png"
IMAGE = "images/baso_1-1_0.png"


def refused(root, *words: str, split: str | None = "fold1") -> str:
    with pytest.raises(DatasetError) as caught:
        quick_check(root, split=split)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def found(root, *, split: str | None = None) -> dict[str, list[str]]:
    """Return the texts of the findings of a full audit by rule."""
    findings: dict[str, list[str]] = {}
    for finding in full_audit(root, split=split).findings:
        findings.setdefault(finding.rule, []).append(str(finding))
    return findings


def save(path, array) -> None:
    Image.fromarray(array).save(path)


def write_few(root, **parts) -> None:
    write_split(root, "few", parts, known={row.stem for row in read_index(root)})


@pytest.mark.parametrize("look", [quick_check, full_audit])
def test_what_is_not_prepared_is_refused(look, tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)does not exist.*leuko prepare bcisc"):
        look(tmp_path / "bcisc")


@pytest.mark.parametrize("name", [MASK, IMAGE])
def test_a_missing_or_broken_file_is_named_with_what_to_do(copied_dataset, name):
    path = copied_dataset / name
    path.write_bytes(b"not an image")
    refused(copied_dataset, f"{path}: cannot be read")
    path.unlink()
    command = f"leuko prepare folders PATH_TO_YOUR_FOLDER --out {copied_dataset}"
    refused(copied_dataset, f"{path} is missing", f"{command} --force")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((20, 24), 7, np.uint8), "value 7 on 480 pixel(s); expected 0 to 5"),
        (np.full((20, 24), -1, np.int32), "value -1 on 480 pixel(s)"),
        (np.full((20, 24), 0.5, np.float32), "32 bits of type F a channel"),
        (np.zeros((20, 24, 3), np.uint8), "holds colours"),
        (np.ones((24, 20), np.uint8), "20x24, but its image is 24x20"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(copied_dataset, mask, words):
    path = (copied_dataset / MASK).with_suffix(".tif")
    save(path, mask)
    path.rename(copied_dataset / MASK)
    refused(copied_dataset, "has 1 fault(s)", str(copied_dataset / MASK), words)


def test_many_faults_are_counted_and_the_first_shown(copied_dataset):
    for path in (copied_dataset / "masks").glob("baso*"):
        path.unlink()
    text = refused(copied_dataset, "has 8 fault(s)", "and 3 more")
    assert text.count("is missing") == 5


def test_only_the_cells_of_a_split_are_looked_at(copied_dataset):
    (copied_dataset / MASK).unlink()
    (copied_dataset / "images" / "mine.png").write_bytes(b"")
    assert {"missing-file", "extra-file"} <= found(copied_dataset).keys()
    write_few(copied_dataset, **{"eosi_1-1_0": "train", "eosi_2-1_0": "test"})
    assert quick_check(copied_dataset, split="few") == {"train": 1, "test": 1}
    rules = found(copied_dataset, split="few")
    assert {"missing-file", "extra-file"} & rules.keys() == set()
    with pytest.raises(DatasetError, match="no split 'none'"):
        full_audit(copied_dataset, split="none")


def test_a_fold_may_not_divide_a_group_but_the_papers_split_may(copied_dataset):
    text = "stem,part\nbaso_1-1_0,train\nbaso_1-2_0,test\n"
    for name in ("fold1", "paper"):
        (copied_dataset / "splits" / f"{name}.csv").write_text(text)
    refused(copied_dataset, "1 group(s) in train and test: basophil_1")
    assert quick_check(copied_dataset, split="paper") == {"train": 1, "test": 1}


def test_an_index_that_was_cut_short_or_emptied_is_noticed(copied_dataset):
    path = copied_dataset / "index.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-5]))
    refused(copied_dataset, str(path), "edited or cut short", split=None)
    path.write_text(lines[0])
    refused(copied_dataset, "holds no cell", split=None)
    assert f"{copied_dataset}: holds no cell" in found(copied_dataset)["broken-table"]


@pytest.fixture
def unlike_cells(copied_dataset) -> Path:
    """Return a dataset no two pictures of which look alike."""
    rng = np.random.default_rng(0)
    for path in (copied_dataset / "images").iterdir():
        noise = rng.integers(0, 256, (5, 6, 3), np.uint8)
        save(path, np.asarray(Image.fromarray(noise).resize((24, 20))))
    return copied_dataset


def test_the_full_audit_counts_a_dataset_and_notices_changed_files(unlike_cells):
    audit = full_audit(unlike_cells)
    assert tally(audit.findings) == {"error": 0, "warning": 40, "note": 0}
    assert {finding.rule for finding in audit.findings} == {"changed-file"}
    assert len(audit.rows) == 40
    assert audit.counts[""]["all"]["eosinophil"] == 8
    assert audit.counts["fold1"]["test"]["eosinophil"] == 4


def test_an_image_cut_short_passes_the_quick_check_only(copied_dataset):
    content = (copied_dataset / IMAGE).read_bytes()
    (copied_dataset / IMAGE).write_bytes(content[: len(content) - 40])
    assert quick_check(copied_dataset) == {"all": 40}
    (words,) = found(copied_dataset)["unreadable-file"]
    assert words.startswith(f"{copied_dataset / IMAGE}: cannot be read")


@pytest.mark.parametrize("name", ["index.csv", "splits/fold1.csv"])
def test_a_broken_table_is_a_finding_among_others(copied_dataset, name):
    (copied_dataset / name).write_bytes(b"a,b\nc,d\n")
    (words,) = found(copied_dataset)["broken-table"]
    assert words.startswith(str(copied_dataset / name))
    assert "the first line must be" in words


def test_a_planted_leak_is_found(unlike_cells):
    # fold1 tests slides 1 and 2, so these two groups are on its two sides.
    for folder in ("images", "masks"):
        with Image.open(unlike_cells / folder / "mono_1-1_0.png") as image:
            image.save(unlike_cells / folder / "mono_3-1_0.png", compress_level=9)
    rules = found(unlike_cells)
    assert rules["split-leak"] == [
        f"{unlike_cells}/splits/fold{k}.csv: mono_1-1_0 ({a}) shows what mono_3-1_0 "
        f"({b}) shows; alike to 100%"
        for k, a, b in ((1, "test", "train"), (2, "train", "test"))
    ]
    assert rules["near-duplicate"] == [
        "mono_1-1_0: shows what mono_3-1_0 shows (monocyte_1 and monocyte_3); "
        "alike to 100%"
    ]


def test_copies_with_two_classes_are_named_in_one_group_too(unlike_cells):
    for folder in ("images", "masks"):
        shutil.copy(
            unlike_cells / folder / "mono_1-1_0.png",
            unlike_cells / folder / "lymp_1-1_0.png",
        )
    index = unlike_cells / "index.csv"
    index.write_text(index.read_text().replace(",lymphocyte_1,", ",monocyte_1,"))
    rules = found(unlike_cells)
    assert rules["class-conflict"] == [
        "lymp_1-1_0 is lymphocyte, and mono_1-1_0, which shows the same, is monocyte; "
        "alike to 100%"
    ]
    assert "near-duplicate" not in rules


def test_mirrored_masks_are_named(copied_dataset):
    for path in (copied_dataset / "masks").iterdir():
        mask = np.zeros((20, 24), np.uint8)
        mask[4:12, 2:10] = np.array(Image.open(path)).max()
        save(path, mask)
        image = np.full((20, 24, 3), 200, np.uint8)
        image[np.fliplr(mask) > 0] = 60
        save(copied_dataset / "images" / path.name, image)
    (words,) = found(copied_dataset)["turned-masks"]
    assert words == (
        f"{copied_dataset}/masks: 40 of 40 masks fit their images better mirrored left "
        "to right"
    )


FOLD = Path("splits/fold1.csv")
GROUPS = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}
LEAKING = {"a": "train", "b": "test", "c": "test"}


def test_unknown_cells_and_empty_parts_are_found():
    findings = unfit_split(FOLD, {"x": "train", "a": "train"}, set(GROUPS))
    assert [f.words for f in findings] == [
        "names 1 cell(s) that are not in the index, first 'x'",
        "leaves train or test empty",
    ]


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("fold1", "error"),
        # Only the official names leak on purpose, not what begins like them.
        ("paper_fold1", "error"),
        ("paper", "note"),
        ("paper_mosaics", "note"),
    ],
)
def test_a_divided_group_is_an_error_but_in_the_papers_splits(name, severity):
    (finding,) = divided_groups(Path(f"splits/{name}.csv"), LEAKING, GROUPS)
    assert finding.severity == severity
    assert "1 group(s) in train and test: s1" in finding.words
    assert ("by design" in finding.words) == (severity == "note")


def test_classes_are_counted_by_split_and_part(tiny_dataset):
    rows = read_index(tiny_dataset)
    parts = {row.stem: "train" for row in rows[:10]} | {rows[10].stem: "test"}
    counts = class_counts({"mine": parts}, rows)
    assert counts[""]["all"] == dict.fromkeys(
        ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"), 8
    )
    assert counts["mine"] == {
        "train": {"basophil": 8, "eosinophil": 2},
        "test": {"eosinophil": 1},
    }
    assert [str(f) for f in absent_classes(counts)] == [
        "splits/mine.csv: train has no lymphocyte, no monocyte, no neutrophil",
        "splits/mine.csv: test has no basophil, no lymphocyte, no monocyte, no "
        "neutrophil",
    ]
