"""Memory that the process keeps: pages are not cleared anew for every array.

A run's console holds what its user reads; its log file holds everything.

A run leaves nothing in mmengine's process-wide tables.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import platform
import signal
import subprocess
import sys

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer

from leuko_mm.engine import runner as kept_memory
from leuko_mm.engine.runner import LegibleRunner, own_globals

# Counts the pages that the system hands out while large arrays come and go.
FAULTS = """
import resource
import sys
import torch
from leuko_mm.engine.runner import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
def turn():
    for _ in range(20):
        torch.ones(2**23)
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_arrays_come_and_go_without_new_pages():
    assert faults("kept") * 20 < faults("usual")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert kept_memory.keep_memory() is False


def test_a_system_without_one_is_left_alone(monkeypatch):
    def refuse(name):
        raise TypeError("as on Windows")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert kept_memory.keep_memory() is False


DUMPS = [
    "\n-----\nSystem environment:\n    sys.platform: linux\n-----\n",
    "Config:\nmodel = dict()\n",
    "Hooks will be executed in the following order:\nbefore_run:\n",
    "Distributed training is not used, all SyncBatchNorm (SyncBN) layers ...",
    "Exp name: quickstart_20260101",
    "10 test cells\nclass   precision\n",
    "Iter(test) [13/13]    mIoU: 81.2  mIoU_fg: 79.0",
]
UNMENDABLE = [
    '"FileClient" will be deprecated in future. Please use io functions',
    '"HardDiskBackend" is the alias of "LocalBackend" and the former will be',
]
READ = [
    "Iter(train) [10/450]  loss: 2.1",
    "Iter(test) [10/13]    eta: 0:00:01  time: 0.4",
    "Saving checkpoint at 100 iterations",
    "loaded vgg16 weights from data/weights/vgg16.pth",
]


@pytest.fixture
def logger(tmp_path):
    """Return the logger of a run, as its runner builds it."""
    runner = object.__new__(LegibleRunner)
    runner._experiment_name, runner._log_dir = "a run", str(tmp_path)
    runner._timestamp = "now"
    with own_globals():
        yield runner.build_logger()


@pytest.fixture
def console(logger):
    """Return a function that tells what the console has shown."""
    stream = io.StringIO()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setStream(stream)
    return stream.getvalue


def test_every_word_reaches_the_file(logger, tmp_path):
    for text in DUMPS + READ:
        logger.info(text)
    for text in UNMENDABLE:
        logger.warning(text)
    written = (tmp_path / "now.log").read_text()
    assert all(text in written for text in DUMPS + READ + UNMENDABLE)


@pytest.mark.parametrize("text", DUMPS)
def test_dumps_stay_off_the_console(logger, text, console):
    logger.info(text)
    assert console() == ""


@pytest.mark.parametrize("text", UNMENDABLE)
def test_warnings_that_no_user_can_mend_stay_off_the_console(logger, text, console):
    logger.warning(text)
    assert console() == ""


@pytest.mark.parametrize("text", READ)
def test_what_is_read_is_shown(logger, text, console):
    logger.info(text)
    assert text in console()


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_other_warnings_and_all_errors_are_shown(logger, level, console):
    logger.log(level, "the weights are not loaded")
    assert "the weights are not loaded" in console()
    logger.error(DUMPS[1])
    assert "Config:" in console()


def leave_traces(name: str, folder) -> MMLogger:
    logger = MMLogger.get_instance(name, log_file=str(folder / f"{name}.log"))
    logger.info("something")
    MessageHub.get_instance(name)
    DefaultScope.get_instance(name, scope_name="mmseg")
    SegLocalVisualizer.get_instance(name)
    return logger


def known(name: str) -> list[bool]:
    kinds = (MMLogger, MessageHub, DefaultScope, Visualizer, SegLocalVisualizer)
    return [kind.check_instance_created(name) for kind in kinds]


def test_what_a_run_leaves_is_removed(tmp_path):
    with own_globals():
        logger = leave_traces("own_globals_1", tmp_path)
        assert all(known("own_globals_1"))
    assert not any(known("own_globals_1"))
    files = [h for h in logger.handlers if hasattr(h, "baseFilename")]
    assert files
    assert all(h.stream is None or h.stream.closed for h in files)
    assert "something" in (tmp_path / "own_globals_1.log").read_text()


def test_a_run_that_fails_leaves_nothing_either(tmp_path):
    def failing_run():
        with own_globals():
            leave_traces("own_globals_2", tmp_path)
            raise KeyError("x")

    with pytest.raises(KeyError):
        failing_run()
    assert not any(known("own_globals_2"))


def test_what_was_there_stays_and_counts_again(tmp_path):
    with own_globals():
        leave_traces("own_globals_3", tmp_path)
        with own_globals():
            leave_traces("own_globals_4", tmp_path)
            current = MessageHub.get_current_instance()
            assert current.instance_name == "own_globals_4"
        assert all(known("own_globals_3"))
        assert MessageHub.get_current_instance().instance_name == "own_globals_3"


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no SIGCHLD here")
def test_workers_may_end_while_a_run_is_cleared_away(monkeypatch):
    def angry(number, frame):
        raise RuntimeError("DataLoader worker is killed by signal")

    former = signal.signal(signal.SIGCHLD, angry)
    collect = lambda: os.kill(os.getpid(), signal.SIGCHLD)  # noqa: E731
    monkeypatch.setattr("leuko_mm.engine.runner.gc.collect", collect)
    try:
        with own_globals():
            pass
        assert signal.getsignal(signal.SIGCHLD) is angry
    finally:
        signal.signal(signal.SIGCHLD, former)
