import numpy as np

from leuko_mm.evaluation.smear_regions import smear_regions


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
    found = smear_regions(image, cell, nucleus)
    assert not (found["red cells"] & ~disc).any()
    assert found["red cells"].sum() > 0.6 * disc.sum()
    assert not (found["background"] & (disc | cell)).any()
    assert (found["leukocyte"] == cell).all()
    assert not (found["nucleus"] & ~nucleus).any()
    assert not (found["cytoplasm"] & (nucleus | ~cell)).any()


def test_the_rings_lie_on_either_side_of_the_outline():
    _, cell, _, _ = smear()
    found = smear_regions(*smear()[:2])
    y, x = np.mgrid[:128, :128]
    radius = np.hypot(y - 50, x - 70)
    assert (found["inside"] & ~cell).sum() == 0
    assert (found["outside"] & cell).sum() == 0
    assert 22 < radius[found["inside"]].min() < radius[found["inside"]].max() < 30
    assert 30 < radius[found["outside"]].min() < radius[found["outside"]].max() < 38


def test_without_red_cells_all_around_is_background():
    image, cell, _, _ = smear(red=False)
    found = smear_regions(image, cell)
    assert "red cells" not in found
    assert found["background"].sum() > 0.6 * (~cell).sum()
    assert "nucleus" not in found


def test_a_cell_that_fills_the_image_leaves_no_background():
    found = smear_regions(np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), bool))
    assert set(found) <= {"leukocyte", "inside"}
    assert found["leukocyte"].all()
