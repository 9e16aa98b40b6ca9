"""One scale for images that were taken alike: by red cells, else by leukocytes."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_red_cells import drawn
from painted_network import WHITE
from PIL import Image
from predicted_fields import ColourPredictor, predicted, write_fields

from leuko_mm.classes import CLASS_COLOURS
from leuko_mm.inference import Predictor
from leuko_mm.inference import predictor as predictor_module
from leuko_mm.inference import scale as scale_module
from leuko_mm.inference.cells import ImageScale
from leuko_mm.inference.scale import (
    ANOTHER_SIZE,
    ASSUMED,
    LEUKOCYTES,
    RED_CELLS,
    agreed_scale,
    areas_of_pieces,
    find_scale,
    scale_of_leukocytes,
    scales_of_folders,
    with_own_size,
)
from leuko_mm.transforms.red_cells import LEUKOCYTE_BY_AREA


def seen(factor, *, sure=0.5):
    return ImageScale(factor, RED_CELLS, sure, 20 / factor, 8)


UNSEEN = ImageScale(1.0, ASSUMED, 0.0)


def test_the_agreed_scale_is_the_median_and_an_outlier_does_not_count():
    found = agreed_scale(
        [seen(0.5), seen(0.52), UNSEEN, seen(0.51, sure=0.9), seen(7.9)]
    )
    assert found.factor == pytest.approx(0.515)
    assert (found.how, found.red_cells) == (RED_CELLS, 24)
    # Images that agree make it surer.
    assert found.confidence == pytest.approx(1 - 0.5 * 0.5 * 0.1)
    assert found.red_cell_px == pytest.approx(20 / 0.515)
    assert "3 of 5 images" in found.note


@pytest.mark.parametrize(
    "scales",
    [
        [],
        [UNSEEN] * 4,
        [seen(0.5), UNSEEN, seen(0.5), UNSEEN],  # too few
        [seen(0.5), seen(0.5), seen(1), seen(1), seen(2), seen(2)],  # no majority
        [seen(0.5), seen(0.7)],
    ],
)
def test_no_scale_is_agreed(scales):
    assert agreed_scale(scales) is None


def test_two_images_may_agree():
    assert agreed_scale([seen(0.5), seen(0.54)]).factor == pytest.approx(0.52)


def leukocytes(diameter, *, count=3, seed=0):
    """Draw leukocytes on white, without red cells."""
    image = np.full((4 * diameter, 2 * diameter * count, 3), WHITE, np.uint8)
    rng = np.random.default_rng(seed)
    for i in range(count):
        x, y = (2 * i + 1) * diameter, 2 * diameter + int(rng.integers(-4, 5))
        cv2.circle(image, (x, y), diameter // 2, CLASS_COLOURS[3], -1)
    return image


@pytest.mark.parametrize("diameter", [30, 60, 130])
def test_leukocytes_tell_the_scale_where_no_red_cell_is_seen(painted, diameter):
    predictor = Predictor(painted)
    images = [leukocytes(diameter, seed=seed) for seed in range(3)]
    found = predictor.common_scale(images)
    # Red cells have 20 pixels in the network.
    assert found.how == LEUKOCYTES
    assert found.factor == pytest.approx(20 * LEUKOCYTE_BY_AREA / diameter, rel=0.06)
    assert found.confidence < 0.5
    prediction = predictor.predict(images[0], scale=found)
    assert prediction.scale is found
    assert len(prediction.cells) == 3


def test_leukocytes_of_one_image_correct_a_scale_that_is_far_off(painted):
    predictor = Predictor(painted)
    # At the assumed scale, a half, leukocytes have 90 pixels.
    assert predictor.predict(leukocytes(84)).scale.how == ASSUMED
    assert predictor.predict(leukocytes(130)).scale.how == LEUKOCYTES


def test_red_cells_come_before_leukocytes(painted):
    predictor = Predictor(painted)
    found = predictor.common_scale([drawn(40, seed=seed) for seed in range(4)])
    assert found.how == RED_CELLS
    assert found.factor == pytest.approx(0.5, rel=0.05)
    # Half of the images at another magnification: each has its own.
    mixed = [drawn(d, seed=seed) for seed in range(3) for d in (30, 60)]
    assert predictor.common_scale(mixed) is None


def test_a_given_scale_is_not_doubted(painted):
    assert Predictor(painted, scale=1.0).common_scale([drawn(40)] * 3) is None


def test_files_that_cannot_be_read_are_left_out(painted, tmp_path):
    for seed in range(3):
        Image.fromarray(drawn(40, seed=seed)).save(tmp_path / f"{seed}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    found = Predictor(painted).common_scale(sorted(tmp_path.glob("*.png")))
    assert "3 of 3 images" in found.note


def test_each_image_is_read_once_and_counted(painted, tmp_path, monkeypatch):
    read, told = [], []
    for seed in range(3):
        Image.fromarray(leukocytes(60, seed=seed)).save(tmp_path / f"{seed}.png")
    whole = predictor_module.read_image
    monkeypatch.setattr(
        predictor_module, "read_image", lambda path: read.append(path) or whole(path)
    )
    paths = sorted(tmp_path.glob("*.png"))
    found = Predictor(painted).common_scale(paths, progress=lambda *a: told.append(a))
    # Their leukocytes are segmented more than once.
    assert found.how == LEUKOCYTES
    assert read == paths
    assert told == [(i, 3, "measuring the scale") for i in range(3)]


def test_touching_cells_are_one_piece_and_cut_ones_count_only_alone():
    mask = np.zeros((20, 30), bool)
    mask[5:9, 5:9] = mask[5:9, 9:13] = True
    mask[0:4, 20:22] = True
    assert areas_of_pieces(mask) == [32]
    assert areas_of_pieces(mask[:, 18:]) == [8]
    assert areas_of_pieces(mask[10:]) == []


def test_pieces_of_cells_hardly_count(painted):
    checkpoint = Predictor(painted).checkpoint
    whole = scale_of_leukocytes([2000.0] * 3, checkpoint)
    assert scale_of_leukocytes([2000.0] * 3 + [100.0] * 9, checkpoint).factor == (
        whole.factor
    )


def test_a_few_red_cells_come_before_leukocytes_that_agree(painted, monkeypatch):
    predictor = Predictor(painted)
    # Leukocytes 88 pixels wide beside red cells of 40: nearly their usual size.
    fields = [leukocytes(88, seed=seed) for seed in range(5)]
    found = predictor.common_scale([drawn(40), drawn(40, seed=1), *fields])
    assert found.how == RED_CELLS
    assert found.factor == pytest.approx(0.5, rel=0.05)
    assert "2 of 7 images" in found.note
    # One image is not enough, whatever it shows, and others may contradict.
    assert predictor.common_scale([drawn(40), *fields]).how == LEUKOCYTES
    large = [leukocytes(220, seed=seed) for seed in range(5)]
    both = predictor.common_scale([drawn(40), drawn(40, seed=1), *large])
    assert both.how == LEUKOCYTES
    # Nor are three of eight: what is round in single cells may be in their nuclei.
    round_ones = [drawn(40, seed=seed) for seed in range(3)]
    assert predictor.common_scale([*round_ones, *large]).how == LEUKOCYTES
    # Where no leukocyte is found they count.
    monkeypatch.setattr(predictor, "_scale_by_leukocytes", lambda images: None)
    assert predictor.common_scale([*round_ones, *large]).how == RED_CELLS


def test_red_cells_that_are_hardly_seen_are_doubted(painted, monkeypatch):
    weak = ImageScale(2.0, RED_CELLS, 0.1, 10.0, 2)
    monkeypatch.setattr("leuko_mm.inference.predictor.find_scale", lambda *a, **k: weak)
    predictor = Predictor(painted)
    assert predictor.predict(leukocytes(130)).scale.how == LEUKOCYTES
    usual = leukocytes(22)  # at a scale of 2 they are of the usual size
    assert predictor.predict(usual).scale is weak


def test_no_leukocyte_tells_no_scale(painted):
    checkpoint = Predictor(painted).checkpoint
    assert scale_of_leukocytes([], checkpoint) is None
    assert scale_of_leukocytes([1e-3], checkpoint) is None


def test_every_folder_has_its_own_scale(tmp_path):
    images = {f"a/{i:02}.png": tmp_path / f"a{i}" for i in range(60)}
    images |= {"b/1.png": tmp_path / "b1", "c/1.png": tmp_path / "c1"}
    images["c/2.png"] = tmp_path / "c2"
    asked = []

    def common(paths):
        asked.append([path.name for path in paths])
        return None if paths[0].name == "c1" else seen(0.5)

    found = scales_of_folders(images, common)
    assert list(found) == ["a"]
    assert ImageScale(**found["a"]) == seen(0.5)
    # A single image finds its own; of many, 25 are looked at.
    assert [len(names) for names in asked] == [25, 2]
    assert (asked[0][0], asked[0][-1]) == ("a0", "a57")


class Scaled(ColourPredictor):
    """A predictor whose folders have a scale."""

    def __init__(self, *, stops=False):
        super().__init__()
        self.measured, self.used, self.stops = 0, [], stops

    def common_scale(self, images, *, progress=None):
        self.measured += 1
        return seen(0.5)

    def predict(self, image, *, scale=None):
        if self.stops and self.seen:
            raise KeyboardInterrupt
        self.used.append(scale)
        return super().predict(image, scale=scale)


def test_the_scale_of_a_folder_is_written_down_and_used_again(tmp_path):
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", ["a.png", "b.png", "c.png"])
    stopped = Scaled(stops=True)
    with pytest.raises(Exception, match="--resume"):
        predicted(tmp_path, predictor=stopped)
    state = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert state["scales"][""]["factor"] == 0.5
    state["scales"][""]["factor"] = 0.6
    (tmp_path / "out" / "predict.json").write_text(json.dumps(state))
    resumed = Scaled()
    predicted(tmp_path, predictor=resumed, resume=True)
    assert (stopped.measured, resumed.measured) == (1, 0)
    assert [scale.factor for scale in stopped.used + resumed.used] == [0.5, 0.6, 0.6]


def test_more_images_in_a_folder_are_as_if_they_had_been_there_before(tmp_path):
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", ["a.png", "b.png"])
    predicted(tmp_path, predictor=Scaled())
    write_fields(tmp_path / "in", ["c.png"])
    same, other = Scaled(), Scaled()
    predicted(tmp_path, predictor=same, resume=True)
    # The same scale: what is done stays. Another: all of the folder again.
    assert (same.measured, len(same.used)) == (1, 1)
    write_fields(tmp_path / "in", ["d.png"])
    other.common_scale = lambda images, **_: seen(0.7)
    other.stops = True  # at the second image
    with pytest.raises(Exception, match="--resume"):
        predicted(tmp_path, predictor=other, resume=True)
    other.stops = False
    # What had the other scale is gone, though the state names the new one.
    assert predicted(tmp_path, predictor=other, resume=True).new == 3
    assert {scale.factor for scale in other.used} == {0.7}


@pytest.mark.parametrize("given", [{}, {"um_per_px": 0.1875}])
def test_every_image_of_another_size_says_so(painted, given):
    predictor = Predictor(painted, **given)
    fitting, larger = drawn(40, seed=1), drawn(90, seed=2)
    common = None if given else find_scale(drawn(40), predictor.checkpoint)
    assert ANOTHER_SIZE not in predictor.predict(fitting, scale=common).scale.note
    found = predictor.predict(larger, scale=common).scale
    width = float(found.note.partition(f"; {ANOTHER_SIZE}: ")[2].split()[0])
    assert width == pytest.approx(90, rel=0.05)
    assert found.factor == predictor.predict(fitting, scale=common).scale.factor


def test_only_surely_another_size_is_named(painted, monkeypatch):
    predictor, image = Predictor(painted), drawn(90)
    scale = find_scale(drawn(40), predictor.checkpoint)
    blank = np.full_like(image, 200)
    assert with_own_size(scale, blank, predictor.checkpoint) is scale
    by_leukocytes = replace(scale, how=LEUKOCYTES)
    assert with_own_size(by_leukocytes, image, predictor.checkpoint) is by_leukocytes
    # What the quick look sees is not measured.
    monkeypatch.setattr(scale_module, "measure_red_cells", None)
    assert with_own_size(scale, drawn(40, seed=3), predictor.checkpoint) is scale
