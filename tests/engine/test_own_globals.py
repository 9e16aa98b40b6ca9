"""A run leaves nothing in mmengine's process-wide tables."""

from __future__ import annotations

import os
import signal

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer

from leuko_mm.engine.own_globals import own_globals


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
    monkeypatch.setattr("leuko_mm.engine.own_globals.gc.collect", collect)
    try:
        with own_globals():
            pass
        assert signal.getsignal(signal.SIGCHLD) is angry
    finally:
        signal.signal(signal.SIGCHLD, former)
