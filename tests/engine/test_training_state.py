"""A training goes on with the random numbers it stopped at."""

from __future__ import annotations

import random
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.engine.training_state import (
    TrainingStateHook,
    random_states,
    read_identity,
    restore_random_states,
)

IDENTITY = dict(config_sha256="c", dataset_sha256="d")


def draw() -> list[float]:
    # randn and gauss keep a second number back, which belongs to the state.
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        float(torch.rand(())),
    ]


@pytest.fixture
def saved(tmp_path):
    """Return a checkpoint with the hook's part, and what was drawn after it."""
    draw()
    checkpoint = {}
    TrainingStateHook(IDENTITY).before_save_checkpoint(None, checkpoint)
    path = tmp_path / "iter_1.pth"
    torch.save(checkpoint, path)
    return path, draw()


def test_the_states_survive_the_restricted_loader(saved):
    path, following = saved
    restore_random_states(load_tensors(path)["leuko_mm"]["random_states"])
    assert draw() == following


def test_the_states_come_back_before_the_first_step_alone(saved):
    path, following = saved
    hook, runner = TrainingStateHook(IDENTITY), SimpleNamespace(_resume=True)
    hook.after_load_checkpoint(runner, load_tensors(path))
    draw()  # as loaders do when they begin
    hook.before_train_iter(runner, 0)
    assert draw() == following
    hook.before_train_iter(runner, 1)
    assert draw() != following


def test_weights_to_start_from_bring_no_history(saved):
    path, following = saved
    hook, runner = TrainingStateHook(IDENTITY), SimpleNamespace(_resume=False)
    hook.after_load_checkpoint(runner, load_tensors(path))
    hook.before_train_iter(runner, 0)
    assert draw() != following


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


def test_a_state_says_which_run_it_is_of(saved, tmp_path):
    assert read_identity(saved[0]) == IDENTITY
    torch.save(dict(state_dict={}), tmp_path / "foreign.pth")
    assert read_identity(tmp_path / "foreign.pth") == {}


def test_random_states_change_nothing():
    states = random_states()
    first = draw()
    restore_random_states(states)
    random_states()
    assert draw() == first
