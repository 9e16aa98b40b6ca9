"""A comparison does what is not done, once, and each run as if it were alone."""

from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from tiny_run import write_config

from leuko_mm.comparison import runner as module
from leuko_mm.comparison.plan import CompareRequest, plan_runs
from leuko_mm.comparison.run_files import DIFFERS, DONE
from leuko_mm.comparison.runner import FAILED, Outcome, ProgressHook, compare, merged
from leuko_mm.files import locked
from leuko_mm.processes import ComparisonStopped

# Dropout draws from a global generator, which nothing else of a tiny run does.
DROPOUT = "\nmodel['decode_head']['dropout_ratio'] = 0.5\n"


def same_but_for_the_times(one: Path, other: Path) -> bool:
    contents = [json.loads(path.read_text()) for path in (one, other)]
    for content in contents:
        # The code may be changed while it is tested.
        for key in ("started", "wall_s", "git"):
            content["run"].pop(key)
    cells = [
        path.with_name(content["cells"])
        for path, content in zip((one, other), contents, strict=True)
    ]
    return contents[0] == contents[1] and (
        cells[0].read_bytes() == cells[1].read_bytes()
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(former)


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Return the files of two methods, one of which draws while it trains."""
    folder = tmp_path_factory.mktemp("configs")
    return [
        str(write_config(folder, name="first")),
        str(write_config(folder, name="second", more=f"{DROPOUT}method = 'second'\n")),
    ]


def wish(place: Path, configs, **more) -> CompareRequest:
    choices = dict(
        protocol="smoke",
        methods=configs,
        settings=["own"],
        amp=False,
        out=str(place / "results"),
        work_dirs=str(place / "runs"),
    )
    return CompareRequest(**{**choices, **more})


def counts() -> tuple[int, ...]:
    """Count what a run may leave behind in the process."""
    gc.collect()
    kinds = (MMLogger, MessageHub, Visualizer, DefaultScope)
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    runners = sum(isinstance(thing, Runner) for thing in gc.get_objects())
    return (*(len(kind._instance_dict) for kind in kinds), files, runners)


@pytest.fixture(scope="module")
def compared(tiny_home, configs, tmp_path_factory):
    """Return the place of a comparison of three runs, its outcomes, and its traces."""
    place, said = tmp_path_factory.mktemp("compared"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        compare(wish(place / "before", configs[:1]), say=said.append)
        before = counts()
        outcomes = compare(wish(place, configs), say=said.append)
        request = wish(place, configs[1:], seeds=[1])
        outcomes += compare(request, say=said.append)
        after = counts()
    return place, outcomes, (before, after), said


def test_every_run_is_published(compared):
    place, outcomes, _, said = compared
    assert [outcome.status for outcome in outcomes] == [DONE] * 3
    names = sorted(path.name for path in (place / "results" / "smoke").iterdir())
    assert names == [
        "second-fold5-s0.cells.npz",
        "second-fold5-s0.json",
        "second-fold5-s0.losses.csv",
        "second-fold5-s1.cells.npz",
        "second-fold5-s1.json",
        "second-fold5-s1.losses.csv",
        "tiny-fold5-s0.cells.npz",
        "tiny-fold5-s0.json",
        "tiny-fold5-s0.losses.csv",
    ]
    assert any("left of all" in line for line in said)


def test_runs_leave_nothing_in_the_process(compared):
    _, _, (before, after), _ = compared
    assert after == before


def test_what_is_done_is_not_done_again(compared, configs, tiny_data, monkeypatch):
    place, _, _, _ = compared
    monkeypatch.setattr(module, "train", lambda request: pytest.fail("trained again"))
    said = []
    outcomes = compare(wish(place, configs, seeds=[0]), say=said.append)
    assert [outcome.status for outcome in outcomes] == [DONE, DONE]
    assert said == []


def test_a_run_is_the_same_alone_and_as_the_last_of_three(
    compared, configs, tiny_data, tmp_path
):
    place, _, _, _ = compared
    compare(wish(tmp_path, configs[1:], seeds=[1]), say=lambda line: None)
    name = Path("results/smoke/second-fold5-s1.json")
    results = json.loads((tmp_path / name).read_text())
    assert results["run"]["command"].startswith(f"leuko train {configs[1]}")
    assert same_but_for_the_times(tmp_path / name, place / name)


class Stopper(Hook):
    """Send a signal to this process after an iteration."""

    def __init__(self, after: int, number: int):
        self.after, self.number = after, number

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Send it."""
        if runner.iter + 1 == self.after:
            os.kill(os.getpid(), self.number)


LONGER = {"train_cfg.max_iters": 3}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_comparison_goes_on_as_if_it_had_not_been(
    configs, tiny_data, tmp_path, monkeypatch, number
):
    undisturbed = wish(tmp_path / "one", configs[1:], options=LONGER)
    compare(undisturbed, say=lambda line: None)
    stopped, said = wish(tmp_path / "other", configs[1:], options=LONGER), []
    with monkeypatch.context() as patch:
        stopper = Stopper(2, number)
        patch.setattr(module, "ProgressHook", lambda *args: stopper)
        with pytest.raises(ComparisonStopped) as caught:
            compare(stopped, say=said.append)
    assert caught.value.exit_code == 128 + number
    (outcome,) = compare(stopped, say=said.append)
    assert outcome.status == DONE
    assert "goes on at iter 2" in " ".join(said)
    name = Path("results/smoke/second-fold5-s0.json")
    assert same_but_for_the_times(tmp_path / "one" / name, tmp_path / "other" / name)


def test_one_failing_run_does_not_keep_the_others_back(
    configs, tiny_data, tmp_path, monkeypatch
):
    trained = []

    def failing_first(request):
        trained.append(Path(request.work_dir).name)
        if len(trained) == 1:
            raise RuntimeError("out of memory\nand much more")
        folder = Path(request.work_dir)
        folder.mkdir(parents=True, exist_ok=True)
        run = next(r for r in plan_runs(request_of[0]) if r.name == folder.name)
        results = dict(
            run=dict(config_sha256=run.identity["config_sha256"], wall_s=1.0),
            data=dict(sha256=run.identity["dataset_sha256"]),
            model=dict(gmacs=1.0),
            metrics=dict(mIoU=50.0),
        )
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "cells.npz").write_text("cells")

    request_of, said = [wish(tmp_path, configs)], []
    monkeypatch.setattr(module, "train", failing_first)
    outcomes = compare(request_of[0], say=said.append)
    assert [outcome.status for outcome in outcomes] == [FAILED, DONE]
    assert outcomes[0].note == "RuntimeError: out of memory\nand much more"
    error = tmp_path / "runs" / outcomes[0].name / "error.txt"
    assert "failing_first" in error.read_text()
    assert f"failed: RuntimeError: out of memory ({error})" in said[1]
    # The next time it is tried again.
    outcomes = compare(request_of[0], say=said.append)
    assert [outcome.status for outcome in outcomes] == [DONE, DONE]
    assert len(trained) == 3
    assert not error.exists()


def test_what_differs_is_left_unless_forced(compared, configs, tiny_data, monkeypatch):
    place, _, _, _ = compared
    asked = []
    monkeypatch.setattr(module, "train", asked.append)
    monkeypatch.setattr(module, "publish", lambda *args: None)
    request = wish(place, configs[:1], options=LONGER)
    (outcome,) = compare(request, say=lambda line: None)
    assert (outcome.status, asked) == (DIFFERS, [])
    assert "has another config" in outcome.note
    request = wish(place, configs[:1], options=LONGER, force=True)
    (outcome,) = compare(request, say=lambda line: None)
    assert outcome.status == DONE
    assert (asked[0].force, asked[0].resume) == (True, False)


def test_a_run_that_another_process_holds_is_left_to_it(configs, tiny_data, tmp_path):
    pytest.importorskip("fcntl")
    request = wish(tmp_path, configs[:1])
    with locked(tmp_path / "runs" / ".locks" / "tiny-smoke-fold5-s0"):
        (outcome,) = compare(request, say=lambda line: pytest.fail(line))
    assert outcome.status == "left to another process"


def test_the_best_word_on_a_run_counts():
    words = ["left to another process", "differs", "failed", "done"]
    for better, worse in zip(words[1:], words, strict=False):
        for order in ([better, worse], [worse, better]):
            outcomes = [Outcome("a", status) for status in order]
            assert [o.status for o in merged(outcomes)] == [better]


def test_progress_is_said_once_a_minute(monkeypatch):
    clock, said = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    class Loop:
        iter, max_iters = 0, 200

    runner, hook = Loop(), ProgressHook(said.append, "run", lambda part: f"; {part}")
    for runner.iter in range(100):
        clock[0] += 1.0
        hook.after_train_iter(runner, runner.iter)
    assert said == ["    run: iteration 60 of 200; 0.7"]
