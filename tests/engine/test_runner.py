"""The runner's console and log file, mmengine's global tables, and kept memory."""

from __future__ import annotations

import io
import logging
import os
import platform
import signal

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer
from tiny_run import python

from leuko_mm.engine.runner import LegibleRunner, own_globals

HIDDEN = [
    (logging.INFO, "\n---\nSystem environment:\n    sys.platform: linux\n---\n"),
    (logging.INFO, "Config:\nmodel = dict()\n"),
    (logging.INFO, "Iter(test) [13/13]    mIoU: 81.2  mIoU_fg: 79.0"),
    (logging.WARNING, '"HardDiskBackend" is the alias of "LocalBackend" and the'),
]
SHOWN = [
    (logging.INFO, "Iter(test) [10/13]    eta: 0:00:01  time: 0.4"),
    (logging.WARNING, "the weights are not loaded"),
    (logging.ERROR, "Config:\nmodel = dict()\n"),
]


@pytest.mark.parametrize(("level", "text"), HIDDEN + SHOWN)
def test_the_file_has_every_record_and_the_console_what_users_read(
    tmp_path, level, text
):
    shown = (level, text) in SHOWN
    runner = object.__new__(LegibleRunner)
    runner._experiment_name, runner._log_dir = "a run", str(tmp_path)
    runner._timestamp = "now"
    console = io.StringIO()
    with own_globals():
        logger = runner.build_logger()
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setStream(console)
        logger.log(level, text)
    assert text in (tmp_path / "now.log").read_text()
    assert (text in console.getvalue()) is shown
    assert bool(console.getvalue()) is shown


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


def test_former_instances_stay_and_are_current_again(tmp_path):
    def failing_run():
        with own_globals():
            leave_traces("own_globals_4", tmp_path)
            current = MessageHub.get_current_instance()
            assert current.instance_name == "own_globals_4"
            raise KeyError("x")

    with own_globals():
        leave_traces("own_globals_3", tmp_path)
        with pytest.raises(KeyError):
            failing_run()
        assert not any(known("own_globals_4"))
        assert all(known("own_globals_3"))
        assert MessageHub.get_current_instance().instance_name == "own_globals_3"


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no SIGCHLD here")
def test_workers_may_end_while_a_run_is_removed(monkeypatch):
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
    return int(python("-c", FAULTS, how).stdout.split()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_arrays_come_and_go_without_new_pages():
    assert faults("kept") * 20 < faults("usual")
