"""Eyepieces, fill, frames, banners and bars are found, and nothing of a smear is."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_red_cells import disc, drawn
from painted_network import paint
from predicted_fields import ColourPredictor, predicted, write_fields

from leuko_mm.cli.predict import outcome_lines
from leuko_mm.datasets.images import read_image
from leuko_mm.inference.not_smear import find_doubts, find_not_smear
from leuko_mm.inference.predictor import Predictor

SHAPE = (300, 400)
AT_HOME = np.eye(2, 3)


def smear(light=225, *, noise=2.0, red_cells=40, nuclei=True) -> np.ndarray:
    """Return a smear; nuclei are black, some of them cut by border and corner."""
    rng = np.random.default_rng(3)
    image = np.full((*SHAPE, 3), np.float32([light, light - 10, light - 5]))
    for x, y in rng.uniform((0, 0), SHAPE[::-1], (red_cells, 2)):
        image[disc(SHAPE, x, y, 14)] = (200, 150, 150)
    for x, y in ((0, 0), (400, 150), (200, 110), (390, 300)) * nuclei:
        image[disc(SHAPE, x, y, 32)] = (150, 120, 190)
        image[disc(SHAPE, x, y, 24)] = (18, 5, 24)
    image = cv2.GaussianBlur(image, (0, 0), 1) + rng.normal(0, noise, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def circle(image, *, radius=0.45, x=0.5, value=0, soft=1.0):
    """Return an image in an eyepiece; all of these tell what is visible, and where."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    apart = np.hypot(columns - x * width, rows - height / 2) - radius * width
    seen = np.clip(0.5 - apart / soft, 0, 1)[..., None]
    out = np.rint(image * seen + value * (1 - seen)).astype(np.uint8)
    return out, seen[..., 0] > 0.5, AT_HOME


def rotated(image, degrees, value, *, wide=False):
    height, width = image.shape[:2]
    place = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    size = (width, height)
    if wide:
        cos, sin = abs(place[0, :2])
        size = int(height * sin + width * cos), int(height * cos + width * sin)
        place[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    out = cv2.warpAffine(image, place, size, borderValue=(value,) * 3)
    seen = cv2.warpAffine(np.ones((height, width), np.uint8), place, size) > 0
    return out, seen, place


def framed(image, value, *, top=True, bottom=True, sides=True, ink=None):
    """Return an image in a frame; with ink, a bar and text are in it below or above."""
    n = image.shape[0] // 10
    around = (n * top, n * bottom, n * sides, n * sides)
    out = cv2.copyMakeBorder(image, *around, cv2.BORDER_CONSTANT, value=(value,) * 3)
    seen = cv2.copyMakeBorder(np.ones(image.shape[:2], np.uint8), *around, 0) > 0
    if ink is not None:
        y, size = 0 if top else image.shape[0], n / 50
        put = dict(fontFace=cv2.FONT_HERSHEY_SIMPLEX, fontScale=size, thickness=2)
        cv2.putText(out, "100 um", (n, y + n * 7 // 10), color=(ink,) * 3, **put)
        ends = (n * 5, y + n // 3), (n * 8, y + n * 6 // 10)
        cv2.rectangle(out, *ends, (ink,) * 3, -1)
    return out, seen, np.float64([[1, 0, n * sides], [0, 1, n * top]])


def bar(image, colour):
    out, seen = image.copy(), np.ones(image.shape[:2], bool)
    height, width = seen.shape
    rows = slice(int(0.86 * height), int(0.91 * height))
    out[rows, width // 2 : width * 3 // 4] = colour
    seen[rows, width // 2 : width * 3 // 4] = False
    return out, seen, AT_HOME


KINDS = {
    "circle": circle,
    "circle off centre": lambda image: circle(image, radius=0.5, x=0.4, value=5),
    "corners": lambda image: circle(image, radius=0.56),
    "soft circle": lambda image: circle(image, soft=0.05 * image.shape[1]),
    "white circle": lambda image: circle(image, value=255),
    "turned, black": lambda image: rotated(image, 5, 0),
    "turned, white": lambda image: rotated(image, 20, 255),
    "turned, larger, grey": lambda image: rotated(image, 12, 100, wide=True),
    "turned, larger, black": lambda image: rotated(image, 30, 0, wide=True),
    "black frame": lambda image: framed(image, 0),
    "white frame": lambda image: framed(image, 255),
    "grey frame": lambda image: framed(image, 100),
    "banner below": lambda image: framed(image, 0, top=False, sides=False, ink=255),
    "banner above": lambda image: framed(image, 255, bottom=False, sides=False, ink=0),
    "black bar": lambda image: bar(image, 0),
    "white bar": lambda image: bar(image, 255),
    "red bar": lambda image: bar(image, (255, 0, 0)),
}


@pytest.mark.parametrize(
    ("kind", "quality"),
    # Of colours JPEG keeps a quarter of the pixels: too few in so thin a bar.
    [*((k, None) for k in KINDS), *((k, 85) for k in KINDS if k != "red bar")],
)
def test_what_is_no_smear_is_found_and_covered(kind, quality):
    image, seen, _ = KINDS[kind](smear())
    if quality:
        ok, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert ok
        image = cv2.imdecode(code, cv2.IMREAD_COLOR)
    before = image.copy()
    areas = find_not_smear(image)
    true = 1 - seen.mean()
    assert areas.share == pytest.approx(true, abs=0.01 + 0.1 * true)
    found = areas.mask > 0
    assert (found | seen).mean() > 0.99
    filled = areas.filled(image)
    np.testing.assert_array_equal(image, before)
    far = cv2.dilate(areas.mask, np.ones((9, 9))) == 0
    np.testing.assert_array_equal(filled[far], image[far])
    # The smear continues across the edge.
    square = np.ones((5, 5), np.uint8)
    inside = found & (cv2.erode(areas.mask, square) == 0)
    outside = ~found & (cv2.dilate(areas.mask, square) > 0)
    step = filled[inside].mean(axis=0) - filled[outside].mean(axis=0)
    assert np.abs(step).max() < 15


@pytest.mark.parametrize(
    "image",
    [
        smear(),
        smear(noise=0),
        smear(light=290),
        smear(light=320, noise=0, red_cells=5),
        smear(light=95),
        np.full((*SHAPE, 3), 255, np.uint8),
        paint(np.where(disc(SHAPE, 200, 150, 120), 5, 0)),
    ],
    ids=["plain", "even", "bright", "saturated", "dark", "white", "one cell"],
)
def test_nuclei_dirt_and_bright_backgrounds_are_smear(image):
    rng = np.random.default_rng(0)
    assert find_not_smear(image) is None
    for x, y in rng.integers((0, 0), SHAPE[::-1], (9, 2)):
        dirt = cv2.convexHull(np.int32(rng.normal((x, y), 6, (9, 2))))
        cv2.fillConvexPoly(image, dirt, (3, 2, 4))
    assert find_not_smear(image) is None


def test_a_black_image_holds_no_cell(painted):
    found = Predictor(painted).predict(np.zeros((90, 120, 3), np.uint8))
    assert (found.cells, found.excluded) == ((), 1.0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "turned" not in kind])
def test_cells_are_those_without_it(painted, kind):
    labels = np.zeros(SHAPE, np.uint8)
    labels[disc(SHAPE, 150, 90, 25)] = 5
    labels[disc(SHAPE, 260, 170, 22)] = 2
    image, seen, place = KINDS[kind](paint(labels))
    found = Predictor(painted, scale=1).predict(image)
    assert [cell.class_id for cell in found.cells] == [5, 2]
    assert not any(cell.touches_border for cell in found.cells)
    wanted = cv2.warpAffine(labels, place, seen.shape[::-1], flags=cv2.INTER_NEAREST)
    assert (found.labels == wanted).mean() > 0.995
    for cell in found.cells:
        x0, y0, x1, y1 = cell.box
        assert (found.instances[y0:y1, x0:x1] == cell.id).sum() == cell.area
    # White beside a background that is nearly white does no harm.
    if "white" not in kind and kind != "banner above":
        assert found.excluded == pytest.approx(1 - seen.mean(), abs=0.02)


def test_a_cell_that_an_eyepiece_cuts_is_as_one_at_the_border(painted):
    labels = np.zeros(SHAPE, np.uint8)
    labels[disc(SHAPE, 20, 150, 30)] = 3
    image, seen, _ = circle(paint(labels))
    (cell,) = Predictor(painted, scale=1).predict(image).cells
    assert cell.touches_border
    assert cell.area == pytest.approx((seen & (labels > 0)).sum(), rel=0.15)
    gone, _, _ = circle(paint(labels), radius=0.37)
    assert Predictor(painted, scale=1).predict(gone).cells == ()


def test_the_share_is_told_only_where_there_is_one(tmp_path):
    class Excluding(ColourPredictor):
        def predict(self, image, **options):
            found = super().predict(image, **options)
            return replace(found, excluded=0.25 * (self.seen == 2))

    write_fields(tmp_path / "in", ["a.png", "b.png"])
    plain = predicted(tmp_path, out="plain")
    assert "smear" not in "".join(outcome_lines(plain, tmp_path))
    assert "excluded" not in (tmp_path / "plain/images.csv").read_text()
    outcome = predicted(tmp_path, predictor=Excluding())
    (line,) = (x for x in outcome_lines(outcome, tmp_path) if "smear" in x)
    assert line.startswith("1 image is not smear all over: 25 % was left out")
    with (tmp_path / "out/images.csv").open() as file:
        shares = [float(row["excluded"]) for row in csv.DictReader(file)]
    assert shares == [0, 0.25]
    texts = [(tmp_path / f"out/images/{n}.png/record.json").read_text() for n in "ab"]
    assert [json.loads(text).get("excluded") for text in texts] == [None, 0.25]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "25 % is no smear and was left out" in page


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda image: image, ()),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 4), ("out of focus",)),
        (
            lambda image: np.repeat(image[..., 1:2], 3, axis=2),
            ("without colour",),
        ),
        (lambda image: image[::6, ::6], ("too coarse",)),
    ],
)
def test_what_makes_classes_doubtful_is_said(change, doubt):
    image = np.uint8(drawn(50, seed=1) * [1, 0.8, 0.9])
    changed = change(image)
    assert find_doubts(changed, 50 * len(changed) / len(image)) == doubt


def test_doubtful_images_are_named(tmp_path):
    class Doubting(ColourPredictor):
        def predict(self, image, **options):
            found = super().predict(image, **options)
            return replace(found, doubts=("out of focus",) * (self.seen == 2))

    write_fields(tmp_path / "in", ["a.png", "b.png"])
    outcome = predicted(tmp_path, predictor=Doubting())
    (line,) = (x for x in outcome_lines(outcome, tmp_path) if "focus" in x)
    assert line.startswith("out of focus in b.png (1 of 2 images): classes of cells")
    with (tmp_path / "out/images.csv").open() as file:
        reasons = [row["reason"] for row in csv.DictReader(file)]
    assert reasons == ["", "out of focus"]
    assert line in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def compared(kind, image, before, predictor):
    """Return of how many cells the picture with it tells something else."""
    shown, seen, place = KINDS[kind](image)
    after = predictor.predict(shown)
    size = seen.shape[::-1]
    nearest = dict(dsize=size, flags=cv2.INTER_NEAREST)
    wanted = cv2.warpAffine(before.instances.astype(np.float32), place, **nearest)
    known, differing = set(), 0
    for cell in before.cells:
        visible = (wanted == cell.id) & seen
        ids = set(after.instances[visible].tolist()) - {0}
        known |= ids
        if visible.sum() < 0.97 * cell.area:
            continue  # cut off by what was drawn
        both = [(after.instances == i) & visible for i in ids]
        best = max(zip(both, ids, strict=True), key=lambda b: b[0].sum(), default=None)
        other = best is None or after.cells[best[1] - 1].class_id != cell.class_id
        # The class of one that the border cuts may be a guess, which one pixel changes.
        if best is None or (other and cell.confidence >= 0.5):
            differing += 1
            continue
        either = (after.instances == best[1]) | visible
        differing += best[0].sum() < 0.8 * (either & seen).sum()
    return differing + sum(cell.id not in known for cell in after.cells)


@pytest.mark.slow
def test_real_cells_are_those_without_it(shared_folder):
    """Ten fields and forty crops of BCISC, each drawn over in three ways."""
    bcisc = shared_folder / "datasets/BCISC"
    paths = sorted((bcisc / "original-images").glob("*/*.jpg"))
    for short in ("baso", "eosi", "lymp", "mono", "neut"):
        paths += sorted((bcisc / "sub-images/images").glob(f"{short}_*.jpg"))[::6][:8]
    if len(paths) != 50:
        pytest.skip(f"{len(paths)} pictures of BCISC, expected fifty")
    predictor, kinds = Predictor.from_zoo(), list(KINDS)
    exact, others = 0, 0
    for number, path in enumerate(paths):
        image = read_image(path)
        before = predictor.predict(image)
        for turn in range(3):
            kind = kinds[(number + 6 * turn) % len(kinds)]
            differing = compared(kind, image, before, predictor)
            if "frame" in kind or "banner" in kind:
                exact += differing
            else:
                others += differing
    # Of a few cells, most of them cut by the border of their crop, class or scale are
    # no sure ones: turned or seen in part, they are another.
    assert (exact, others <= 8) == (0, True)
