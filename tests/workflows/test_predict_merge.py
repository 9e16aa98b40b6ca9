"""Parts made on many machines join to what one machine makes."""

from __future__ import annotations

import json
import shutil

import pytest
from predicted_fields import ColourPredictor, content_of, write_broken, write_fields

from leuko_mm.errors import UsageError
from leuko_mm.workflows.predict import predict_files
from leuko_mm.workflows.predict_merge import merge_parts
from leuko_mm.workflows.predict_outputs import Exchange
from leuko_mm.workflows.predict_request import PredictRequest

BOTH = Exchange(coco=True, geojson=True)


def predicted(place, out, **more):
    request = PredictRequest(
        paths=[str(place / "in")],
        out=place / out,
        checkpoint=place / "net.pth",
        coco=True,
        geojson=True,
        **more,
    )
    return predict_files(request, predictor_of=lambda *_: ColourPredictor())


@pytest.fixture
def place(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"tensors")
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", ["a.png", "b.png", "c/a.png", "d.png"])
    write_broken(tmp_path / "in", 2)
    return tmp_path


def test_parts_join_to_the_whole(place):
    predicted(place, "whole")
    parts = []
    for index in range(3):
        predicted(place, f"part{index}", shard=f"{index}/3")
        parts.append(place / f"part{index}")
    outcome = merge_parts(parts, place / "all", exchange=BOTH)
    assert (len(outcome.records), len(outcome.failed)) == (4, 2)
    assert content_of(place / "all") == content_of(place / "whole")


def test_unfinished_and_different_parts_are_refused(place):
    predicted(place, "part0", shard="0/2")
    predicted(place, "part1", shard="1/2", min_area=50)
    parts = [place / "part0", place / "part1"]
    with pytest.raises(UsageError, match=r"min_area None, but .*part1 with 50"):
        merge_parts(parts, place / "all", exchange=BOTH)
    file = parts[1] / "predict.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "complete": False}))
    with pytest.raises(UsageError, match="part1 is not finished"):
        merge_parts(parts, place / "all", exchange=BOTH)
    with pytest.raises(UsageError, match="holds no prediction"):
        merge_parts([place / "in"], place / "all", exchange=BOTH)
    with pytest.raises(UsageError, match="is itself to be joined"):
        merge_parts(parts, parts[0], exchange=BOTH, force=True)
    assert not (place / "all").exists()


def test_a_missing_shard_and_one_that_is_given_twice_are_refused(place):
    predicted(place, "part0", shard="0/3")
    predicted(place, "part2", shard="2/3")
    parts = [place / "part0", place / "part2"]
    with pytest.raises(UsageError, match="the shard 1/3 is not among the parts"):
        merge_parts(parts, place / "all", exchange=BOTH)
    with pytest.raises(UsageError, match="are both the shard 0/3"):
        merge_parts([parts[0], parts[0]], place / "all", exchange=BOTH)
    assert not (place / "all").exists()


def test_two_images_of_one_name_are_not_mixed(place):
    predicted(place, "part0")
    shutil.rmtree(place / "in")
    write_fields(place / "in", ["a.png"], kinds=(2,))
    predicted(place, "part1")
    with pytest.raises(UsageError, match=r"two different images .a\.png."):
        merge_parts([place / "part0", place / "part1"], place / "all", exchange=BOTH)
