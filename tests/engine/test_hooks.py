"""Losses that are no number, a stop between two steps, and an exact resume."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from toy_training import ADAM, EveryIteration, ToyNet, toy_data, toy_runner

from leuko_mm.engine import hooks
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.engine.hooks import (
    FiniteLossHook,
    GracefulStopHook,
    Interrupted,
    NotFiniteError,
    TrainingStateHook,
)

BAD = 2  # the batch with a bad pixel, counted from 0


class TwoLosses(ToyNet):
    """Returns two losses, of which one is always a number."""

    def forward(self, image, target, mode="loss"):
        whole = super().forward(image, target)["loss"]
        return dict(loss_fit=whole, loss_size=self.head.weight.square().mean())


def data(value: float = float("nan"), *batches: int):
    samples = toy_data()
    for batch in batches or (BAD,):
        samples[4 * batch]["image"][0, 0, 0] = value
    return samples


def runner_of(folder, samples, *hooks, **settings):
    torch.manual_seed(0)
    net = TwoLosses(norm=True)
    options = dict(hooks=hooks, data=samples, optim_wrapper=ADAM)
    return toy_runner(net, folder, **options, **settings)


def trained(*arguments, **settings) -> nn.Module:
    runner = runner_of(*arguments, **settings)
    runner.train()
    return runner.model


def assert_same(model, other) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_it_stops_with_the_batch_saved_and_the_weights_of_before(tmp_path, value):
    kept = {}

    def keep(runner):
        kept.update({k: v.clone() for k, v in runner.model.named_parameters()})

    hooks = [FiniteLossHook(), EveryIteration(keep)]
    runner = runner_of(tmp_path, data(value), *hooks)
    with pytest.raises(NotFiniteError) as raised:
        runner.train()
    for words in ("iteration 3", "loss_fit is", "default_hooks.finite_loss.skip=10"):
        assert words in str(raised.value)
    assert "loss_size is" not in str(raised.value)
    assert raised.value.exit_code == 1
    assert kept.keys() == dict(runner.model.named_parameters()).keys()
    for name, tensor in runner.model.named_parameters():
        assert torch.equal(tensor, kept[name])
    saved = load_tensors(tmp_path / "not_finite_iter_3_rank0.pth")
    assert saved["losses"].keys() == {"loss", "loss_fit", "loss_size"}


def test_a_batch_left_out_changes_neither_weights_nor_statistics(tmp_path):
    skipping = FiniteLossHook(skip=1)
    model = trained(tmp_path / "a", data(), skipping)
    assert skipping.skipped == 1
    assert (tmp_path / "a" / "not_finite_iter_3_rank0.pth").is_file()
    # The same training without that batch, one iteration shorter.
    samples = toy_data()
    del samples[4 * BAD : 4 * BAD + 4]
    shorter = dict(train_cfg=dict(type="IterBasedTrainLoop", max_iters=5))
    assert_same(trained(tmp_path / "b", samples, **shorter), model)


def test_it_changes_nothing_of_a_sound_training(tmp_path):
    guarded = trained(tmp_path / "a", toy_data(), FiniteLossHook(skip=3))
    assert_same(trained(tmp_path / "b", toy_data()), guarded)
    assert "parse_losses" not in vars(guarded)


class RootOfNothing(ToyNet):
    """Its loss is a number, and its gradient is none."""

    def forward(self, image, target, mode="loss"):
        zero = 0 * self.head.weight.sum()
        return dict(loss=super().forward(image, target)["loss"] + zero.sqrt())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    every = dict(type="CheckpointHook", by_epoch=False, interval=1)
    settings = dict(hooks=[FiniteLossHook()], default_hooks=dict(checkpoint=every))
    runner = toy_runner(RootOfNothing(), tmp_path, optim_wrapper=ADAM, **settings)
    with pytest.raises(NotFiniteError, match=r"iteration 1: the weights .* head"):
        runner.train()
    assert list(tmp_path.glob("*.pth")) == []


class FakeRunner(SimpleNamespace):
    """What the hook uses of a runner."""

    def save_checkpoint(self, out_dir, filename, *, meta, by_epoch):
        assert by_epoch is False
        (Path(out_dir) / filename).write_text(str(meta["iter"]))


@pytest.fixture
def hook(tmp_path):
    hook = GracefulStopHook(tmp_path)
    yield hook
    hook.restore_signals()


@pytest.fixture
def runner(tmp_path):
    return FakeRunner(iter=4, work_dir=str(tmp_path), hooks=[])


def send(number):
    """Send a signal to this process and wait until Python has handled it."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_is_answered_after_the_iteration(hook, runner, tmp_path, number, code):
    with hook.catching_signals(runner):
        send(number)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(Interrupted, match="--resume") as caught:
            hook.after_train_iter(runner, 0)
    assert caught.value.exit_code == code
    assert number.name in str(caught.value)
    # Iterations 0 to 4 are done.
    state = Path((tmp_path / "last_checkpoint").read_text())
    assert state == tmp_path / "iter_5.pth"
    assert state.read_text() == "5"


def test_the_signals_get_their_former_handlers_back(hook, runner):
    def torchs_own(number, frame):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    torchs_former = signal.signal(signal.SIGCHLD, torchs_own)
    try:
        former = [signal.getsignal(number) for number in numbers]
        with hook.catching_signals(runner):
            send(signal.SIGTERM)
            # Workers that end with this process do not break the step.
            send(signal.SIGCHLD)
            for number, handler in zip(numbers, former, strict=True):
                assert signal.getsignal(number) != handler
        assert [signal.getsignal(number) for number in numbers] == former
    finally:
        signal.signal(signal.SIGCHLD, torchs_former)


def test_after_a_failure_the_signals_are_caught_until_restored(hook, runner):
    former = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(RuntimeError, match="closed by peer"),
        hook.catching_signals(runner),
    ):
        raise RuntimeError("Connection closed by peer")
    send(signal.SIGTERM)  # would end this process
    for _ in range(2):
        hook.restore_signals()
        assert signal.getsignal(signal.SIGTERM) == former


def fail_while_waiting(hook, runner, error, *, asked=True):
    """Train until the loop fails, with or without a signal before it."""
    with hook.catching_signals(runner):
        if asked:
            send(signal.SIGTERM)
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid(s) 7) exited"),
        ConnectionResetError("Connection reset by peer"),
        EOFError(),
    ],
)
def test_workers_may_end_while_data_is_waited_for(hook, runner, tmp_path, error):
    with pytest.raises(Interrupted):
        fail_while_waiting(hook, runner, error)
    # The next iteration had no data.
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_4.pth")


@pytest.mark.parametrize(
    ("words", "asked"),
    [("out of memory", True), ("DataLoader worker 7 exited", False)],
)
def test_other_errors_stay_what_they_are(hook, runner, tmp_path, words, asked):
    with pytest.raises(RuntimeError, match=words):
        fail_while_waiting(hook, runner, RuntimeError(words), asked=asked)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_to_one_process_stops_all(hook, runner, tmp_path, monkeypatch):
    def from_another_rank(tensor, op):
        assert op == "max"
        tensor.copy_(torch.maximum(tensor, torch.tensor(int(signal.SIGTERM))))

    monkeypatch.setattr(hooks, "all_reduce", from_another_rank)
    with pytest.raises(Interrupted) as caught:
        hook.after_train_iter(runner, 0)
    assert caught.value.exit_code == 143
    assert (tmp_path / "iter_5.pth").exists()


IDENTITY = dict(config_sha256="c", dataset_sha256="d")


def draw() -> list[float]:
    # randn and gauss keep a second number, which belongs to the state.
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        float(torch.rand(())),
    ]


@pytest.fixture
def saved(tmp_path):
    """Return a checkpoint with the hook's entry, and what was drawn after it."""
    draw()
    checkpoint = {}
    TrainingStateHook(IDENTITY).before_save_checkpoint(None, checkpoint)
    path = tmp_path / "iter_1.pth"
    torch.save(checkpoint, path)
    return path, draw()


def test_the_states_come_back_before_the_first_step_only(saved):
    path, following = saved
    hook, runner = TrainingStateHook(IDENTITY), SimpleNamespace(_resume=True)
    hook.after_load_checkpoint(runner, load_tensors(path))
    draw()  # as loaders do when they begin
    hook.before_train_iter(runner, 0)
    assert draw() == following
    hook.before_train_iter(runner, 1)
    assert draw() != following


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (IDENTITY, None),
        ({**IDENTITY, "config_sha256": "x"}, "had another config:"),
        ({}, "had another config and another dataset:"),
    ],
)
def test_a_resumed_training_says_what_changed(saved, caplog, now, said):
    runner = SimpleNamespace(_resume=True, logger=logging.getLogger("resumed"))
    TrainingStateHook(now).after_load_checkpoint(runner, load_tensors(saved[0]))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (said is not None)
    assert all(said in message for message in messages)


def test_the_time_of_all_parts_counts(saved):
    path, _ = saved
    checkpoint = load_tensors(path)
    checkpoint["leuko_mm"].update(started=1000.0, trained_s=500.0)
    hook = TrainingStateHook(IDENTITY)
    assert hook.started == pytest.approx(time.time(), abs=60)
    assert 0 <= hook.trained_s < 60
    hook.after_load_checkpoint(SimpleNamespace(_resume=True), checkpoint)
    assert hook.started == 1000.0
    assert 500 <= hook.trained_s < 560
