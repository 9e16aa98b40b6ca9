"""COCO's polygons and run lengths, and what is wrong with a file."""

import json

import annotated_folders as drawn
import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.converters.folders_coco import (
    coco_inside,
    from_runs,
    run_lengths,
)
from leuko_mm.datasets.converters.folders_survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_come_back(seed):
    rng = np.random.default_rng(seed)
    inside = rng.random(rng.integers(1, 50, 2)) < rng.random()
    counts = drawn.column_runs(inside)
    assert run_lengths(drawn.compressed(counts)) == counts
    np.testing.assert_array_equal(from_runs(counts, *inside.shape), inside)


def test_large_and_shrinking_runs_come_back():
    counts = [0, 100_000, 3, 1, 70_000, 2, 1]
    assert run_lengths(drawn.compressed(counts)) == counts
    assert run_lengths(drawn.compressed(counts).encode()) == counts


@pytest.mark.parametrize("text", ["6\x1f", "6Z!", "61X"])
def test_broken_run_lengths_are_refused(text):
    with pytest.raises(ValueError, match="run lengths"):
        run_lengths(text)


@pytest.mark.parametrize("counts", [[1, 2], [9, -1, 1], [3, 7]])
def test_run_lengths_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="the image has 9"):
        from_runs(counts, 3, 3)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (None, "not a box alone"),
        ([], "not a box alone"),
        ([[0, 0, 1, 1]], "three or more"),
        ([[0, 0, 1, 1, 2]], "strict|longer|shorter"),
        ({"size": [3, 4], "counts": [12]}, "which has 3x3"),
    ],
)
def test_a_segmentation_without_an_inside_is_refused(segmentation, said):
    with pytest.raises(ValueError, match=said):
        coco_inside(segmentation, 3, 3)


def test_several_polygons_are_one_thing():
    left, right = [0, 0, 1, 0, 1, 2, 0, 2], [2, 0, 3, 0, 3, 2, 2, 2]
    inside = coco_inside([left, right], 2, 3).inside
    assert inside.tolist() == [[True, False, True]] * 2


@pytest.fixture
def coco(tmp_path):
    """Return the folder of two images and a function that changes its COCO file."""
    labels = {f"a{n}": np.pad(np.full((6, 6), 3, np.uint8), 4) for n in range(2)}
    drawn.write_images(tmp_path / "images", labels, np.random.default_rng(0))
    path = tmp_path / "all.json"
    drawn.as_coco(path, labels, form="polygons")

    def changed(change) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return tmp_path / "images", path, changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("categories"), "no COCO file"),
        (lambda c: c["images"].append(c["images"][0]), "twice"),
        (lambda c: c["images"].pop(), "1 of 2 images have no annotation"),
        (lambda c: c["images"][0].update(file_name="b.png"), "b.png"),
        (lambda c: c["images"][0].update(width=99), "99x14"),
        (lambda c: c["annotations"][0].update(category_id=5), "an entry lacks 5"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2]]), "annotation 1"),
        (lambda c: c["annotations"][0].pop("image_id"), "image_id"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(coco, change, said):
    images, path, changed = coco
    changed(change)
    with pytest.raises(DatasetError, match=said):
        survey_folders(images, path)


def test_images_are_found_by_name_alone(coco):
    images, path, changed = coco
    changed(lambda c: c["images"][0].update(file_name="D:\\export\\a0.png"))
    assert len(survey_folders(images, path).images) == 2


@pytest.mark.parametrize("name", ["../../a0.png", "/etc/a0.png", "..\\..\\a0.png"])
def test_a_name_that_leads_elsewhere_opens_nothing_there(coco, tmp_path, name):
    images, path, changed = coco
    (tmp_path / "a0.png").write_text("not to be read")
    changed(lambda c: c["images"][0].update(file_name=name))
    found = {image.path for image in survey_folders(images, path).images}
    assert found == {images / "a0.png", images / "a1.png"}


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_link_to_a_file_outside_is_refused(tmp_path, kind):
    labels = {"a": np.pad(np.full((6, 6), 3, np.uint8), 4)}
    for folder in ("images", "masks", "elsewhere"):
        (tmp_path / folder).mkdir()
    drawn.write_images(tmp_path / "images", labels, np.random.default_rng(0))
    (picture,) = (tmp_path / "images").iterdir()
    Image.fromarray(labels["a"]).save(tmp_path / "masks" / "a.png")
    assert len(survey_folders(tmp_path / "images", tmp_path / "masks").images) == 1
    place = picture if kind == "image" else tmp_path / "masks" / "a.png"
    place.rename(tmp_path / "elsewhere" / place.name)
    place.symlink_to(tmp_path / "elsewhere" / place.name)
    with pytest.raises(DatasetError, match=r"is a link to .*elsewhere.*outside of"):
        survey_folders(tmp_path / "images", tmp_path / "masks")


def test_a_listed_image_without_annotations_has_none(coco):
    images, path, changed = coco
    changed(lambda c: c["annotations"].pop())
    survey = survey_folders(images, path)
    assert (len(survey.images), survey.uses["lymphocyte"].files) == (2, 1)
