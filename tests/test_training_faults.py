"""A training that something breaks goes on from its last state, exactly.

Each test breaks something real, repairs it, types what the error's note says, and
compares the weights with those of an undisturbed training.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_run import write_config

from leuko_mm.cli.main import main
from leuko_mm.datasets.mosaic import TileStore
from leuko_mm.engine.checkpoints import load_tensors, training_states
from leuko_mm.engine.hooks import GracefulStopHook

ITERATIONS = 8
# Random numbers of the model, a thaw half way, and no state that would come in time.
MORE = f"""
train_cfg = dict(max_iters={ITERATIONS})
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(type='leuko_mm.StagedFreezeHook', iters=3)]
model['decode_head']['dropout_ratio'] = 0.5
"""
EVERY = "default_hooks.checkpoint.interval=1"
WORKER = ("train_dataloader.num_workers=1", "train_dataloader.persistent_workers=True")
needs_notes = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="errors carry notes from Python 3.11 on"
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(one_thread, tiny_home, tmp_path_factory) -> dict:
    """Return the weights of a training that nothing happens to."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        assert train(write_config(place, more=MORE), place / "run") == 0
    return load_tensors(place / "run" / "run.pth")


@pytest.fixture
def data(tiny_home, tmp_path, monkeypatch) -> Path:
    """Return a dataset that may be lost, none of whose tiles are kept in memory."""
    shutil.copytree(tiny_home, tmp_path / "data")
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(TileStore.__init__.__kwdefaults__, "limit", 0)
    return tmp_path / "data" / "synthetic"


@pytest.fixture
def config(tmp_path) -> Path:
    return write_config(tmp_path, more=MORE)


@pytest.fixture
def after_step(monkeypatch):
    """Return a function that lets something happen behind a step, once."""
    answer = GracefulStopHook.after_train_iter

    def plant(step: int, event: Callable[[], object]) -> None:
        def after_train_iter(self, runner, *args, **kwargs):
            answer(self, runner, *args, **kwargs)
            if runner.iter + 1 == step:
                monkeypatch.setattr(GracefulStopHook, "after_train_iter", answer)
                event()

        monkeypatch.setattr(GracefulStopHook, "after_train_iter", after_train_iter)

    return plant


def train(config: Path, folder: Path, *options: str, amp: bool = False) -> int:
    words = ["train", str(config), "--work-dir", str(folder)]
    words.append("--amp" if amp else "--no-amp")
    return main([*words, *(["--cfg-options", *options] if options else [])])


def fails(config: Path, folder: Path, *options: str) -> str:
    """Return what is said of a training that fails: an error, or a plain sentence."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            code = train(config, folder, EVERY, *options)
    except (OSError, RuntimeError, ValueError) as error:
        return "\n".join([str(error), *getattr(error, "__notes__", [])])
    assert code == 1
    return said.getvalue().strip()


def goes_on(said: str, folder: Path, undisturbed: dict) -> None:
    """Type the last line of a message; compare what comes out."""
    typed = shlex.split(said.splitlines()[-1])
    assert typed[:2] == ["leuko", "train"]
    assert typed[-1] == "--resume"
    assert main(typed[1:]) == 0
    ended = load_tensors(folder / f"{folder.name}.pth")
    assert ended.keys() == undisturbed.keys()
    for name, tensor in undisturbed.items():
        assert torch.equal(ended[name], tensor), name


def newest(folder: Path) -> int:
    return int(training_states(folder)[0].stem.removeprefix("iter_"))


@needs_notes
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_after_a_killed_worker_the_last_state_counts(
    config, data, tmp_path, after_step, undisturbed
):
    def kill() -> None:
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.5)  # its end is told to this process within a step

    after_step(3, kill)
    said = fails(config, tmp_path / "run", *WORKER)
    assert "DataLoader worker" in said
    assert newest(tmp_path / "run") in (2, 3)
    goes_on(said, tmp_path / "run", undisturbed)


@needs_notes
@pytest.mark.parametrize(
    ("step", "lost"),
    [
        pytest.param(3, ".", marks=pytest.mark.slow),
        pytest.param(3, "images", marks=pytest.mark.slow),
        (ITERATIONS, "."),
    ],
)
def test_after_lost_data_the_last_state_counts(
    config, data, tmp_path, after_step, undisturbed, step, lost
):
    """Also where the dataset vanishes between the training and its test."""
    there, away = data / lost, data.with_name("elsewhere")
    after_step(step, lambda: there.rename(away))
    said = fails(config, tmp_path / "run")
    assert str(data) in said
    # A step before may be the last that had its data.
    assert step - (step < ITERATIONS) <= newest(tmp_path / "run") <= step
    away.rename(there)
    goes_on(said, tmp_path / "run", undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk with room for the states of a tiny network, or skip the test."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    # Lazy: the log of the run is open until this process ends.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@needs_notes
@pytest.mark.parametrize(("step", "kept"), [(1, 1), (3, ITERATIONS)])
def test_a_disk_that_fills_keeps_the_last_state(
    config, data, small_disk, after_step, undisturbed, step, kept
):
    folder, ballast = small_disk / "run", small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb") as file:
            file.write(b"\0" * (shutil.disk_usage(small_disk).free - 10_000))

    after_step(step, fill)
    said = fails(config, folder)
    load_tensors(training_states(folder)[0])
    assert newest(folder) == kept
    assert list(folder.glob(".*.part")) == []
    ballast.unlink()
    goes_on(said, folder, undisturbed)


def test_stopping_many_times_leaves_few_states(
    config, data, tmp_path, after_step, capfd, undisturbed
):
    folder, said = tmp_path / "run", ""
    for step in (1, 3, 5):
        # Behind the answer to signals of its step, so that the next one's is the last.
        after_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        if said:
            assert main(shlex.split(said.splitlines()[-1])[1:]) == 143
        else:
            every = "default_hooks.checkpoint.interval=3"
            assert train(config, folder, every) == 143
        said = capfd.readouterr().err
        assert newest(folder) == step + 1
        assert len(training_states(folder)) <= 2
    goes_on(said, folder, undisturbed)
    assert len(training_states(folder)) <= 3


@pytest.mark.slow
def test_a_training_in_bfloat16_goes_on_exactly(
    config, data, tmp_path, after_step, capfd
):
    assert train(config, tmp_path / "whole", amp=True) == 0
    after_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train(config, tmp_path / "run", amp=True) == 143
    whole = load_tensors(tmp_path / "whole" / "whole.pth")
    goes_on(capfd.readouterr().err, tmp_path / "run", whole)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["run"]["amp"] is True
