"""What is written for other programs gives every pixel back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from predicted_fields import ColourPredictor, write_fields

from leuko_mm.classes import class_id
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.inference.exchange import inside_box
from leuko_mm.inference.folder_run import PredictRequest, predict_files


@pytest.mark.parametrize("form", ["coco.json", "geojson"])
def test_leuko_prepare_reads_the_same_masks(tmp_path, form):
    (tmp_path / "net.pth").write_bytes(b"tensors")
    write_fields(tmp_path / "in", ["a.png", "b/größe 1.png"], kinds=(1, 3, 5))
    request = PredictRequest(
        paths=[str(tmp_path / "in")],
        out=tmp_path / "out",
        checkpoint=tmp_path / "net.pth",
        coco=True,
        geojson=True,
    )
    outcome = predict_files(request, predictor_of=lambda *_: ColourPredictor())
    survey = survey_folders(tmp_path / "in", tmp_path / "out" / form)
    # The names are the classes' own: no map need be given.
    assert all(target == key for key, target in survey.guess.items())
    assert [image.relative for image in survey.images] == ["a.png", "b/größe 1.png"]
    for image, record in zip(survey.images, outcome.records, strict=True):
        place = tmp_path / "out" / "images" / record["image"] / "labels.png"
        labels = np.array(Image.open(place))
        annotation = survey.annotations.readers[image.name](*labels.shape)
        values = {key: class_id(key) for key in annotation.keys}
        assert (annotation.labels(values) == labels).all()
        assert len(annotation.instances) == len(record["cells"]) == 3
        for cell in record["cells"]:
            x0, y0, x1, y1 = cell["box"]
            inside = inside_box(cell, record["height"])
            assert (inside == (labels[y0:y1, x0:x1] == cell["class_id"])).all()
