import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import BINARY_COLOURS, CLASS_COLOURS
from leuko_mm.report.palette import colourise, flat_palette, save_palette_png


def every_id():
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_colourise_gives_each_class_its_colour():
    painted = colourise(every_id())
    assert painted.shape == (16, 16, 3)
    assert painted.dtype == np.uint8
    assert [tuple(pixel) for pixel in painted[0, :6].tolist()] == list(CLASS_COLOURS)
    assert (painted.reshape(-1, 3)[6:] == 128).all()


def test_colourise_takes_the_binary_colours():
    painted = colourise(np.array([[0, 1, 2]]), BINARY_COLOURS)
    assert painted[0].tolist() == [[0, 0, 0], [255, 255, 255], [128, 128, 128]]


def test_png_keeps_ids_and_shows_colours(tmp_path):
    path = tmp_path / "mask.png"
    labels = every_id()
    save_palette_png(path, labels.astype(np.int64))
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == labels).all()
        assert (np.asarray(picture.convert("RGB")) == colourise(labels)).all()


def test_png_of_few_ids_is_not_renumbered(tmp_path):
    path = tmp_path / "mask.png"
    labels = np.array([[0, 5], [255, 3]], dtype=np.uint8)
    save_palette_png(path, labels)
    with Image.open(path) as picture:
        assert (np.asarray(picture) == labels).all()


def test_palette_has_an_entry_for_every_byte():
    assert len(flat_palette()) == 768
    assert flat_palette()[15:18] == [128, 0, 128]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 256]]), "from 0 to 256"),
        (np.array([[-1, 0]]), "from -1 to 0"),
        (np.zeros((2, 2)), "float64"),
        (np.zeros((1, 2, 2), int), r"\(1, 2, 2\)"),
    ],
)
def test_refuses_what_is_no_label_map(labels, message):
    with pytest.raises(ValueError, match=message):
        colourise(labels)


def test_refuses_formats_that_change_ids(tmp_path):
    with pytest.raises(ValueError, match=r"mask\.jpg"):
        save_palette_png(tmp_path / "mask.jpg", every_id())
