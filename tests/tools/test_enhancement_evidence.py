"""What enhancement does to colours: regions, spreads, methods, probe, and the command.

The command measures, draws and writes the page, and goes on where it stopped.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tool_module import load_tool

from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared

TOOL = load_tool("paper/enhancement_evidence")
SIDE = 64
CLASS_COLOURS = {"basophil": (80, 40, 120), "monocyte": (140, 110, 180)}
STAINS = (0, 25)


def smear(red=True, side=128):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side, 3), (225, 215, 225), np.float64)
    disc = np.hypot(y - 100, x - 20) < 18
    if red:
        image[disc] = (200, 130, 130)
    cell = np.hypot(y - 50, x - 70) < 30
    nucleus = np.hypot(y - 50, x - 70) < 18
    image[cell] = (190, 170, 220)
    image[nucleus] = (90, 40, 140)
    image += rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), cell, nucleus, disc


def test_each_region_lies_where_it_was_drawn():
    image, cell, nucleus, disc = smear()
    found = TOOL.smear_regions(image, cell, nucleus)
    assert not (found["red cells"] & ~disc).any()
    assert found["red cells"].sum() > 0.6 * disc.sum()
    assert not (found["background"] & (disc | cell)).any()
    assert (found["leukocyte"] == cell).all()
    assert not (found["nucleus"] & ~nucleus).any()
    assert not (found["cytoplasm"] & (nucleus | ~cell)).any()


def test_the_rings_lie_on_either_side_of_the_outline():
    _, cell, _, _ = smear()
    found = TOOL.smear_regions(*smear()[:2])
    y, x = np.mgrid[:128, :128]
    radius = np.hypot(y - 50, x - 70)
    assert (found["inside"] & ~cell).sum() == 0
    assert (found["outside"] & cell).sum() == 0
    assert 22 < radius[found["inside"]].min() < radius[found["inside"]].max() < 30
    assert 30 < radius[found["outside"]].min() < radius[found["outside"]].max() < 38


@pytest.mark.parametrize(
    ("rgb", "lab"),  # sRGB primaries under D65, from the standard's formulas
    [
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0, 0)),
    ],
)
def test_cielab_of_known_colours(rgb, lab):
    found = TOOL.cielab(np.array([rgb], np.uint8))[0]
    np.testing.assert_allclose(found, lab, atol=0.15)


def test_spread_is_the_distance_from_the_mean():
    assert TOOL.spread(np.array([[0.0, 3, 0], [0, 0, 4], [0, -3, 0], [0, 0, -4]])) == (
        pytest.approx(np.sqrt((9 + 16) / 2))
    )
    assert TOOL.spread(np.ones((5, 3))) == 0
    assert np.isnan(TOOL.spread(np.empty((0, 3))))


def test_spread_within_and_between_add_up_for_equal_classes():
    colours = np.random.default_rng(0).normal(size=(30, 3)) * 7
    found = TOOL.class_spread(colours, ["a", "b", "c"] * 10)
    total = found.between_slides**2 + found.between_classes**2
    assert total == pytest.approx(TOOL.spread(colours) ** 2)


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
    found = TOOL.colour_evidence(smears, {"raw": np.asarray})
    one = found["methods"]["raw"]
    assert (found["images"], found["slides"]) == (4, 4)

    def lab(colour):
        return TOOL.cielab(np.array([colour], np.uint8) + np.array(STAINS)[:, None])

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


def test_every_method_returns_an_image_of_the_same_shape():
    image = np.random.default_rng(0).integers(40, 200, (48, 40, 3), dtype=np.uint8)
    for name, method in {**TOOL.other_methods(image), **TOOL.retinex_methods()}.items():
        out = method(image)
        assert out.shape == image.shape, name
        assert out.dtype == np.uint8, name


def test_grey_world_makes_the_mean_grey_and_survives_black():
    image = np.random.default_rng(0).integers(0, 120, (20, 20, 3), dtype=np.uint8)
    means = TOOL.grey_world(image // [1, 2, 1]).reshape(-1, 3).mean(axis=0)
    assert np.ptp(means) < 1
    assert not TOOL.grey_world(np.zeros((4, 4, 3), np.uint8)).any()


@pytest.fixture
def slides(tmp_path):
    """Ten slides of two classes whose cells differ in brightness alone."""
    cell = np.zeros((32, 32), bool)
    cell[8:24, 8:24] = True
    cells, splits = [], {f"fold{k}": {} for k in range(1, 6)}
    for name, level in (("basophil", 60), ("monocyte", 180)):
        for slide in range(1, 11):
            stem = f"{name[:4]}_{slide}"
            image = np.where(cell, level, 220).astype(np.uint8)
            mask = np.where(cell, 1 if name == "basophil" else 4, 0)
            cells.append(
                PreparedCell(
                    stem=stem,
                    class_name=name,
                    group=f"{name}_{slide}",
                    image=np.repeat(image[..., None], 3, axis=2),
                    mask=mask.astype(np.uint8),
                )
            )
            for k in range(1, 6):
                part = "test" if (slide + 1) // 2 == k else "train"
                splits[f"fold{k}"][stem] = part
    root = tmp_path / "smears"
    about = dict(name="smears", source="made", licence="CC0-1.0", citation="none")
    write_prepared(root, cells, splits=splits, **about)
    return root


def pyramid(batch):
    return [torch.nn.functional.avg_pool2d(batch, size) for size in (4, 8, 16)]


def test_what_the_method_leaves_is_found_and_what_it_takes_away_is_not(
    slides, monkeypatch
):
    monkeypatch.setattr(TOOL, "PROBE_SIDE", 32)
    monkeypatch.setattr(TOOL, "COPIES", 1)
    kept = TOOL.probe(slides, np.asarray, encoder=pyramid)
    lost = TOOL.probe(slides, lambda i: np.full_like(i, 128), encoder=pyramid)
    assert kept["cells"] == 16  # slides 9 and 10 are fold 5
    assert kept["accuracy"]["0.01"] == 100
    assert lost["accuracy"]["0.01"] <= 60
    again = TOOL.probe(slides, np.asarray, encoder=pyramid)
    assert again == kept


@pytest.fixture
def tool(monkeypatch):
    module = load_tool("paper/enhancement_evidence")
    few = {"hsv": lambda image: image // 2, "rgb": lambda image: 255 - image}
    monkeypatch.setattr(module, "retinex_methods", lambda: few)
    return module


@pytest.fixture
def run(tool, tiny_home, tmp_path):
    def call(*words):
        data = ["--data", str(tiny_home / "synthetic")]
        data += ["--synthetic", str(tiny_home / "synthetic")]
        where = ["--root", str(tmp_path), "--out", str(tmp_path / "out")]
        return tool.main([*data, *where, *words])

    return call


MARKS = "before\n<!-- enhancement -->\nold\n<!-- end of enhancement -->\nafter\n"


def test_table_pictures_and_figures_are_written(run, tmp_path):
    page = tmp_path / "docs/reproduce.md"
    page.parent.mkdir()
    page.write_text(MARKS)
    assert run() == 0
    page = page.read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    figures = json.loads((tmp_path / "results/enhancement.json").read_text())
    assert figures["colour"]["images"] == 25
    assert {"raw", "hsv", "rgb", "grey world"} <= set(figures["colour"]["methods"])
    spread = figures["colour"]["methods"]["raw"]["background"]["spread"]
    assert f"| raw | {spread:.1f} |" in page
    for picture in ("docs/images/enhancement.jpg", "out/cells.jpg"):
        with Image.open(tmp_path / picture) as image:
            assert np.array(image).std() > 10


def test_a_page_without_marks_stops_before_anything_is_measured(run, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/reproduce.md").write_text("nothing")
    with pytest.raises(ValueError, match="no '<!-- enhancement -->'"):
        run()
    assert not (tmp_path / "results").exists()


def test_the_page_has_the_table_of_the_committed_files(project_root):
    results = project_root / "results"
    found = json.loads((results / "enhancement.json").read_text())
    table = TOOL.enhancement_table(found, TOOL.published_runs(results))
    page = (project_root / "docs/reproduce.md").read_text(encoding="utf-8")
    assert TOOL.put_into(page, TOOL.MARK, table) == page, "see --reuse of the tool"
