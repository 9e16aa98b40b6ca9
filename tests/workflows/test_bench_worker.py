"""A contender's process, run inside this one."""

from __future__ import annotations

import json
import sys
import time
import types

import pytest
import torch

from leuko_mm.workflows import bench_worker
from leuko_mm.workflows.bench_worker import serve, turn

SPEC = dict(home="bench_stand_in", device="cpu")


@pytest.fixture
def stand_in(monkeypatch):
    """Return what sets the `build` of a home that is made up."""
    home = types.ModuleType("stand_in")
    name = f"leuko_mm.workflows.{SPEC['home']}"
    monkeypatch.setitem(sys.modules, name, home)

    def set_build(function):
        home.build = function

    return set_build


def answers(*lines, spec=SPEC) -> list[dict]:
    told: list[dict] = []
    spec = dict(spec, threads=torch.get_num_threads())
    serve(iter(map(json.dumps, (spec, *lines))), told.append)
    return told


def test_a_contender_is_warmed_counted_and_timed(stand_in):
    calls = []

    def build(spec):
        layer = torch.nn.Conv2d(3, 8, 1)
        return lambda: calls.append(layer(torch.ones(1, 3, 10, 10)))

    stand_in(build)
    about, first, second = answers(0, 0)
    assert about == dict(gmacs=pytest.approx(2.4e-6), torch=torch.__version__)
    assert len(first["ms"]) == len(second["ms"]) == 1
    assert len(calls) == bench_worker.WARMING + 2
    assert first["peak_mib"] is None or first["peak_mib"] > 50


def test_what_torch_does_not_compute_is_not_counted(stand_in):
    stand_in(lambda spec: lambda: None)
    assert answers()[0]["gmacs"] is None


def test_what_is_not_installed_is_named(stand_in):
    def build(spec):
        import no_such_module_anywhere  # noqa: F401

    stand_in(build)
    assert answers(0) == [dict(missing="no_such_module_anywhere")]


def test_an_error_is_told_and_ends_it(stand_in):
    def build(spec):
        raise ValueError("too small\nand more")

    stand_in(build)
    assert answers(0, 0) == [dict(failed="ValueError: too small")]


def test_a_turn_lasts_its_time_and_knows_that_it_waited():
    timed = turn(lambda: time.sleep(0.02), 0.1)
    assert 2 <= len(timed["ms"]) <= 5
    assert all(one >= 20 for one in timed["ms"])
    assert timed["cores"] < 0.5


def test_the_processor_does_not_count_waiting():
    timed = turn(lambda: time.sleep(0.02), 0.1, clock="processor")
    assert all(one < 10 for one in timed["ms"])


def test_a_turn_is_one_call_at_least():
    assert len(turn(lambda: time.sleep(0.02), 0)["ms"]) == 1
