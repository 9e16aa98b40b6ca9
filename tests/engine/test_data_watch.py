"""The state is saved where the data ends, and nothing interrupts a step."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from leuko_mm.engine.data_watch import DataWatch

needs_children = pytest.mark.skipif(
    not hasattr(signal, "SIGCHLD"), reason="this system does not tell of children"
)


class Batches:
    """Gives a number a time, and does what it is told before one of them."""

    def __init__(self, events):
        self.events, self.given, self.skipped = events, 0, 0

    def __next__(self):
        self.given += 1
        self.events.get(self.given, lambda: None)()
        return self.given

    def skip_iter(self, count):
        self.skipped = count


def fail(error: Exception):
    def event():
        raise error

    return event


@pytest.fixture
def runner():
    """Return a runner that is to begin at iteration 5."""
    logger = logging.getLogger("test")
    return SimpleNamespace(iter=5, train_loop=SimpleNamespace(), logger=logger)


def run(watch, runner, batches, *, steps=4, step=lambda number: None):
    """Train as mmengine's loop does."""
    runner.train_loop.dataloader_iterator = batches
    try:
        with watch.watching(runner):
            for _ in range(steps):
                step(next(runner.train_loop.dataloader_iterator))
                runner.iter += 1
    finally:
        watch.give_back()


@pytest.fixture
def saves():
    return []


@pytest.fixture
def watch(saves):
    return DataWatch(lambda runner, done: saves.append(done))


def test_batches_are_handed_on(watch, runner, saves):
    given, batches = [], Batches({})
    run(watch, runner, batches, step=given.append)
    assert given == [1, 2, 3, 4]
    assert (saves, watch.failed) == ([], False)
    assert runner.train_loop.dataloader_iterator is batches


def test_what_else_the_loop_asks_of_its_data_is_answered(watch, runner):
    batches = Batches({})
    runner.train_loop.dataloader_iterator = batches
    with watch.watching(runner):
        runner.train_loop.dataloader_iterator.skip_iter(7)
    assert batches.skipped == 7


def test_the_state_is_saved_where_the_data_ends(watch, runner, saves):
    error = OSError("gone")
    with pytest.raises(OSError, match="gone") as caught:
        run(watch, runner, Batches({3: fail(error)}))
    assert caught.value is error
    assert saves == [7]
    assert (watch.failed, watch.saved) == (True, True)


def test_before_a_step_there_is_nothing_to_save(watch, runner, saves):
    """The random states of the state that was loaded wait for the first step."""
    with pytest.raises(OSError, match="gone"):
        run(watch, runner, Batches({1: fail(OSError("gone"))}))
    assert (saves, watch.failed, watch.saved) == ([], True, False)


def test_a_failing_step_is_none_of_its_business(watch, runner, saves):
    with pytest.raises(OSError, match="in a step"):
        run(watch, runner, Batches({}), step=lambda _: fail(OSError("in a step"))())
    assert (saves, watch.failed) == ([], False)


def test_who_is_asked_to_stop_saves_by_itself(runner, saves):
    watch = DataWatch(lambda _, done: saves.append(done), asked_to_stop=lambda: True)
    with pytest.raises(OSError, match="gone"):
        run(watch, runner, Batches({3: fail(OSError("gone"))}))
    assert saves == []


def test_where_saving_fails_too_the_first_failure_is_told(runner, caplog):
    watch = DataWatch(lambda runner, done: fail(OSError("disk full"))())
    with caplog.at_level("WARNING", "test"), pytest.raises(OSError, match="gone"):
        run(watch, runner, Batches({3: fail(OSError("gone"))}))
    assert "disk full" in caplog.text
    assert (watch.failed, watch.saved) == (True, False)


def test_a_loop_that_counts_epochs_is_left_alone(watch, runner):
    with watch.watching(runner):
        assert not hasattr(runner.train_loop, "dataloader_iterator")


@pytest.fixture
def torchs_handler():
    """Set a handler that raises, as torch does when it starts its first workers."""
    told = []

    def handler(number, frame):
        told.append(number)
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    before = signal.getsignal(signal.SIGCHLD)
    yield SimpleNamespace(
        told=told, start=lambda: signal.signal(signal.SIGCHLD, handler)
    )
    signal.signal(signal.SIGCHLD, before)


def child_ends():
    os.kill(os.getpid(), signal.SIGCHLD)
    time.sleep(0.01)


@needs_children
def test_a_worker_that_dies_in_a_step_is_told_after_it(
    watch, runner, saves, torchs_handler
):
    steps = []

    def step(number):
        if number == 2:
            child_ends()
        steps.append(number)

    with pytest.raises(RuntimeError, match="Killed"):
        run(watch, runner, Batches({1: torchs_handler.start}), step=step)
    assert steps == [1, 2], "the step has not been cut short"
    assert saves == [7]


@needs_children
def test_a_worker_that_dies_while_it_is_waited_for_is_told_at_once(
    watch, runner, saves, torchs_handler
):
    events = {1: torchs_handler.start, 3: child_ends}
    with pytest.raises(RuntimeError, match="Killed"):
        run(watch, runner, Batches(events))
    assert saves == [7]


@needs_children
def test_the_former_handler_comes_back(watch, runner, torchs_handler):
    run(watch, runner, Batches({1: torchs_handler.start}))
    with pytest.raises(RuntimeError, match="Killed"):
        child_ends()


@needs_children
def test_another_thread_takes_over_no_signal(watch, runner, torchs_handler):
    torchs_handler.start()
    former, seen = signal.getsignal(signal.SIGCHLD), []

    def train():
        run(
            watch,
            runner,
            Batches({}),
            step=lambda _: seen.append(signal.getsignal(signal.SIGCHLD)),
        )

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [former] * 4
