"""Dask's workers predict as one process does, and their loss costs no image."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import nullcontext

import pytest
from predicted_fields import (
    ColourPredictor,
    content_of,
    predicted,
    write_broken,
    write_fields,
)

from leuko_mm.errors import UsageError
from leuko_mm.inference import folder_run
from leuko_mm.processes import StoppedBySignal

psutil = pytest.importorskip("psutil")  # comes with dask.distributed
pytest.importorskip("distributed")

BOTH = dict(coco=True, geojson=True)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def workers() -> list[int]:
    """Return the ids of dask's worker processes below this one."""
    children = psutil.Process().children(recursive=True)
    return [c.pid for c in children if "spawn_main" in " ".join(c.cmdline())]


class AfterImages:
    """Calls a function once, after so many images."""

    def __init__(self, number, function):
        self.number, self.function, self.last = number, function, 0

    def __call__(self, done, total, name):
        if self.last < self.number <= done:
            self.function()
        self.last = done


def kill_one():
    os.kill(workers()[0], signal.SIGKILL)


def test_two_workers_one_of_them_killed_leave_the_files_of_one_process(place):
    fields = [f"{i:03}.png" for i in range(180)]
    write_fields(place / "in", fields)
    broken = write_broken(place / "in", 20)
    whole = predicted(place, out="whole", **BOTH)
    killer = AfterImages(100, kill_one)
    slow = ColourPredictor(0.02)
    outcome = predicted(place, predictor=slow, dask="local:2", progress=killer, **BOTH)
    assert killer.last == 200
    assert slow.seen == 0, "nothing is predicted here"
    assert content_of(place / "out") == content_of(place / "whole")
    assert list(outcome.failed) == broken
    assert outcome.failed == whole.failed
    assert outcome.new == 180


class Deadly(ColourPredictor):
    """Kills its process at a field that begins with a basophil and a neutrophil."""

    def predict(self, image, **options):
        prediction = super().predict(image, **options)
        if [cell.class_id for cell in prediction.cells] == [1, 5]:
            os.kill(os.getpid(), signal.SIGKILL)
        return prediction


@pytest.mark.slow
def test_an_image_that_kills_every_worker_fails_alone(place):
    names = [f"{i}.png" for i in range(5)]
    write_fields(place / "in", names, kinds=(1, 5))
    outcome = predicted(place, predictor=Deadly(), dask="local:2")
    assert [record["image"] for record in outcome.records] == names[1:]
    assert "ended 3 workers" in outcome.failed["0.png"]
    text = (place / "out" / "images.csv").read_text()
    assert "ended 3 workers" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_is_done_and_goes_on(place, number):
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    write_fields(place / "in", [f"{i}.png" for i in range(12)])
    predicted(place, out="whole")
    slow = ColourPredictor(0.1)
    stop = AfterImages(4, lambda: os.kill(os.getpid(), number))
    with pytest.raises(StoppedBySignal, match="--resume") as stopped:
        predicted(place, predictor=slow, dask="local:1", progress=stop)
    signal.signal(signal.SIGINT, former)
    assert stopped.value.exit_code == 128 + number
    assert workers() == []
    kept = len(list((place / "out" / "images").iterdir()))
    assert 4 <= kept < 12
    assert not (place / "out" / "report.html").exists()
    assert predicted(place, resume=True).new == 12 - kept
    assert content_of(place / "out") == content_of(place / "whole")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda place: (place / "net.pth").write_bytes(b"other"), "checkpoint_sha256"),
        (lambda place: (place / "net.pth").unlink(), "does not see .*net.pth"),
        (lambda place: shutil.rmtree(place / "in"), "does not see .*in; all workers"),
    ],
)
def test_a_worker_that_sees_something_else_is_refused(place, monkeypatch, harm, said):
    """As a worker of another machine would; its checks run here."""
    write_fields(place / "in", ["a.png"])

    def harmed(client, function, tasks):
        harm(place)
        for name, task in tasks.items():
            yield name, function(*task)

    monkeypatch.setattr(folder_run, "dask_client", lambda _: nullcontext("a client"))
    monkeypatch.setattr(folder_run, "finished_tasks", harmed)
    with pytest.raises(UsageError, match=f"the dask worker at .* {said}"):
        predicted(place, dask="tcp://elsewhere:1")
