"""How far runs are, and that each is trained once, here or by workers of dask."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import process_environment, write_config

from leuko_mm.comparison import runner as module
from leuko_mm.comparison.plan import CompareRequest, plan_runs
from leuko_mm.comparison.process import from_line
from leuko_mm.comparison.results import cells_beside, losses_beside, publish
from leuko_mm.comparison.runner import (
    DIFFERS,
    DONE,
    FAILED,
    FINISHED,
    STOPPED,
    WAITING,
    Outcome,
    compare,
    results_difference,
    run_status,
)
from leuko_mm.files import locked
from leuko_mm.processes import StoppedBySignal
from leuko_mm.training.config import config_hash
from leuko_mm.training.custom_imports import IMPORTED

psutil = pytest.importorskip("psutil")  # comes with dask.distributed

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
        data=dict(
            sha256=identity["dataset_sha256"], split_sha256=identity["split_sha256"]
        ),
        metrics=dict(mIoU=50.0),
        cells="cells.npz",
    )


def finish(run, **changes) -> None:
    run.work_dir.mkdir(parents=True, exist_ok=True)
    results = results_of(run, **changes)
    (run.work_dir / "results.json").write_text(json.dumps(results))
    np.savez(run.work_dir / "cells.npz", stem=["cell"])


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
    ("key", "word"),
    [
        ("config_sha256", "config"),
        ("dataset_sha256", "dataset"),
        ("split_sha256", "split"),
    ],
)
def test_what_differs_is_named_and_waits_for_force(run, place, key, word):
    place(run, **{key: "0123456789abcdef"})
    status, note = run_status(run)
    assert status == DIFFERS
    assert f"has another {word} (0123456789ab, now {run.identity[key][:12]})" in note
    assert str(run.work_dir) in note
    assert run_status(run, force=True) == (WAITING, "")


def test_results_from_before_splits_were_noted_count_as_done(run):
    finish(run, split_sha256=None)
    assert run_status(run) == (FINISHED, "")


def test_an_order_arrives_as_it_was_given():
    order = dict(options={"norm_type": float("inf"), "betas": (0.9, 0.99)}, title="t")
    assert from_line(repr(order)) == order
    with pytest.raises(ValueError, match="float"):
        from_line("open")


def test_what_was_trained_without_a_seed_is_the_run_of_seed_0(run):
    config = copy.deepcopy(run.config)
    assert config.train_dataloader.dataset.pop("seed") == 0
    finish(run, config_sha256=config_hash(config))
    assert run_status(run) == (FINISHED, "")


def test_code_that_was_changed_is_named(run):
    results = results_of(run, config_sha256="0")
    results["run"]["imported"] = {"my_loss.py": "1", "same.py": "2"}
    run.config[IMPORTED] = {"my_loss.py": "3", "same.py": "2"}
    difference = results_difference(results, run)
    assert difference.endswith("; changed since: my_loss.py")
    fitting = results_of(run)
    assert results_difference(fitting, run) is None


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


def test_cells_that_were_cut_short_are_published_again(run):
    finish(run)
    publish(run.work_dir, run.target)
    cells = cells_beside(run.target)
    cells.write_bytes(cells.read_bytes()[:-10])
    assert run_status(run) == (FINISHED, "")


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
    # A run without a log replaces it.
    shutil.rmtree(log.parent)
    publish(run.work_dir, run.target)
    assert not losses_beside(run.target).exists()


@pytest.fixture(scope="module")
def compared(tiny_home, configs, tmp_path_factory):
    """Return the place of a comparison of two runs, its outcomes, and what was said."""
    place, said = tmp_path_factory.mktemp("compared"), []
    # A file of the user's hides no library from the processes of the runs.
    (place / "statistics.py").write_text("raise ImportError")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        patch.setenv("OMP_NUM_THREADS", "1")
        outcomes = compare(request_in(place, configs), say=said.append)
    return place, outcomes, said


def test_every_run_is_published(compared, configs):
    place, outcomes, said = compared
    assert [(outcome.name, outcome.status) for outcome in outcomes] == [
        ("tiny-smoke-fold5-s0", DONE),
        ("second-smoke-fold5-s0", DONE),
    ]
    names = {path.name for path in (place / "results" / "smoke").iterdir()}
    assert names == {
        f"{run}{tail}"
        for run in ("tiny-fold5-s0", "second-fold5-s0")
        for tail in (".json", ".cells.npz", ".losses.csv")
    }
    assert [line.partition(" mIoU")[0] for line in said] == [
        "[1/2] tiny-smoke-fold5-s0: starts",
        "[1/2] tiny-smoke-fold5-s0: done:",
        "[2/2] second-smoke-fold5-s0: starts",
        "[2/2] second-smoke-fold5-s0: done:",
    ]
    assert said[1].endswith("left of all")
    results = json.loads((place / "results/smoke/second-fold5-s0.json").read_text())
    command = results["run"]["command"]
    assert command.startswith(f"leuko train {configs[1]} --protocol smoke --seed 0")


def test_what_is_done_is_not_done_again(compared, configs, tiny_data, monkeypatch):
    place, _, _ = compared
    refuse = lambda *_: pytest.fail("trained again")  # noqa: E731
    monkeypatch.setattr(module, "run_in_process", refuse)
    said = []
    again = compare(request_in(place, configs), say=said.append)
    assert [(outcome.status, outcome.note) for outcome in again] == [(DONE, "")] * 2
    assert said == []


LONGER = {"train_cfg.max_iters": 3}


def test_what_differs_is_left_unless_forced(compared, configs, tiny_data, monkeypatch):
    place, _, _ = compared
    orders = []

    def completed(order, say):
        orders.append(order)
        return Outcome("tiny-smoke-fold5-s0", FAILED, "not trained")

    monkeypatch.setattr(module, "run_in_process", completed)
    request = request_in(place, configs[:1], options=LONGER)
    (outcome,) = compare(request, say=lambda line: None)
    assert (outcome.status, orders) == (DIFFERS, [])
    assert "has another config" in outcome.note
    request = request_in(place, configs[:1], options=LONGER, force=True)
    (outcome,) = compare(request, say=lambda line: None)
    assert outcome.status == FAILED
    assert orders[0]["request"]["force"] is True


SLOW = {
    "train_cfg.max_iters": 60,
    "default_hooks.checkpoint.interval": 5,
    "custom_hooks.1.iters": 3,
}


@pytest.fixture(scope="module")
def undisturbed(tiny_home, configs, tmp_path_factory):
    """Return the place of a comparison that takes a while."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        patch.setenv("OMP_NUM_THREADS", "1")
        request = request_in(place, configs[1:], options=SLOW)
        compare(request, say=lambda line: None)
    return place


def when_a_state_is_there(place, act) -> None:
    """Call a function in a thread as soon as a training has saved its state."""

    def wait() -> None:
        while not list(place.glob("runs/*/iter_*.pth")):
            time.sleep(0.05)
        act()

    threading.Thread(target=wait, daemon=True).start()


def test_a_stopped_comparison_goes_on_as_if_it_had_not_been(
    undisturbed, configs, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    request, said = request_in(tmp_path, configs[1:], options=SLOW), []
    when_a_state_is_there(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedBySignal, match="same command again") as caught:
        compare(request, say=said.append)
    assert caught.value.exit_code == 143
    assert run_status(plan_runs(request)[0])[0] == STOPPED
    (outcome,) = compare(request, say=said.append)
    assert outcome.status == DONE
    assert "resumes at iter" in " ".join(said)
    name = Path("results/smoke/second-fold5-s0.json")
    assert same_but_for_the_times(undisturbed / name, tmp_path / name)


def test_a_run_ends_with_the_process_that_started_it(configs, tiny_data, tmp_path):
    """As where a worker of dask is killed: the state is saved, the lock is free."""
    request = request_in(tmp_path, configs[1:], options=SLOW)
    (run,) = plan_runs(request)
    order = module._order(request, run, f"[1/1] {run.name}", False)
    command = [sys.executable, "-m", "leuko_mm.comparison.runner"]
    environment = process_environment()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, text=True, env=environment
    ) as child:
        print(repr(order), file=child.stdin, flush=True)
        stopping = child.stdin.close
        when_a_state_is_there(tmp_path, stopping)
        child.wait(120)
    assert run_status(run)[0] == STOPPED
    with locked(tmp_path / "runs" / ".locks" / run.name) as free:
        assert free


def test_a_failing_or_killed_run_does_not_keep_the_others_back(
    configs, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    broken = write_config(
        tmp_path, more="method = 'broken'\nmodel['neck']['in_channels'] = [8] * 5\n"
    )
    request = request_in(tmp_path, [str(broken), configs[1]])
    said = []

    def say(line):
        said.append(line)
        if "second" in line and "starts" in line:
            for child in psutil.Process().children():
                if child.cmdline()[-1] == "leuko_mm.comparison.runner":
                    child.kill()

    outcomes = compare(request, say=say)
    assert [outcome.status for outcome in outcomes] == [FAILED, FAILED]
    error = tmp_path / "runs" / outcomes[0].name / "error.txt"
    assert f"({error})" in outcomes[0].note
    assert "Traceback" in error.read_text()
    assert outcomes[1].note == "its process ended by SIGKILL"
    assert said[1] == f"[1/2] broken-smoke-fold5-s0: failed: {first_line(outcomes[0])}"
    # The next time they are tried again.
    broken.write_text(broken.read_text().replace("= [8] * 5", "= [8, 16, 32, 64, 64]"))
    outcomes = compare(request, say=said.append)
    assert [outcome.status for outcome in outcomes] == [DONE] * 2
    assert not error.exists()


def first_line(outcome: Outcome) -> str:
    return outcome.note.splitlines()[0]


@pytest.mark.slow
def test_two_workers_one_of_them_killed_publish_what_one_process_does(
    configs, tiny_data, tmp_path, monkeypatch
):
    pytest.importorskip("distributed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    choices = dict(options=SLOW, seeds=[0, 1])
    alone, said = request_in(tmp_path / "alone", configs, **choices), []
    divided = request_in(tmp_path / "divided", configs, **choices)
    compare(alone, say=lambda line: None)

    def kill() -> None:
        name = next((tmp_path / "divided").glob("runs/*/iter_*.pth")).parent.name
        for process in psutil.Process().children(recursive=True):
            if any(name in file.path for file in process.open_files()):
                process.parent().kill()

    when_a_state_is_there(tmp_path / "divided", kill)
    outcomes = compare(divided, dask="local:2", say=said.append)
    assert [outcome.status for outcome in outcomes] == [DONE] * 4
    assert "resumes at iter" in " ".join(said)
    names = [path.name for path in (tmp_path / "alone/results/smoke").glob("*.json")]
    assert len(names) == 4
    for name in names:
        one, two = (tmp_path / x / "results/smoke" / name for x in ("alone", "divided"))
        assert same_but_for_the_times(one, two)


@pytest.mark.slow
def test_a_run_that_a_batch_system_stops_is_resumed(
    undisturbed, configs, tiny_data, tmp_path, monkeypatch
):
    """Slurm sends SIGTERM to every process of a job at the end of its time."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def stop() -> None:
        for process in psutil.Process().children(recursive=True):
            if process.cmdline()[-1] == "leuko_mm.comparison.runner":
                process.terminate()

    request, said = request_in(tmp_path, configs[1:], options=SLOW), []
    when_a_state_is_there(tmp_path, stop)
    (outcome,) = compare(request, dask="local:1", say=said.append)
    assert outcome.status == DONE
    assert "resumes at iter" in " ".join(said)
    name = Path("results/smoke/second-fold5-s0.json")
    assert same_but_for_the_times(undisturbed / name, tmp_path / name)


@pytest.mark.slow
def test_a_stopped_comparison_stops_the_runs_of_the_workers(
    configs, tiny_data, tmp_path
):
    pytest.importorskip("distributed")
    request = request_in(tmp_path, configs, options={"train_cfg.max_iters": 4000})
    when_a_state_is_there(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
    request.options["default_hooks.checkpoint.interval"] = 5
    with pytest.raises(StoppedBySignal):
        compare(request, dask="local:2", say=lambda line: None)
    assert STOPPED in {run_status(run)[0] for run in plan_runs(request)}
    left = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
    assert not [words for words in left if "runner" in words or "spawn_main" in words]
