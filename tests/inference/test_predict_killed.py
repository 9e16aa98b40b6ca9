"""A prediction that is killed again and again ends with the outputs of a calm one."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest
from predicted_fields import (
    ColourPredictor,
    content_of,
    predicted,
    write_broken,
    write_fields,
)

KILLS, IMAGES = 10, 16
WHOLE = {"cells", "labels.png", "overlay.png", "record.json"}

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="needs processes that can be forked and killed"
)


def predict(place, out, resume):
    slow = ColourPredictor(0.06)
    predicted(place, predictor=slow, out=out, resume=resume, coco=True, geojson=True)


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", [f"{i}.png" for i in range(IMAGES)])
    write_broken(tmp_path / "in", 2)
    predict(tmp_path, "calm", False)
    # Forked, so that no process spends its short life on importing.
    forked, moments = multiprocessing.get_context("fork"), random.Random(5)
    killed, seen = 0, set()
    while killed < KILLS:
        child = forked.Process(target=predict, args=(tmp_path, "out", True))
        child.start()
        time.sleep(moments.uniform(0.0, 0.4))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        killed += 1
        assert child.exitcode in (0, -signal.SIGKILL)
        done = list((tmp_path / "out" / "images").glob("*"))
        seen.add(len(done))
        for folder in done:
            assert {path.name for path in folder.iterdir()} == WHOLE
            assert len(list((folder / "cells").iterdir())) == 3
    # Some kills fell between the first image and the last.
    assert len(seen) > 2
    predict(tmp_path, "out", True)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "calm")


def test_what_a_kill_leaves_is_cleared_away(tmp_path):
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", ["a.png"])
    predict(tmp_path, "calm", False)
    out = tmp_path / "out"
    (out / ".images.0f3a" / "cells").mkdir(parents=True)
    (out / ".geojson").mkdir()
    for name in (".cells.csv.123", ".predict.json.part", ".report.html.part"):
        (out / name).write_text("half")
    (out / "images" / "b.png").mkdir(parents=True)
    predict(tmp_path, "out", True)
    assert content_of(out) == content_of(tmp_path / "calm")
