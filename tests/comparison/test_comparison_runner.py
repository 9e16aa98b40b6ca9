"""How far runs are, and that each is trained once, as if it were alone."""

from __future__ import annotations

import gc
import json
import os
import shutil
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
from leuko_mm.comparison.results import losses_beside, publish
from leuko_mm.comparison.runner import (
    DIFFERS,
    DONE,
    FAILED,
    FINISHED,
    STOPPED,
    WAITING,
    compare,
    run_status,
)
from leuko_mm.files import locked
from leuko_mm.processes import StoppedBySignal

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


def request_in(place: Path, configs, **more) -> CompareRequest:
    choices = dict(
        protocol="smoke",
        methods=configs,
        settings=["own"],
        amp=False,
        out=str(place / "results"),
        work_dirs=str(place / "runs"),
    )
    return CompareRequest(**{**choices, **more})


@pytest.fixture
def run(tiny_data, tiny_config, tmp_path):
    return plan_runs(request_in(tmp_path, [str(tiny_config)]))[0]


def results_of(run, wall_s=1.0, **changes) -> dict:
    identity = {**run.identity, **changes}
    return dict(
        run=dict(config_sha256=identity["config_sha256"], amp=False, wall_s=wall_s),
        data=dict(sha256=identity["dataset_sha256"]),
        metrics=dict(mIoU=50.0),
        cells="cells.npz",
    )


def finish(run, **changes) -> None:
    run.work_dir.mkdir(parents=True, exist_ok=True)
    results = results_of(run, **changes)
    (run.work_dir / "results.json").write_text(json.dumps(results))
    (run.work_dir / "cells.npz").write_text("cells")


def stop(run, **changes) -> None:
    run.work_dir.mkdir(parents=True, exist_ok=True)
    state = dict(leuko_mm=dict(identity={**run.identity, **changes}))
    torch.save(state, run.work_dir / "iter_3.pth")


def test_a_run_goes_through_its_stages(run):
    assert run_status(run) == (WAITING, "")
    stop(run)
    assert run_status(run) == (STOPPED, "at iter 3")
    finish(run)
    assert run_status(run) == (FINISHED, "")
    publish(run.work_dir, run.target)
    assert run_status(run) == (DONE, "")
    shutil.rmtree(run.work_dir)
    assert run_status(run) == (DONE, ""), "published results need no run"


def test_a_run_that_is_killed_while_publishing_is_published_again(run, monkeypatch):
    finish(run)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("leuko_mm.comparison.results.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(run.work_dir, run.target)
    assert not run.target.exists()
    assert run_status(run) == (FINISHED, "")


@pytest.mark.parametrize("place", [finish, stop])
@pytest.mark.parametrize(
    ("key", "word"), [("config_sha256", "config"), ("dataset_sha256", "dataset")]
)
def test_what_differs_is_named_and_waits_for_force(run, place, key, word):
    place(run, **{key: "0123456789abcdef"})
    status, note = run_status(run)
    assert status == DIFFERS
    assert f"has another {word} (0123456789ab, now {run.identity[key][:12]})" in note
    assert str(run.work_dir) in note
    assert run_status(run, force=True) == (WAITING, "")


def test_published_results_that_differ_are_not_replaced_by_what_fits(run):
    finish(run, config_sha256="0")
    publish(run.work_dir, run.target)
    finish(run)
    status, note = run_status(run)
    assert status == DIFFERS
    assert str(run.target) in note
    assert run_status(run, force=True) == (FINISHED, "")


def test_a_damaged_results_file_waits_for_force(run):
    run.target.parent.mkdir(parents=True)
    run.target.write_text('{"run": ')
    assert run_status(run) == (DIFFERS, f"{run.target} is damaged")
    assert run_status(run, force=True) == (WAITING, "")


def test_a_damaged_state_is_no_state(run):
    run.work_dir.mkdir(parents=True)
    (run.work_dir / "iter_3.pth").write_bytes(b"PK")
    assert run_status(run) == (WAITING, "")


def test_the_logged_losses_are_published_too(run):
    finish(run)
    log = run.work_dir / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    lines = [dict(step=step, loss=1 / step, lr=0.1) for step in (10, 20)]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    publish(run.work_dir, run.target)
    lines = losses_beside(run.target).read_text().splitlines()
    assert lines == ["iteration,loss", "10,0.1", "20,0.05"]


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
        compare(request_in(place / "before", configs[:1]), say=said.append)
        before = counts()
        outcomes = compare(request_in(place, configs), say=said.append)
        request = request_in(place, configs[1:], seeds=[1])
        outcomes += compare(request, say=said.append)
        after = counts()
    return place, outcomes, (before, after), said


def test_every_run_is_published(compared):
    place, outcomes, _, said = compared
    assert [outcome.status for outcome in outcomes] == [DONE] * 3
    names = {path.name for path in (place / "results" / "smoke").iterdir()}
    assert names == {
        f"{run}{tail}"
        for run in ("tiny-fold5-s0", "second-fold5-s0", "second-fold5-s1")
        for tail in (".json", ".cells.npz", ".losses.csv")
    }
    assert any("left of all" in line for line in said)


def test_runs_leave_nothing_in_the_process(compared):
    _, _, (before, after), _ = compared
    assert after == before


def test_what_is_done_is_not_done_again(compared, configs, tiny_data, monkeypatch):
    place, _, _, _ = compared
    monkeypatch.setattr(module, "train", lambda request: pytest.fail("trained again"))
    said = []
    outcomes = compare(request_in(place, configs, seeds=[0]), say=said.append)
    assert [outcome.status for outcome in outcomes] == [DONE, DONE]
    assert said == []


def test_a_run_is_the_same_alone_and_as_the_last_of_three(
    compared, configs, tiny_data, tmp_path
):
    place, _, _, _ = compared
    compare(request_in(tmp_path, configs[1:], seeds=[1]), say=lambda line: None)
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
    undisturbed = request_in(tmp_path / "one", configs[1:], options=LONGER)
    compare(undisturbed, say=lambda line: None)
    stopped, said = request_in(tmp_path / "other", configs[1:], options=LONGER), []
    with monkeypatch.context() as patch:
        stopper = Stopper(2, number)
        patch.setattr(module, "ProgressHook", lambda *args: stopper)
        with pytest.raises(StoppedBySignal) as caught:
            compare(stopped, say=said.append)
    assert caught.value.exit_code == 128 + number
    (outcome,) = compare(stopped, say=said.append)
    assert outcome.status == DONE
    assert "resumes at iter 2" in " ".join(said)
    name = Path("results/smoke/second-fold5-s0.json")
    assert same_but_for_the_times(tmp_path / "one" / name, tmp_path / "other" / name)


def test_one_failing_run_does_not_keep_the_others_back(
    configs, tiny_data, tmp_path, monkeypatch
):
    request, trained, said = request_in(tmp_path, configs), [], []
    runs = {run.name: run for run in plan_runs(request)}

    def failing_first(wanted):
        trained.append(Path(wanted.work_dir).name)
        if len(trained) == 1:
            raise RuntimeError("out of memory\nand much more")
        finish(runs[trained[-1]])

    monkeypatch.setattr(module, "train", failing_first)
    outcomes = compare(request, say=said.append)
    assert [outcome.status for outcome in outcomes] == [FAILED, DONE]
    assert outcomes[0].note == "RuntimeError: out of memory\nand much more"
    error = tmp_path / "runs" / outcomes[0].name / "error.txt"
    assert "failing_first" in error.read_text()
    assert f"failed: RuntimeError: out of memory ({error})" in said[1]
    # The next time it is tried again.
    outcomes = compare(request, say=said.append)
    assert [outcome.status for outcome in outcomes] == [DONE, DONE]
    assert len(trained) == 3
    assert not error.exists()


def test_what_differs_is_left_unless_forced(compared, configs, tiny_data, monkeypatch):
    place, _, _, _ = compared
    asked = []
    monkeypatch.setattr(module, "train", asked.append)
    monkeypatch.setattr(module, "publish", lambda *args: None)
    request = request_in(place, configs[:1], options=LONGER)
    (outcome,) = compare(request, say=lambda line: None)
    assert (outcome.status, asked) == (DIFFERS, [])
    assert "has another config" in outcome.note
    request = request_in(place, configs[:1], options=LONGER, force=True)
    (outcome,) = compare(request, say=lambda line: None)
    assert outcome.status == DONE
    assert (asked[0].force, asked[0].resume) == (True, False)


def test_a_run_that_another_process_holds_is_left_to_it(configs, tiny_data, tmp_path):
    pytest.importorskip("fcntl")
    request = request_in(tmp_path, configs[:1])
    with locked(tmp_path / "runs" / ".locks" / "tiny-smoke-fold5-s0"):
        (outcome,) = compare(request, say=lambda line: pytest.fail(line))
    assert outcome.status == "left to another process"
