"""Prediction over many files: inputs, outputs, failures and resuming."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image
from predicted_fields import (
    HOSTILE_NAMES,
    ColourPredictor,
    content_of,
    predicted,
    write_broken,
    write_fields,
)

from leuko_mm.classes import CLASS_COLOURS, label_lut
from leuko_mm.cli.predict import outcome_lines
from leuko_mm.datasets.images import ImageSearch
from leuko_mm.errors import UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.inference import folder_run
from leuko_mm.inference.cells import ImageScale
from leuko_mm.inference.folder_run import plan_inputs
from leuko_mm.inference.mask_images import refuse_mask
from leuko_mm.inference.scale import ANOTHER_SIZE
from leuko_mm.processes import StoppedBySignal


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_output_says_the_same(place):
    write_fields(place / "in", ["a.png", "b/a.png"], kinds=(1, 5, 5))
    outcome = predicted(place, coco=True, geojson=True)
    out = place / "out"
    assert [record["image"] for record in outcome.records] == ["a.png", "b/a.png"]
    cells = table(out / "cells.csv")
    assert [cell["id"] for cell in cells] == ["1", "2", "3"] * 2
    assert [cell["class"][:4] for cell in cells[:3]] == ["baso", "neut", "neut"]
    first = cells[0]
    assert float(first["confidence"]) == float(first["p_basophil"]) == 0.94
    box = [int(first[key]) for key in ("x0", "y0", "x1", "y1")]
    with Image.open(out / "images" / "a.png" / "labels.png") as labels:
        assert labels.getpalette()[3:6] == list(CLASS_COLOURS[1])
        mask = np.array(labels)
    rows, columns = np.nonzero(mask == 1)
    assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert int(first["area_px"]) == (mask == 1).sum()
    # Wilson's interval for 2 of 6, by hand.
    text = (out / "differential.csv").read_text()
    assert "neutrophil,2,33.33,9.68,70.0\n" in text
    cutouts = sorted(path.name for path in (out / "images/a.png/cells").iterdir())
    assert cutouts == ["001_basophil.png", "002_neutrophil.png", "003_neutrophil.png"]
    coco = json.loads((out / "coco.json").read_text())
    assert len(coco["annotations"]) == 6
    assert (out / "geojson" / "b" / "a.geojson").is_file()
    with Image.open(out / "images/a.png/overlay.png") as overlay:
        assert np.array(overlay)[box[1], (box[0] + box[2]) // 2].tolist() == [255, 0, 0]
    assert json.loads((out / "predict.json").read_text())["complete"] is True


def test_cells_without_a_class_are_apart_in_every_output(place):
    write_fields(place / "in", ["a.png", "b.png"], kinds=(1, 5, 5))
    predictor = ColourPredictor(accept=0.86, others=(1,))
    predicted(place, predictor=predictor, coco=True, geojson=True)
    out = place / "out"
    cells = table(out / "cells.csv")[:3]
    assert [cell["answer"] for cell in cells] == ["other", "neutrophil", "unsure"]
    assert [cell["class"] for cell in cells] == ["basophil", *["neutrophil"] * 2]
    assert [float(cell["other"]) for cell in cells] == [0.8, 0, 0]
    text = (out / "differential.csv").read_text()
    assert "unsure,2,50.0,15.0,85.0\n" in text  # of 4 leukocytes
    assert "other,2,50.0," in text  # on 100 leukocytes, as 2 on 4
    header, first, _ = (out / "images.csv").read_text().splitlines()
    assert "neutrophil,unsure,other,scale" in header
    assert ",3,0,0,0,0,1,1,1,1.0," in first  # cells, then by answer
    folder = out / "images/a.png"
    mask = np.array(Image.open(folder / "labels.png"))
    assert (mask == 255).sum() == int(cells[0]["area_px"])
    drawn = np.array(Image.open(folder / "overlay.png"))
    x0, y0, x1 = (int(cells[0][key]) for key in ("x0", "y0", "x1"))
    assert drawn[y0, (x0 + x1) // 2].tolist() == [128, 128, 128]
    coco = json.loads((out / "coco.json").read_text())
    assert coco["categories"][-1] == dict(id=6, name="other")
    assert [e["category_id"] for e in coco["annotations"][:3]] == [6, 5, 5]
    features = json.loads((out / "geojson/a.geojson").read_text())["features"]
    assert features[2]["properties"]["answer"] == "unsure"


def test_outputs_of_a_model_of_classes_alone_name_nothing_more(place):
    write_fields(place / "in", ["a.png"])
    predicted(place, coco=True, geojson=True)
    for file, content in content_of(place / "out").items():
        named = [w for w in (b"unsure", b"other", b"answer") if w in content]
        assert not named or file == "report.html"


def test_hostile_names_and_broken_files(place):
    write_fields(place / "in", HOSTILE_NAMES)
    broken = write_broken(place / "in", 5)
    outcome = predicted(place)
    assert len(outcome.records) == len(HOSTILE_NAMES)
    assert sorted(outcome.failed) == broken
    assert outcome.failed["broken 00.png"] == "empty, 0 bytes"
    assert all(str(place) not in reason for reason in outcome.failed.values())
    rows = table(place / "out" / "images.csv")
    assert [row["status"] for row in rows].count("failed") == 5
    names = {row["image"] for row in rows}
    assert {"'=cmd|calc.png", "'+1.png", "'-1.png", "'@sum.png"} <= names
    for file in ("cells.csv", "images.csv"):
        with open(place / "out" / file, newline="", encoding="utf-8") as opened:
            cells = [cell for row in csv.reader(opened) for cell in row]
        assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script>alert" not in page


class Disturbed(ColourPredictor):
    """Calls a function at the second image."""

    def __init__(self, function, *arguments):
        super().__init__()
        self.disturb = partial(function, *arguments)

    def predict(self, image, **options):
        if self.seen == 1:
            self.disturb()
        return super().predict(image, **options)


@pytest.fixture
def heeds_ctrl_c():
    """Let SIGINT stop this process even where a shell's ``&`` has it ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("heeds_ctrl_c")
def test_a_stopped_folder_is_consistent_and_goes_on(place, number):
    write_fields(place / "in", ["a.png", "b.png", "c.png"])
    predicted(place, out="whole")
    with pytest.raises(StoppedBySignal, match="--resume") as stopped:
        predicted(place, predictor=Disturbed(os.kill, os.getpid(), number))
    assert stopped.value.exit_code == 128 + number
    out = place / "out"
    there = {path.name for path in out.iterdir()}
    assert there == {"images", "predict.json", ".lock"}
    assert [path.name for path in (out / "images").iterdir()] == ["a.png"]
    assert predicted(place, resume=True).new == 2
    assert content_of(out) == content_of(place / "whole")
    again = ColourPredictor()
    assert predicted(place, predictor=again, resume=True).new == again.seen == 0
    write_fields(place / "in", ["b.png"], kinds=(4,))
    assert predicted(place, predictor=again, resume=True).new == again.seen == 1


def test_results_are_not_replaced_unasked(place):
    write_fields(place / "in", ["a.png"])
    predicted(place)
    with pytest.raises(UsageError, match="--resume continues it, --force"):
        predicted(place)
    with pytest.raises(UsageError, match="tta False, now True"):
        predicted(place, resume=True, tta=True)
    with pytest.raises(UsageError, match=r"accept None, now 0\.9"):
        predicted(place, resume=True, accept=0.9)
    (place / "in" / "a.png").rename(place / "in" / "z.png")
    before = content_of(place / "out")
    with pytest.raises(UsageError, match=r"1 image.* not named now, first a.png"):
        predicted(place, resume=True)
    assert content_of(place / "out") == before
    outcome = predicted(place, force=True, tta=True)
    assert [record["image"] for record in outcome.records] == ["z.png"]
    assert [p.name for p in (place / "out" / "images").iterdir()] == ["z.png"]


def test_a_large_image_waits_for_its_limit_to_be_lifted(place):
    Image.new("L", (300, 20), 255).save(place / "in" / "wide.png")
    refused = predicted(place, max_megapixels=0.005)
    assert "--max-megapixels 1" in refused.failed["wide.png"]
    assert not refused.records
    allowed = predicted(place, max_megapixels=0.006, resume=True)
    assert [record["image"] for record in allowed.records] == ["wide.png"]


def test_an_error_of_the_network_stops_no_other_image(place):
    write_fields(place / "in", ["a.png", "b.png"])

    def fail():
        raise RuntimeError("out of memory")

    outcome = predicted(place, predictor=Disturbed(fail))
    assert outcome.failed == {"b.png": "out of memory"}
    assert [record["image"] for record in outcome.records] == ["a.png"]


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "b/a.JPG", "b/c/d.tif", "b/notes.txt", ".hid/x.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "in" / "b" / ".x.png").write_bytes(b"x")
    return tmp_path / "in"


def names(*paths, **more):
    return list(plan_inputs(list(map(str, paths)), **more)[1])


def test_images_are_named_once_below_what_all_paths_share(tree):
    assert names(tree) == ["a.png", "b/a.JPG", "b/c/d.tif"]
    assert names(tree, tree / "b", tree / "a.png") == names(tree)
    assert names(tree, search=ImageSearch(avoid=tree / "b")) == ["a.png"]
    assert names(tree / "b" / "c", tree / "a.png") == ["a.png", "b/c/d.tif"]
    assert names(tree / "**" / "*.tif") == ["d.tif"]
    assert names(tree / "b" / "*.txt") == ["notes.txt"]
    (tree / "[a].png").write_bytes(b"x")
    assert names(tree / "[a].png") == ["[a].png"], "a file before it is a pattern"


@pytest.mark.parametrize(
    "values", [(0, 255), (0, 3), (0, 128, 255), (40, 90), (0, 1, 2, 3, 4, 5, 255)]
)
def test_a_mask_among_the_fields_is_refused_with_its_values(values):
    mask = np.resize(np.array(values, np.uint8), (6, 7))
    with pytest.raises(UsageError, match=f"{values[1]}.*: a mask"):
        refuse_mask(np.repeat(mask[..., None], 3, axis=2))


def test_photographs_are_no_masks():
    grey = np.resize(np.arange(0, 200, 25, dtype=np.uint8), (6, 7))
    refuse_mask(np.repeat(grey[..., None], 3, axis=2))
    refuse_mask(np.full((6, 7, 3), 255, np.uint8))
    # Grey in its first row, as a frame is, and coloured below.
    framed = np.zeros((6, 7, 3), np.uint8)
    framed[2:, 2:] = (0, 0, 255)
    framed[0, 0] = 255
    refuse_mask(framed)


def soft_mask(kind: str) -> np.ndarray:
    """Return a white disc on black whose edge is blurred, nearly or quite grey."""
    mask = np.zeros((200, 300), np.uint8)
    cv2.circle(mask, (150, 100), 50, 255, -1)
    soft = np.repeat(cv2.GaussianBlur(mask, (3, 3), 0)[..., None], 3, axis=2)
    if kind == "tinted":
        soft[..., 1] = np.maximum(soft[..., 1], 3)
    if kind == "lossy":
        soft = cv2.imdecode(cv2.imencode(".jpg", soft)[1], cv2.IMREAD_COLOR)
    return soft


@pytest.mark.parametrize("kind", ["grey", "tinted", "lossy"])
def test_a_mask_with_soft_edges_is_one(kind):
    """Two of the masks beside BCISC's fields are like this."""
    with pytest.raises(UsageError, match="black and white: a mask"):
        refuse_mask(soft_mask(kind))


def test_dark_and_overexposed_photographs_are_none():
    rng = np.random.default_rng(0)
    refuse_mask(rng.integers(0, 14, (50, 60, 3), dtype=np.uint8))
    burnt = np.full((50, 60, 3), 250, np.uint8)
    burnt[10:20, 10:30] = (90, 40, 120)
    refuse_mask(burnt)


def test_a_second_run_does_not_count_the_first(place):
    write_fields(place, ["field.png"])
    first = predicted(place, "", out="run1")
    assert [record["image"] for record in first.records] == ["field.png"]
    for paths in ([""], ["field.png", "run1"], ["**/*.png"]):
        again = predicted(place, *paths, out="run2", force=True)
        assert [record["image"] for record in again.records] == ["field.png"]
        assert "leuko's own results (run1" in again.left_out[0]
    with pytest.raises(UsageError, match=r"no image in .*left out: .*run1"):
        predicted(place, "run1/images/field.png", out="run3")


def test_a_closed_folder_is_named(place, closed):
    write_fields(place / "in", ["a.png", "b.png", "closed/c.png"])
    outcome = predicted(place)
    assert outcome.closed == [str(place / "in" / "closed")]
    assert outcome.left_out == ["left out: 1 folder that cannot be opened (closed)"]
    assert "cannot be opened (closed)" in (place / "out/report.html").read_text()


def test_copies_are_named(place):
    write_fields(place / "in", ["f1.png", "g.png"])
    assert predicted(place, out="none").notes() == []
    shutil.copy(place / "in" / "f1.png", place / "in" / "f1 - Copy.png")
    os.link(place / "in" / "g.png", place / "in" / "linked g.png")
    assert predicted(place).notes() == [
        "2 images have the content of others (f1 - Copy.png = f1.png, linked g.png = "
        "g.png); their cells count again"
    ]


def test_one_field_in_several_encodings_is_named(place):
    write_fields(place / "in", ["a.png", "b.png"])
    for name, own in (("a.png", "same.tif"), ("a.png", "a.BMP"), ("b.png", "b.jpg")):
        with Image.open(place / "in" / name) as image:
            image.convert("RGB").save(place / "in" / own)
    shutil.copy(place / "in" / "b.png", place / "in" / "b2.png")
    assert predicted(place).notes() == [
        "3 images have the content of others (a.png = a.BMP, same.tif = a.BMP, "
        "b2.png = b.png); their cells count again",
        "1 name(s) with several suffixes (b.jpg and b.png): if they show the same, "
        "their cells count again",
    ]


def test_palette_and_class_colours_among_the_fields_are_masks(place):
    write_fields(place / "in", ["a.png"])
    labels = np.zeros((40, 60), np.uint8)
    for identity in range(1, 6):
        labels[5:20, 10 * identity : 10 * identity + 6] = identity
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    for name in ("ours", "theirs"):
        mask = Image.fromarray(labels, "P")
        mask.putpalette((label_lut() if name == "ours" else colours).tobytes())
        mask.save(place / "in" / f"{name}.png")
    Image.fromarray(label_lut()[labels]).save(place / "in" / "colours.png")
    outcome = predicted(place)
    assert [record["image"] for record in outcome.records] == ["a.png"]
    assert sorted(outcome.failed) == ["colours.png", "ours.png", "theirs.png"]
    assert all("6 flat colours: a mask" in why for why in outcome.failed.values())
    noise = Image.fromarray(rng.integers(60, 200, (40, 60, 3), dtype=np.uint8))
    refuse_mask(np.array(noise.quantize(16).convert("RGB")), palette=True)


def test_a_name_that_is_no_text_reaches_the_page(place):
    name = os.fsdecode(b"Gr\xf6sse.png")
    write_fields(place / "in", ["plain.png"])
    shutil.copy(place / "in" / "plain.png", place / "in" / name)
    both = dict(coco=True, geojson=True)
    predicted(place, **both)
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "Gr\ufffdsse.png" in page
    assert 'href="./images/Gr%F6sse.png/overlay.png"' in page
    assert predicted(place, resume=True, **both).new == 0


def test_the_longest_names_have_a_file_for_qupath(place):
    names = ["a" * 251 + ".png", "é" * 125 + ".png", "a" * 250 + "b.png"]
    write_fields(place / "in", names)
    assert len(predicted(place, geojson=True).records) == 3
    assert len(list((place / "out" / "geojson").iterdir())) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_pipes_and_devices_are_not_read(place):
    write_fields(place / "in", ["a.png"])
    os.mkfifo(place / "in" / "pipe.png")
    for paths in (["in"], ["in/a.png", "in/pipe.png"], ["in/*"]):
        outcome = predicted(place, *paths, force=True)
        assert [record["image"] for record in outcome.records] == ["a.png"]
        assert outcome.left_out == ["left out: 1 pipe or device (pipe.png)"]
    os.mkfifo(place / "net.onnx")
    with pytest.raises(UsageError, match=r"net\.onnx is no file"):
        predicted(place, checkpoint="net.onnx", force=True)


def test_an_empty_path_is_not_this_folder(place, monkeypatch):
    monkeypatch.chdir(place)
    write_fields(place, ["a.png"])
    with pytest.raises(UsageError, match="an empty path"):
        plan_inputs([""])


def test_what_is_done_is_kept_while_a_file_cannot_be_opened(place, monkeypatch):
    write_fields(place / "in", ["a.png", "b.png"])
    predicted(place)

    def closed(path):
        if path.name == "a.png":
            raise PermissionError(13, "Permission denied", str(path))
        return sha256_of_file(path)

    with monkeypatch.context() as patched:
        patched.setattr(folder_run, "sha256_of_file", closed)
        outcome = predicted(place, resume=True)
    assert list(outcome.failed) == ["a.png"]
    assert "Permission denied" in outcome.failed["a.png"]
    again = ColourPredictor()
    assert len(predicted(place, predictor=again, resume=True).records) == 2
    assert again.seen == 0


@pytest.mark.parametrize(
    "name", ["overlay.png", "labels.png", "cells/001_basophil.png"]
)
def test_a_file_that_is_missing_is_made_again(place, name):
    write_fields(place / "in", ["a.png", "b.png"])
    predicted(place)
    before = content_of(place / "out")
    (place / "out" / "images" / "a.png" / name).unlink()
    assert predicted(place, resume=True).new == 1
    assert content_of(place / "out") == before


def test_what_could_not_be_used_is_said_while_a_run_continues(place):
    write_fields(place / "in", ["a.png"])
    (name,) = write_broken(place / "in", 1)
    predicted(place)
    write_fields(place / "in", ["c.png"])
    state, seen = place / "out" / "predict.json", []

    def progress(*_):
        seen.append(list(json.loads(state.read_text())["failed"]))

    predicted(place, resume=True, progress=progress)
    assert seen[0] == [name]


def test_images_of_another_magnification_are_named(place):
    class Measuring(ColourPredictor):
        def predict(self, image, *, scale=None):
            found, note = super().predict(image), f"1; {ANOTHER_SIZE}: 9 pixels"
            note = note if self.seen > 1 else "1"
            return replace(found, scale=ImageScale(1.0, "red cells", 1.0, note=note))

    write_fields(place / "in", [f"{letter}.png" for letter in "abcdefgh"])
    outcome = predicted(place, predictor=Measuring())
    note = outcome.notes()[0]
    assert note.startswith(
        "red cells have another size in b.png, c.png, d.png, e.png, f.png, ... (7 of "
        "8 images): cells there may be missed"
    )
    assert "1; image by image in images.csv" in outcome_lines(outcome, place)
    assert note in (place / "out" / "report.html").read_text()
