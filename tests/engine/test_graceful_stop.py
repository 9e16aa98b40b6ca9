"""A run that is asked to stop does so between two steps, with its state saved."""

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from leuko_mm.engine import graceful_stop
from leuko_mm.engine.graceful_stop import GracefulStopHook, Interrupted


class FakeRunner(SimpleNamespace):
    """The part of a runner that the hook uses."""

    def save_checkpoint(self, out_dir, filename, *, meta, by_epoch):
        assert by_epoch is False
        (Path(out_dir) / filename).write_text(str(meta["iter"]))


@pytest.fixture
def hook(tmp_path):
    hook = GracefulStopHook(tmp_path)
    yield hook
    hook.give_back()


@pytest.fixture
def runner(tmp_path):
    return FakeRunner(iter=4, work_dir=str(tmp_path), hooks=[])


def send(number):
    """Send a signal to this process and wait until Python has handled it."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def test_without_a_signal_nothing_happens(hook, runner, tmp_path):
    with hook.listening(runner):
        hook.after_train_iter(runner, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_is_answered_after_the_iteration(hook, runner, tmp_path, number, code):
    with hook.listening(runner):
        send(number)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(Interrupted, match="--resume") as caught:
            hook.after_train_iter(runner, 0)
    assert caught.value.exit_code == code
    assert number.name in str(caught.value)
    assert str(caught.value).endswith("go on with --resume")
    # Iterations 0 to 4 are done.
    state = Path((tmp_path / "last_checkpoint").read_text())
    assert state == tmp_path / "iter_5.pth"
    assert state.read_text() == "5"


def test_the_signals_get_their_former_handlers_back(hook, runner):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    former = [signal.getsignal(number) for number in numbers]
    with hook.listening(runner):
        assert signal.getsignal(signal.SIGTERM) != former[1]
        send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGCHLD) != former[2]
    assert [signal.getsignal(number) for number in numbers] == former


def test_where_a_training_fails_the_signals_are_kept_until_it_has_said_why(
    hook, runner
):
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="closed by peer"), hook.listening(runner):
        raise RuntimeError("Connection closed by peer")
    send(signal.SIGTERM)  # would end this process
    hook.give_back()
    assert signal.getsignal(signal.SIGTERM) == former
    hook.give_back()
    assert signal.getsignal(signal.SIGTERM) == former


def test_workers_that_end_do_not_break_the_step(hook, runner):
    def torchs_own(number, frame):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal")

    former = signal.signal(signal.SIGCHLD, torchs_own)
    try:
        with hook.listening(runner):
            send(signal.SIGTERM)
            send(signal.SIGCHLD)
        with pytest.raises(RuntimeError, match="DataLoader worker"):
            send(signal.SIGCHLD)
    finally:
        signal.signal(signal.SIGCHLD, former)


def waiting_for_data(hook, runner, words, *, asked=True, kind=RuntimeError):
    """Train until the loop fails, with or without a signal before it."""
    with hook.listening(runner):
        if asked:
            send(signal.SIGTERM)
        raise kind(words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RuntimeError, "DataLoader worker (pid(s) 7) exited"),
        (ConnectionResetError, "Connection reset by peer"),
        (EOFError, ""),
    ],
)
def test_workers_that_end_while_data_is_waited_for(hook, runner, tmp_path, kind, words):
    with pytest.raises(Interrupted):
        waiting_for_data(hook, runner, words, kind=kind)
    # Iterations 0 to 3 are done; the next one had no data.
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_4.pth")


@pytest.mark.parametrize(
    ("words", "asked"),
    [("out of memory", True), ("DataLoader worker 7 exited", False)],
)
def test_other_errors_stay_what_they_are(hook, runner, tmp_path, words, asked):
    with pytest.raises(RuntimeError, match=words):
        waiting_for_data(hook, runner, words, asked=asked)
    assert list(tmp_path.iterdir()) == []


def test_another_thread_trains_without_listening(hook, runner):
    ran = []

    def train():
        with hook.listening(runner):
            ran.append(signal.getsignal(signal.SIGTERM))

    former = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert ran == [former]


def test_a_signal_to_one_process_stops_all(hook, runner, tmp_path, monkeypatch):
    def from_another_rank(tensor, op):
        assert op == "max"
        tensor.copy_(torch.maximum(tensor, torch.tensor(int(signal.SIGTERM))))

    monkeypatch.setattr(graceful_stop, "all_reduce", from_another_rank)
    with pytest.raises(Interrupted) as caught:
        hook.after_train_iter(runner, 0)
    assert caught.value.exit_code == 143
    assert (tmp_path / "iter_5.pth").exists()
