"""``leuko compare``, killed without warning, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from tiny_run import finished_script, write_config

from leuko_mm.models.encoders import VGG

KILLS = 10
DROPOUT = "\nmodel['decode_head']['dropout_ratio'] = 0.5\nmethod = 'second'\n"
# A pretrained encoder is frozen first, and thawed in the middle.
PRETRAINED = """
model['backbone']['init_cfg'] = dict(
    type='leuko_mm.EncoderWeights', checkpoint='{weights}')
"""


def published(place: Path) -> dict:
    """Return all published files; of a results file all but the times and the code."""
    found = {}
    for path in sorted((place / "results" / "smoke").iterdir()):
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            # The code may be committed while it is tested.
            for key in ("started", "wall_s", "git"):
                del content["run"][key]
            found[path.name] = content
        else:
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its attempts by fork")
def test_ten_kills_change_nothing_in_the_results(tiny_data, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(VGG(width=0.125).state_dict(), weights)
    pretrained = PRETRAINED.format(weights=weights)
    configs = [
        write_config(tmp_path, name="tiny", more=pretrained),
        write_config(tmp_path, name="second", more=DROPOUT),
    ]
    words = (KILLS, 0, *configs)
    said = finished_script(tmp_path, "killed_compare.py", *words, timeout=3000)
    assert said.count("kill ") == KILLS
    expected = published(tmp_path / "whole")
    assert len(expected) == 6  # results, cells and losses of both runs
    places = sorted(tmp_path.glob("killed-*/"))
    assert places
    for place in places:
        assert published(place) == expected, place.name
