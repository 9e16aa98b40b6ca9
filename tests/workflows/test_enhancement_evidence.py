import numpy as np
import pytest

from leuko_mm.datasets.prepared_cell import PreparedCell
from leuko_mm.datasets.prepared_writing import write_prepared
from leuko_mm.evaluation.colour_spread import cielab
from leuko_mm.workflows.enhancement_evidence import colour_evidence
from leuko_mm.workflows.enhancement_evidence_methods import (
    grey_world,
    most_usual,
    other_methods,
    retinex_methods,
)

SIDE = 64
CLASS_COLOURS = {"basophil": (80, 40, 120), "monocyte": (140, 110, 180)}
STAINS = (0, 25)


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    """Two classes of two slides, of which the second is 25 levels brighter."""
    y, x = np.mgrid[:SIDE, :SIDE]
    cell = np.hypot(y - 40, x - 40) < 18
    red = np.hypot(y - 12, x - 12) < 11
    cells = []
    for name, colour in CLASS_COLOURS.items():
        for slide, shift in enumerate(STAINS, 1):
            image = np.full((SIDE, SIDE, 3), (210, 200, 215))
            image[red], image[cell] = (180, 110, 120), colour
            cells.append(
                PreparedCell(
                    stem=f"{name[:4]}_{slide}",
                    class_name=name,
                    group=f"{name}_{slide}",
                    image=(image + shift).astype(np.uint8),
                    mask=np.where(cell, 1 if name == "basophil" else 4, 0).astype(
                        np.uint8
                    ),
                    nucleus=cell & (x < 42),
                )
            )
    root = tmp_path_factory.mktemp("data") / "smears"
    about = dict(name="smears", source="made", licence="CC0-1.0", citation="none")
    write_prepared(root, cells, splits={}, **about)
    return root


def test_figures_of_the_image_as_taken_by_hand(smears):
    found = colour_evidence(smears, {"raw": np.asarray})
    one = found["methods"]["raw"]
    assert (found["images"], found["slides"]) == (4, 4)

    def lab(colour):
        return cielab(np.array([colour], np.uint8) + np.array(STAINS)[:, None])

    ground = lab((210, 200, 215))
    step = np.linalg.norm(ground[0] - ground[1]) / 2
    assert one["background"]["spread"] == pytest.approx(step, abs=0.01)
    cells = [lab(colour) for colour in CLASS_COLOURS.values()]
    within = np.sqrt(np.mean([(np.linalg.norm(a - b) / 2) ** 2 for a, b in cells]))
    between = np.linalg.norm(cells[0].mean(axis=0) - cells[1].mean(axis=0)) / 2
    for part in ("leukocyte", "nucleus", "cytoplasm"):
        assert one[part]["between_slides"] == pytest.approx(within, abs=0.01)
        assert one[part]["separability"] == pytest.approx(between / within, rel=1e-3)
    assert one["grain"] == 0
    assert one["border"] > 20


def test_a_method_that_paints_all_alike_has_no_spread(smears):
    methods = {"flat": lambda image: np.full_like(image, 99)}
    one = colour_evidence(smears, methods)["methods"]["flat"]
    assert one["background"]["spread"] == one["red cells"]["spread"] == 0
    assert one["border"] == 0


def test_a_method_that_cannot_do_an_image_is_counted_and_stops_nothing(smears):
    def broken(image):
        raise np.linalg.LinAlgError("singular")

    seen = []
    found = colour_evidence(
        smears,
        {"broken": broken, "raw": np.asarray},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found["methods"]["broken"]["failed"] == 4
    assert found["methods"]["raw"]["failed"] == 0
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_every_method_returns_an_image_of_the_same_shape():
    image = np.random.default_rng(0).integers(40, 200, (48, 40, 3), dtype=np.uint8)
    for name, method in {**other_methods(image), **retinex_methods()}.items():
        out = method(image)
        assert out.shape == image.shape, name
        assert out.dtype == np.uint8, name


def test_grey_world_makes_the_mean_grey_and_survives_black():
    image = np.random.default_rng(0).integers(0, 120, (20, 20, 3), dtype=np.uint8)
    means = grey_world(image // [1, 2, 1]).reshape(-1, 3).mean(axis=0)
    assert np.ptp(means) < 1
    assert not grey_world(np.zeros((4, 4, 3), np.uint8)).any()


def test_the_most_usual_image_is_the_one_in_the_middle():
    images = [np.full((8, 8, 3), level, np.uint8) for level in (10, 120, 250)]
    assert most_usual(images) == 1
