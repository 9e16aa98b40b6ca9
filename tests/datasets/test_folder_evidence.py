"""Annotations that contradict themselves, their images, or a guess of classes."""

from __future__ import annotations

import json

import annotated_folders as drawn
import numpy as np
import pytest
from PIL import Image

from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError, read_index

HEIGHT, WIDTH = 60, 80
CENTRES = ((15, 12), (60, 20), (30, 45))


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def numbers(count: int = 3) -> np.ndarray:
    """Return a field whose cells are numbered from 1."""
    field = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, centre in enumerate(CENTRES[:count], 1):
        field[disc(*centre, 8)] = number
    return field


def nested(outer: int, inner: int, shift: int = 0) -> np.ndarray:
    field = np.where(numbers() > 0, outer, 0).astype(np.uint8)
    for x, y in CENTRES:
        field[disc(x + shift, y, 4)] = inner
    return field


def surveyed(folder, fields, paint=lambda field: field, *, name="f"):
    labels = {f"{name}{n}": field for n, field in enumerate(fields)}
    drawn.write_images(folder / "images", labels, np.random.default_rng(0))
    for key, field in labels.items():
        drawn.save(folder / "masks" / f"{key}.png", Image.fromarray(paint(field)))
    return survey_folders(folder)


NUMBERED = {
    "8 bits": lambda field: field,
    "16 bits": lambda field: field.astype(np.uint16),
    "gaps": lambda field: np.array([0, 1, 4, 5], np.uint8)[field],
    "tens": lambda field: field * 10,
}


@pytest.mark.parametrize("form", NUMBERED)
def test_numbers_of_cells_are_no_classes(tmp_path, form):
    fields = [numbers(), numbers()[::-1], numbers(), numbers()[:, ::-1].copy()]
    survey = surveyed(tmp_path, fields, NUMBERED[form])
    assert survey.numbered
    assert "number cells" in survey.remarks[0]
    assert set(survey.guess.values()) == {"background", "leukocyte"}


@pytest.mark.parametrize("name", ["f", "monocyte_"])
def test_numbered_cells_that_touch_are_cut_out_one_by_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    field = np.zeros((HEIGHT, WIDTH), np.uint8)
    field[10:30, 10:30], field[10:30, 30:50] = 1, 2
    surveyed(tmp_path, [field, field], name=name)
    command = ["prepare", "folders", ".", "--out", "data/cells", "--yes"]
    assert main([*command, "--crop", "32"]) == 0
    rows = read_index(tmp_path / "data/cells")
    assert sum(row.kind == "cell" for row in rows) == 4


@pytest.mark.parametrize(("outer", "inner", "shift"), [(1, 2, 0), (2, 1, 0), (3, 5, 3)])
def test_a_nucleus_in_its_cytoplasm_is_no_class_of_its_own(
    tmp_path, outer, inner, shift
):
    survey = surveyed(tmp_path, [nested(outer, inner, shift)] * 4)
    assert f"'{inner}' lies inside '{outer}'" in survey.remarks[0]
    assert survey.guess == {"0": "background", str(outer): None, str(inner): None}


INVERTED = {
    "255": lambda field: np.where(field > 0, 0, 255).astype(np.uint8),
    "1": lambda field: (field == 0).astype(np.uint8),
    "1 bit": lambda field: field == 0,
    "from 0": lambda field: np.where(field > 0, field - 1, 255).astype(np.uint8),
}


@pytest.mark.parametrize("form", INVERTED)
def test_inverted_masks_are_asked_about(tmp_path, form, monkeypatch, capsys):
    survey = surveyed(tmp_path, [numbers(), numbers(2), numbers()], INVERTED[form])
    assert survey.guess["0"] is None
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "folders", ".", "--out", "data/cells", "--yes"]) == 2
    assert "are masks inverted?" in capsys.readouterr().err


def test_one_inverted_mask_among_others_is_named(tmp_path):
    fields = [numbers() > 0, numbers() == 0, numbers() > 0]
    assert "masks/f1.png" in surveyed(tmp_path, fields).remarks[0]


def test_ordinary_masks_are_guessed_as_before(tmp_path):
    same = np.array([0, 5, 3, 5], np.uint8)[numbers()]
    survey = surveyed(tmp_path, [same, np.where(same == 3, 1, same), same])
    assert survey.guess == {
        "0": "background", "1": "basophil", "3": "lymphocyte", "5": "neutrophil",
    }  # fmt: skip
    assert not survey.remarks


def outlines(folder, scale=1.0, shift=0.0, form="coco", exif=0, side=WIDTH):
    """Write five images and the outlines of their cells, at another scale."""
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    round_ = np.stack([np.cos(angles), np.sin(angles)], 1) * 8
    rings = [(round_ + centre) * scale + shift for centre in CENTRES]
    tag = Image.Exif()
    tag[0x0112] = exif
    images, entries = [], []
    for number in range(5):
        picture = Image.new("RGB", (side, HEIGHT), "white")
        (folder / "images").mkdir(exist_ok=True)
        picture.save(folder / f"images/a{number}.jpg", exif=tag if exif else b"")
        images.append(dict(id=number, file_name=f"a{number}.jpg"))
        images[-1] |= dict(width=side, height=HEIGHT)
        for ring in rings:
            entry = dict(id=len(entries), image_id=number, category_id=1)
            entries.append(entry | dict(segmentation=[ring.ravel().tolist()]))
        if form == "geojson":
            shapes = [[*ring.tolist(), ring[0].tolist()] for ring in rings]
            features = [
                dict(type="Feature", geometry=dict(type="Polygon", coordinates=[s]))
                for s in shapes
            ]
            drawn.write_json(folder / f"labels/a{number}.geojson", features)
    content = dict(
        images=images, annotations=entries, categories=[dict(id=1, name="monocyte")]
    )
    drawn.write_json(folder / "coco.json", content)
    return folder / ("labels" if form == "geojson" else "coco.json")


@pytest.mark.parametrize("form", ["coco", "geojson"])
@pytest.mark.parametrize(
    ("scale", "shift", "said"),
    [
        (2, 0, "outside of the image of 80x60"),
        (1, 400, "outside of the image of 80x60"),
        (0.5, 0, "upper left quarter"),
        (0.005, 0, "first pixel"),
    ],
)
def test_outlines_at_another_scale_are_refused(tmp_path, form, scale, shift, said):
    place = outlines(tmp_path, scale, shift, form)
    with pytest.raises(DatasetError, match=said):
        survey_folders(tmp_path / "images", place)


def test_what_is_cut_at_the_edge_is_said(tmp_path):
    survey = survey_folders(tmp_path / "images", outlines(tmp_path, shift=-9))
    assert "are cut, covered or hold no pixel: 1 of a0.jpg" in survey.remarks[-1]
    survey = survey_folders(tmp_path / "images", outlines(tmp_path, shift=-0.5))
    assert not survey.remarks


def test_an_outline_that_others_cover_is_said(tmp_path):
    place = outlines(tmp_path)
    content = json.loads(place.read_text())
    content["categories"].append(dict(id=2, name="basophil"))
    content["annotations"].append(content["annotations"][0] | dict(category_id=2))
    drawn.write_json(place, content)
    survey = survey_folders(tmp_path / "images", place)
    assert "covered or hold no pixel: 1 of a0.jpg" in survey.remarks[-1]


@pytest.mark.parametrize("angle", [0, 0.5])
def test_boxes_written_as_polygons_are_refused(tmp_path, angle):
    place = outlines(tmp_path)
    content = json.loads(place.read_text())
    c, s = 8 * np.cos(angle), 8 * np.sin(angle)
    for entry, centre in zip(content["annotations"], CENTRES * 5, strict=True):
        box = np.array([[c, s], [-s, c], [-c, -s], [s, -c]]) * 1.2 + centre
        entry["segmentation"] = [box.ravel().tolist()]
    drawn.write_json(place, content)
    with pytest.raises(DatasetError, match="all 15 outlines are rectangles, first"):
        survey_folders(tmp_path / "images", place)
    content["annotations"][3]["segmentation"] = [[5, 5, 25, 5, 15, 25]]
    drawn.write_json(place, content)
    survey_folders(tmp_path / "images", place)


@pytest.mark.parametrize("number", [str, float])
def test_ids_are_one_whether_numbers_or_texts(tmp_path, number):
    place = outlines(tmp_path)
    content = json.loads(place.read_text())
    for entry in content["annotations"]:
        entry.update(image_id=number(entry["image_id"]), category_id=number(1))
    drawn.write_json(place, content)
    assert survey_folders(tmp_path / "images", place).uses["monocyte"].files == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["annotations"][4].update(image_id=9), "4 names '9', .* in images"),
        (lambda c: c["images"][3].update(id=1), "id 1 .*'a1.jpg' and of 'a3.jpg'"),
        (lambda c: c["images"][3].update(id="1"), "id 1 .*'a1.jpg' and of 'a3.jpg'"),
        (
            lambda c: c["annotations"][4].update(id=0),
            "id 0 is that of the segmentation",
        ),
        (lambda c: c["categories"].append(dict(id=1, name="b")), "'monocyte' and of"),
        (lambda c: c["images"][3].update(id=None), "entry 3 of images has no 'id'"),
        (lambda c: c["images"][3].pop("id"), "entry 3 of images has no 'id'"),
    ],
)
def test_ids_that_contradict_are_refused(tmp_path, change, said):
    place = outlines(tmp_path)
    content = json.loads(place.read_text())
    change(content)
    drawn.write_json(place, content)
    with pytest.raises(DatasetError, match=said):
        survey_folders(tmp_path / "images", place)


@pytest.mark.parametrize(
    ("exif", "side", "form"),
    [(3, WIDTH, "coco"), (2, WIDTH, "coco"), (6, HEIGHT, "coco"), (8, 80, "geojson")],
)
def test_outlines_of_a_turned_image_are_refused(tmp_path, exif, side, form):
    place = outlines(tmp_path, form=form, exif=exif, side=side)
    with pytest.raises(DatasetError, match=f"EXIF orientation {exif}, but"):
        survey_folders(tmp_path / "images", place)


@pytest.mark.parametrize(("own", "other"), [(3, 0), (0, 3), (6, 8), (3, 3)])
def test_a_mask_is_turned_as_its_image_is(tmp_path, own, other):
    field = np.where(numbers() > 0, 255, 0).astype(np.uint8)
    for name, exif in (("images", own), ("masks", other)):
        tag = Image.Exif()
        tag[0x0112] = exif
        (tmp_path / name).mkdir()
        picture = Image.fromarray(field)
        picture.save(tmp_path / name / "a.png", exif=tag if exif else b"")
    if own == other:
        assert survey_folders(tmp_path).guess["255"] == "leukocyte"
        return
    with pytest.raises(DatasetError, match="turned against the other"):
        survey_folders(tmp_path)
