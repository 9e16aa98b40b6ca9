"""From an image to cells by a network whose answer is known; scaling and tiles."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from drawn_red_cells import disc
from painted_network import paint
from PIL import Image

from leuko_mm.datasets.images import ImageFileError
from leuko_mm.inference.predictor import NetworkImage, Predictor, probability_bands
from leuko_mm.registry import TRANSFORMS


@pytest.fixture
def image():
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def test_shrunk_it_is_what_training_would_have_seen(image):
    seen = NetworkImage(image, 0.5)
    assert seen.shape == seen.grid == (30, 45)
    wanted = cv2.resize(image, (45, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen.window(slice(0, 30), slice(0, 45)), wanted)


def test_enlarged_its_parts_are_those_of_the_whole(image):
    seen = NetworkImage(image, 1.7)
    assert (seen.shape, seen.grid) == ((102, 153), (60, 90))
    wanted = cv2.resize(image, (153, 102), interpolation=cv2.INTER_LINEAR)
    for rows, columns in [
        (slice(0, 102), slice(0, 153)),
        (slice(0, 40), slice(100, 153)),
        (slice(37, 80), slice(20, 60)),
    ]:
        part = seen.window(rows, columns).astype(int)
        assert np.abs(part - wanted[rows, columns]).max() <= 3


@pytest.mark.parametrize(
    "enhance",
    [
        dict(type="leuko_mm.AHERetinex"),
        dict(type="leuko_mm.AHERetinex", reading="rgb", window=64),
        dict(type="leuko_mm.AHERetinex", channel_order="rgb"),
        dict(type="leuko_mm.ValueEqualisation", window=64),
    ],
)
def test_the_enhancement_is_that_of_the_training_at_its_scale(image, enhance):
    seen = NetworkImage(image, 0.5, enhance=enhance, enhanced_at=2.0)
    # What a loader does, whose images are BGR.
    bgr = np.ascontiguousarray(image[..., ::-1])
    enhanced = TRANSFORMS.build(enhance)({"img": bgr})["img"][..., ::-1]
    wanted = cv2.resize(enhanced, (45, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen.window(slice(0, 30), slice(0, 45)), wanted)


class DrawsNoise:
    """An enhancement that draws random numbers."""

    def __call__(self, results):
        return dict(img=np.random.randint(0, 256, results["img"].shape, np.uint8))


def test_an_enhancement_that_draws_numbers_repeats_its_answer(image, monkeypatch):
    monkeypatch.setitem(TRANSFORMS.module_dict, "DrawsNoise", DrawsNoise)
    enhance = dict(type="leuko_mm.DrawsNoise")
    one, other = (NetworkImage(image, 1.0, enhance=enhance) for _ in range(2))
    np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.3])
@pytest.mark.parametrize("heights", [13, 1000])
def test_bands_come_back_in_the_size_of_the_grid(image, factor, heights):
    seen = NetworkImage(image, factor)
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    places = np.stack([rows / seen.shape[0], columns / seen.shape[1]])
    bands = [
        (first, places[:, first : first + heights])
        for first in range(0, seen.shape[0], heights)
    ]
    out = np.full((2, *seen.grid), np.nan)
    following = 0
    for first, band in seen.on_grid(bands):
        assert first == following
        following += band.shape[1]
        out[:, first:following] = band
    assert following == seen.grid[0]
    height, width = seen.grid
    wanted = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    assert np.abs(out - wanted).max() <= 1.0 / height


SHAPE = (150, 260)


@pytest.fixture
def labels():
    """Return three cells: a neutrophil, an eosinophil, and a lymphocyte cut off."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[disc(SHAPE, 60, 60, 25)] = 5
    labels[disc(SHAPE, 150, 90, 22)] = 2
    labels[disc(SHAPE, 255, 40, 20)] = 3
    labels[disc(SHAPE, 120, 20, 3)] = 1  # dirt
    return labels


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.7])
def test_cells_are_found_named_and_measured(painted, labels, factor):
    predictor = Predictor(painted, scale=factor, tile=64 if factor == 1 else 512)
    # Red cells are 20 network pixels wide, so larger in an image that is shrunk.
    predictor.min_area = 300
    found = predictor.predict(paint(labels))
    assert dict(found.counts) == dict(
        basophil=0, eosinophil=1, lymphocyte=1, monocyte=0, neutrophil=1
    )
    assert found.labels.shape == found.instances.shape == SHAPE
    wanted = np.where(labels == 1, 0, labels)
    assert (found.labels == wanted).mean() > 0.985
    assert sorted(c.id for c in found.cells) == [1, 2, 3]
    for cell in found.cells:
        own = found.instances == cell.id
        assert cell.area == own.sum()
        assert np.unique(found.labels[own]).tolist() == [cell.class_id]
        rows, columns = np.nonzero(own)
        x0, y0, x1, y1 = cell.box
        assert (x0, x1) == (columns.min(), columns.max() + 1)
        assert (y0, y1) == (rows.min(), rows.max() + 1)
        assert cell.centroid == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5))
        assert cell.touches_border == (cell.class_id == 3)
        assert cell.confidence == max(cell.probabilities) > 0.9
        assert sum(cell.probabilities) == pytest.approx(1)
        assert cell.probabilities[0] == 0
        if not cell.touches_border:
            assert cell.eccentricity < 0.35
            assert cell.solidity > 0.93
            assert cell.circularity > 0.8


def test_a_long_cell_is_told_from_a_round_one(painted):
    labels = np.zeros(SHAPE, np.uint8)
    labels = cv2.ellipse(labels, (100, 70), (60, 20), 30, 0, 360, 4, -1)
    (cell,) = Predictor(painted, scale=1).predict(paint(labels)).cells
    assert cell.eccentricity == pytest.approx(np.sqrt(1 - 1 / 9), abs=0.01)
    assert cell.circularity < 0.75
    assert cell.solidity > 0.95


def test_one_cell_with_two_colours_is_one_of_the_commoner(painted):
    labels = np.zeros(SHAPE, np.uint8)
    labels[disc(SHAPE, 80, 80, 30)] = 4
    labels[:75][labels[:75] > 0] = 5
    prediction = Predictor(painted, scale=1).predict(paint(labels))
    (cell,) = prediction.cells
    assert prediction.classes[cell.class_id] == "monocyte"
    assert 0.5 < cell.confidence < 0.65
    assert set(np.unique(prediction.labels)) == {0, 4}


def test_tiles_turns_and_scale_leave_the_answer_alone(painted, labels):
    image = paint(labels)
    whole = Predictor(painted, scale=1).predict(image)
    for options in (dict(tile=192), dict(tta=True), dict(tile=192, tta=True)):
        other = Predictor(painted, scale=1, **options).predict(image)
        assert (other.labels == whole.labels).mean() > 0.999


def test_arrays_files_and_many_of_them_are_taken(painted, labels, tmp_path):
    predictor = Predictor(painted, scale=1)
    file = tmp_path / "it's <one>.png"
    Image.fromarray(paint(labels)).save(file)
    one = predictor.predict(file)
    assert one.source == file
    assert dict(predictor.predict(str(file)).counts) == dict(one.counts)
    many = predictor.predict(iter([paint(labels), file]))
    assert [dict(p.counts) for p in many] == [dict(one.counts)] * 2
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"bad\.png"):
        predictor.predict(tmp_path / "bad.png")


def test_an_image_without_a_cell_is_a_result(painted):
    found = Predictor(painted).predict(np.full((40, 30, 3), 235, np.uint8))
    assert (found.cells, found.scale.how) == ((), "assumed")
    assert not found.labels.any()
    assert sum(found.counts.values()) == 0


@pytest.mark.parametrize(
    "options",
    [dict(tile=50), dict(tile=0), dict(min_area=-1), dict(device="abacus")],
)
def test_what_does_not_fit_is_refused(painted, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Predictor(painted, **options)


MEMORY = """
import resource, sys
import numpy as np
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/inference"]
import drawn_red_cells, painted_network
from leuko_mm.inference.predictor import Predictor
side = 16384
patch = np.zeros((2048, 2048), np.uint8)
for y in range(200, 2048, 450):
    for x in range(200, 2048, 450):
        patch[drawn_red_cells.disc(patch.shape, x, y, 70)] = 1 + (x + y) % 5
image = np.tile(painted_network.paint(patch), (8, 8, 1))
predictor = Predictor(sys.argv[2], scale=float(sys.argv[3]), tile=1024, exhaustive=True)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
before = peak()
found = predictor.predict(image)
print(len(found.cells), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_a_huge_image_takes_two_gib_beyond_itself(painted, factor, project_root):
    words = [project_root / "tests", painted, factor]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    cells, gib = done.stdout.split()[-2:]
    assert int(cells) == 25 * 64
    assert float(gib) < 2


def test_a_class_counts_from_a_confidence_on(painted, labels):
    labels[36:84:4][labels[36:84:4] == 5] = 3  # a fourth of the neutrophil
    sidecar = painted.with_suffix(".json")
    content, stated = json.loads(sidecar.read_text()), {"accept": 0.9}
    cases = (({}, None, None), ({}, 0.9, 1), (stated, None, 1), (stated, 0.0, None))
    for more, accept, unsure in cases:
        sidecar.write_text(json.dumps({**content, **more}))
        found = Predictor(painted, scale=1.0, accept=accept).predict(paint(labels))
        assert found.counts.get("unsure") == unsure
    for accept in (-0.1, 1.5, float("nan"), "0.9"):
        with pytest.raises(ValueError, match="expected a confidence from 0"):
            Predictor(painted, accept=accept)


def pixelwise(tile: np.ndarray) -> np.ndarray:
    share = tile[..., 0].astype(np.float32) / 255
    return np.stack([share, 1 - share])


def local(tile: np.ndarray) -> np.ndarray:
    """A network that sees 8 pixels around each pixel."""
    plane = cv2.blur(tile[..., 0].astype(np.float32), (17, 17))
    return np.stack([plane / 255, 1 - plane / 255])


def joined(image, network, **options):
    bands = list(
        probability_bands(image.shape[:2], lambda y, x: image[y, x], network, **options)
    )
    firsts = [first for first, _ in bands]
    heights = [band.shape[1] for _, band in bands]
    assert firsts == [sum(heights[:i]) for i in range(len(bands))]
    return np.concatenate([band for _, band in bands], axis=1)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (64, 64), (201, 170), (1, 9)])
def test_a_network_of_single_pixels_sees_no_tiles(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    tiled = joined(image, pixelwise, tile=64, overlap=32, margin=8)
    np.testing.assert_allclose(tiled, pixelwise(image), atol=1e-6)


def test_a_margin_as_wide_as_the_network_sees_hides_the_tiles():
    image = np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)
    tiled = joined(image, local, tile=64, overlap=32, margin=9)
    np.testing.assert_allclose(tiled, local(image), atol=1e-6)
    without = joined(image, local, tile=64, overlap=32, margin=0)
    assert np.abs(without - local(image)).max() > 1e-3
