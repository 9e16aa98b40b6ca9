"""Which images paths name, and what they are called."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leuko_mm.errors import UsageError
from leuko_mm.files import printable
from leuko_mm.workflows.predict_inputs import plan_inputs, refuse_mask


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "b/a.JPG", "b/c/d.tif", "b/notes.txt", ".hid/x.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "in" / "b" / ".x.png").write_bytes(b"x")
    return tmp_path / "in"


def names(*paths, **more):
    return [image.name for image in plan_inputs(list(map(str, paths)), **more).images]


def test_a_folder_is_searched_to_any_depth(tree):
    assert names(tree) == ["a.png", "b/a.JPG", "b/c/d.tif"]
    assert names(tree, leave_out=tree / "b") == ["a.png"]


def test_names_are_below_what_all_paths_share(tree):
    assert names(tree / "a.png") == ["a.png"]
    assert names(tree / "b" / "c", tree / "a.png") == ["a.png", "b/c/d.tif"]


def test_patterns_and_files_of_any_suffix(tree):
    assert names(tree / "**" / "*.tif") == ["d.tif"]
    assert names(tree / "b" / "*.txt") == ["notes.txt"]
    assert names(tree / "*") == ["a.png"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tree):
    (tree / "[a].png").write_bytes(b"x")
    assert names(tree / "[a].png") == ["[a].png"]


def test_each_image_once(tree):
    assert names(tree, tree / "b", tree / "a.png") == names(tree)


def test_nothing_found(tree):
    with pytest.raises(UsageError, match="matches nothing"):
        names(tree / "none.png")
    (tree / "empty").mkdir()
    with pytest.raises(UsageError, match="no image in"):
        names(tree / "empty")


def test_printable_keeps_every_writing_and_no_control():
    assert printable("größe 白血球 \u202f.png") == "größe 白血球 \u202f.png"
    assert printable("a\x1b\n\u202e.png") == "a\ufffd\ufffd\ufffd.png"


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


def test_a_misspelt_image_names_its_neighbour(tmp_path):
    (tmp_path / "field01.png").touch()
    with pytest.raises(UsageError, match=r"did you mean 'field01\.png'"):
        plan_inputs([str(tmp_path / "feild01.png")])


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
