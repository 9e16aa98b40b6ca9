"""The time left follows from what is done, by multiply-adds and iterations."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from leuko_mm.comparison.runner import Pace, count_gmacs
from leuko_mm.training.config import resolve_config


def run(name: str, *, iterations: int = 10, batch: int = 2):
    return SimpleNamespace(
        request=SimpleNamespace(config=name),
        config=SimpleNamespace(train_dataloader=dict(batch_size=batch), name=name),
        iterations=iterations,
    )


def results(gmacs: float, wall_s: float) -> dict:
    return dict(model=dict(gmacs=gmacs), run=dict(wall_s=wall_s))


def test_nothing_done_tells_nothing():
    assert Pace().seconds([run("a")]) is None


def test_a_run_takes_as_long_as_its_like():
    pace = Pace()
    pace.learn(run("a"), results(5.0, 30.0))
    assert pace.seconds([run("a")]) == pytest.approx(30)
    assert pace.seconds([run("a", iterations=20), run("a", batch=4)]) == 120
    assert pace.seconds([]) == 0


def test_a_network_without_results_is_counted_where_runs_are_long():
    counted = []
    pace = Pace(lambda config: counted.append(config.name) or 20.0)
    pace.learn(run("a"), results(5.0, 3000.0))
    assert pace.seconds([run("b"), run("b")]) == pytest.approx(24000)
    assert counted == ["b"]


def test_short_runs_are_not_worth_the_counting():
    pace = Pace(lambda config: pytest.fail("counted"))
    pace.learn(run("a"), results(4.0, 2.0))
    pace.learn(run("b"), results(8.0, 4.0))
    assert pace.seconds([run("c")]) == pytest.approx(3)


def test_a_resumption_without_a_step_teaches_nothing():
    pace = Pace()
    pace.learn(run("a"), results(5.0, 0.0))
    assert pace.seconds([run("a")]) is None


def test_the_multiply_adds_of_a_config_are_counted(tiny_config):
    config = resolve_config(str(tiny_config))
    small = count_gmacs(config)
    config.test_dataloader.dataset.size = 128
    assert count_gmacs(config) == pytest.approx(4 * small, rel=0.05)
    assert 0 < small < 1
