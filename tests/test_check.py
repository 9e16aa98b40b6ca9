"""``leuko check`` as a job: what it writes, and what it refuses to write over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.check import SHOWN, CheckRequest, as_json, check, check_page, class_labels
from leuko_mm.datasets.audit import full_audit
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError


@pytest.fixture
def smears(tiny_home, tmp_path) -> Path:
    """Return a synthetic dataset that a test may damage."""
    return Path(shutil.copytree(tiny_home / "synthetic", tmp_path / "smears"))


def a_mask(root: Path) -> Path:
    return sorted((root / "masks").iterdir())[0]


def test_page_and_data_are_written(smears, tmp_path):
    a_mask(smears).unlink()
    out, file = tmp_path / "new" / "out", tmp_path / "found.json"
    audit = check(CheckRequest(str(smears), out=out, json=file))
    assert sorted(p.name for p in out.iterdir()) == ["check.html", "check.json"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]
    content = json.loads(file.read_text())
    assert content == json.loads((out / "check.json").read_text())
    assert content["tally"]["error"] == 1
    (error,) = [f for f in content["findings"] if f["severity"] == "error"]
    assert error["file"] == f"masks/{a_mask_name(audit)}.png"
    assert error["words"] == "is missing"
    assert error["cure"]
    assert content["cells"] == len(audit.rows)
    assert content["counts"][""]["all"] == audit.counts[""]["all"]
    assert len(content["stains"]) == content["groups"] > 0
    assert "is missing" in (out / "check.html").read_text()


def a_mask_name(audit) -> str:
    (missing,) = [f for f in audit.findings if f.rule == "missing-file"]
    return missing.stems[0]


def test_a_former_check_is_replaced_only_with_force(smears, tmp_path):
    out, file = tmp_path / "out", tmp_path / "found.json"
    request = CheckRequest(str(smears), out=out, json=file)
    check(request)
    first = (out / "check.html").read_bytes()
    with pytest.raises(UsageError, match="holds a check; add --force"):
        check(request)
    with pytest.raises(UsageError, match="exists; add --force"):
        check(CheckRequest(str(smears), json=file))
    check(CheckRequest(str(smears), out=out, json=file, force=True))
    assert (out / "check.html").read_bytes() == first


@pytest.mark.parametrize("force", [False, True])
def test_other_things_are_never_replaced(smears, tmp_path, force):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        check(CheckRequest(str(smears), out=out, force=force))
    with pytest.raises(UsageError, match="is a folder"):
        check(CheckRequest(str(smears), json=out, force=force))
    with pytest.raises(UsageError, match="something else"):
        check(CheckRequest(str(smears), out=out / "notes.txt", force=force))
    assert [p.name for p in out.iterdir()] == ["notes.txt"]


def test_nothing_is_left_where_writing_fails(smears, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr("leuko_mm.check.render_check_report", no_space)
    with pytest.raises(UsageError, match="no space left"):
        check(CheckRequest(str(smears), out=tmp_path / "new" / "out"))
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        check(CheckRequest(str(tmp_path / "nothing"), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_many_findings_are_shown_in_part_and_listed_in_full(smears):
    for mask in (smears / "masks").iterdir():
        with Image.open(mask) as opened:
            labels = np.array(opened)
        Image.fromarray(np.where(labels, 9, 0).astype(np.uint8)).save(mask)
    audit = full_audit(smears)
    (section,) = [s for s in check_page(audit).sections if "outside" in s.title]
    assert len(section.shown) == SHOWN
    assert len(section.shown) + len(section.further) == len(audit.rows)
    (picture,) = section.shown[0].pictures
    assert picture.image.shape[:2] == picture.labels.shape


@pytest.mark.parametrize("size", [(5, 5), (200, 40)])
def test_a_mask_of_another_size_is_not_drawn(smears, size):
    Image.new("L", size, 1).save(a_mask(smears))
    audit = full_audit(smears)
    shown = [f for s in check_page(audit).sections for f in s.shown]
    (found,) = [f for f in shown if f.file == f"masks/{a_mask(smears).name}"][:1]
    assert all(picture.labels is None for picture in found.pictures)


def test_one_split_is_named(smears):
    audit = full_audit(smears, split="fold1")
    page = check_page(audit, "fold1")
    assert page.summary.endswith("split fold1.")
    assert page.closing.endswith("--split fold1")
    assert {row.split for row in page.counts} == {"", "fold1"}
    assert as_json(audit, "fold1")["split"] == "fold1"


def test_binary_classes_have_their_colours():
    background, leukocyte = class_labels(["background", "leukocyte"])
    assert (leukocyte.name, leukocyte.colour) == ("leukocyte", (255, 255, 255))
    assert background.colour == (0, 0, 0)
    shorts = [label.short for label in class_labels(["background", "neutrophil"])]
    assert shorts == ["bg", "neut"]
