"""Each fault is told by what was lost, where its state is and what goes on."""

from __future__ import annotations

import errno
import re

import pytest
from torch._utils import ExceptionWrapper

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.finite_loss import NotFiniteError
from leuko_mm.workflows import training_faults
from leuko_mm.workflows.training_faults import (
    Circumstances,
    TrainingFaultError,
    tell_how_to_go_on,
)

GO_ON = "go on with:\n    leuko train unet --resume"
KILLED = "DataLoader worker (pid 77) is killed by signal: Killed. "
EXITED = "DataLoader worker (pid(s) 77) exited unexpectedly"
BUS = (
    "DataLoader worker (pid 77) is killed by signal: Bus error. It is possible that "
    "dataloader's workers are out of shared memory. Please try to raise your shared "
    "memory limit."
)
FULL_SHM = "unable to write to file </torch_5_2_0>: No space left on device (28)"
ZIP = "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"
GLOO = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"
NCCL = "NCCL communicator was aborted on rank 0."


@pytest.fixture
def where(tmp_path):
    """Return the circumstances of a training with two states, its data at hand."""
    for name in ("run/iter_10.pth", "run/iter_7.pth", "cells/dataset.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def made(**more):
        return Circumstances(tmp_path / "run", tmp_path / "cells", **more)

    return made


def told(error, where) -> str:
    with pytest.raises(TrainingFaultError) as caught:
        tell_how_to_go_on(error, where, go_on=GO_ON)
    assert caught.value.__cause__ is error
    assert caught.value.exit_code == 1
    assert str(caught.value).endswith(GO_ON)
    return str(caught.value)


def from_worker(error: Exception) -> Exception:
    """Return an error as torch hands it over from a worker."""
    try:
        raise error
    except Exception:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    try:
        wrapped.reraise()
    except Exception as handed_over:
        return handed_over


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError(KILLED), r"id 77 was ended by the signal: Killed; .*memory"),
        (RuntimeError(EXITED), r"id 77 exited unexpectedly; .*memory runs out"),
        (RuntimeError(BUS), r"shared memory .* full; .*--shm-size"),
        (RuntimeError(FULL_SHM), r"shared memory .* full; .*--shm-size"),
        (MemoryError(), r"memory ran out while a batch was loaded \(MemoryError\)"),
        (from_worker(MemoryError()), r"memory ran out"),
        (RuntimeError("Caught _ArrayMemoryError in DataLoader worker"), r"memory ran"),
        (RuntimeError("OpenCV: (-4:Insufficient memory)"), r"memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), r"memory ran out"),
    ],
)
def test_what_workers_lack(where, error, words):
    said = told(error, where(waited=True, fewer_workers="--cfg-options x=0"))
    assert re.search(words, said), said
    assert "--cfg-options x=0" in said
    assert "state after iter 10 is in" in said


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"),
        from_worker(FileNotFoundError(errno.ENOENT, "No such file", "a.png")),
        OSError(errno.ESTALE, "Stale file handle"),
        AssertionError("failed to load image: a.png"),
    ],
)
def test_lost_data(where, error):
    around = where(waited=True)
    said = told(error, around)
    assert f"a file of the dataset {around.data} cannot be read any more" in said
    assert "leuko check" in said
    (around.data / "dataset.json").unlink()
    said = told(error, around)
    assert (
        f"dataset {around.data} was there when the training began and is gone" in said
    )
    assert "still mounted" in said


@pytest.mark.parametrize("kind", [DatasetError, FileNotFoundError])
def test_data_that_is_lost_before_it_is_tested(where, kind):
    around = where()
    (around.data / "dataset.json").unlink()
    assert "is gone" in told(kind("not prepared"), around)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        RuntimeError(ZIP),
    ],
)
def test_a_disk_that_takes_no_more(where, error):
    around = where()
    said = told(error, around)
    assert f"{around.work_dir} cannot be written to any more" in said
    assert "make room" in said


@pytest.mark.parametrize(
    ("error", "processes", "known"),
    [
        (RuntimeError(GLOO), 2, True),
        (ConnectionResetError("Connection reset by peer"), 2, True),
        (RuntimeError(NCCL), 8, True),
        (RuntimeError(GLOO), 1, False),
        (RuntimeError("mat1 and mat2 cannot be multiplied"), 2, False),
        (ValueError("gloo"), 2, False),
    ],
)
def test_another_process(where, monkeypatch, error, processes, known):
    monkeypatch.setattr(training_faults, "get_world_size", lambda: processes)
    if known:
        said = told(error, where())
        assert "another process of this training has ended" in said
    else:
        tell_how_to_go_on(error, where(), go_on=GO_ON)


def test_without_a_state_it_begins_at_its_start(where):
    around = where(waited=True)
    for state in around.work_dir.iterdir():
        state.unlink()
    said = told(RuntimeError(KILLED), around)
    assert "No state was saved before, so that it begins at its start" in said


@pytest.mark.parametrize(
    ("error", "waited"),
    [
        (RuntimeError("CUDA out of memory"), False),
        (MemoryError(), False),
        (ValueError("a mistake"), True),
        (OSError(errno.ENOENT, "No such file or directory", "template"), False),
    ],
)
def test_of_other_failures_the_command_is_noted(where, error, waited, caplog):
    tell_how_to_go_on(error, where(waited=waited), go_on=GO_ON)
    noted = getattr(error, "__notes__", [record.message for record in caplog.records])
    assert "state of the training is saved" in noted[0]
    assert noted[0].endswith(GO_ON)


def test_who_has_said_what_to_do_is_left_alone(where):
    error = NotFiniteError("iteration 3: the loss is nan")
    tell_how_to_go_on(error, where(waited=True), go_on=GO_ON)
    assert not getattr(error, "__notes__", [])
