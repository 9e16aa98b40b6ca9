"""Times and estimates do not depend on what the clock on the wall shows."""

from __future__ import annotations

import itertools
import time

import pytest
from mmengine.hooks import IterTimerHook
from toy_training import EveryIteration, toy_net, toy_runner

from leuko_mm.engine.steady_timer import SteadyTimerHook, with_steady_timer

YEAR = 365 * 24 * 3600


@pytest.fixture
def wild_clock(monkeypatch):
    """Let the time of day jump by years, forwards and back, at every look."""
    jumps = itertools.cycle([0, 3 * YEAR, -2 * YEAR])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))


def times_of(tmp_path, hook) -> list[float]:
    """Train six steps; return every time and estimate that was noted."""
    noted: list[float] = []

    def note(runner):
        hub = runner.message_hub
        noted.extend(
            hub.get_scalar(f"train/{name}").current() for name in ("time", "data_time")
        )
        noted.append(hub.get_info("eta"))

    hooks = dict(logger=None, checkpoint=None, timer=hook)
    runner = toy_runner(toy_net(), tmp_path, default_hooks=hooks)
    runner.register_hook(EveryIteration(note))
    runner.train()
    assert len(noted) == 18
    return noted


def test_no_time_is_negative_or_years(tmp_path, wild_clock):
    assert all(0 <= seconds < 60 for seconds in times_of(tmp_path, SteadyTimerHook()))


def test_mmengines_own_follows_the_clock(tmp_path, wild_clock):
    """Else there would be nothing to replace."""
    noted = times_of(tmp_path, dict(type="IterTimerHook"))
    assert any(abs(seconds) > YEAR / 2 for seconds in noted)


def test_the_estimate_is_the_mean_times_what_is_left(tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    noted = times_of(tmp_path, SteadyTimerHook())
    # Two looks an iteration: at its data after one second, at its end after two.
    assert noted[0::3] == [2.0] * 6
    assert noted[1::3] == [1.0] * 6
    assert noted[2::3] == [10.0, 8.0, 6.0, 4.0, 2.0, 0.0]


def test_only_mmengines_own_is_replaced():
    assert isinstance(with_steady_timer({})["timer"], SteadyTimerHook)
    named = dict(timer=dict(type="IterTimerHook"), logger=dict(type="LoggerHook"))
    replaced = with_steady_timer(named)
    assert isinstance(replaced["timer"], SteadyTimerHook)
    assert replaced["logger"] == named["logger"]
    assert named["timer"] == dict(type="IterTimerHook"), "the config stays as it was"
    for own in (None, dict(type="Mine"), IterTimerHook()):
        assert with_steady_timer(dict(timer=own)) == dict(timer=own)
