"""What is there of a run is found, judged and published whole."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from leuko_mm.comparison.plan import CompareRequest, plan_runs
from leuko_mm.comparison.run_files import (
    DIFFERS,
    DONE,
    FINISHED,
    STOPPED,
    WAITING,
    cells_beside,
    look_at,
    losses_beside,
    misfit,
    publish,
)


@pytest.fixture
def run(tiny_data, tiny_config, tmp_path):
    request = CompareRequest(
        protocol="smoke",
        methods=[str(tiny_config)],
        settings=["own"],
        amp=False,
        out=str(tmp_path / "results"),
        work_dirs=str(tmp_path / "runs"),
    )
    return plan_runs(request)[0]


def results_of(run, **changes) -> dict:
    identity = {**run.identity, **changes}
    return dict(
        run=dict(config_sha256=identity["config_sha256"], amp=False),
        data=dict(sha256=identity["dataset_sha256"]),
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


def test_nothing_there(run):
    assert look_at(run) == (WAITING, "")


def test_a_run_goes_through_its_stages(run):
    stop(run)
    assert look_at(run) == (STOPPED, "at iter 3")
    finish(run)
    assert look_at(run) == (FINISHED, "")
    publish(run.work_dir, run.target)
    assert look_at(run) == (DONE, "")
    shutil.rmtree(run.work_dir)
    assert look_at(run) == (DONE, ""), "published results need no run"


def test_published_results_name_the_cells_beside_them(run):
    finish(run)
    publish(run.work_dir, run.target)
    cells = run.target.parent / "tiny-fold5-s0.cells.npz"
    published = json.loads(run.target.read_text())
    assert published == {**results_of(run), "cells": cells.name}
    assert cells == cells_beside(run.target)
    assert cells.read_text() == "cells"
    assert sorted(p.name for p in cells.parent.iterdir()) == [
        cells.name,
        run.target.name,
    ]


def test_results_without_their_cells_are_published_again(run):
    finish(run)
    publish(run.work_dir, run.target)
    cells_beside(run.target).unlink()
    assert look_at(run) == (FINISHED, "")


def test_a_run_that_is_killed_while_publishing_is_published_again(run, monkeypatch):
    finish(run)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("leuko_mm.comparison.run_files.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(run.work_dir, run.target)
    assert not run.target.exists()
    assert look_at(run) == (FINISHED, "")


@pytest.mark.parametrize("place", [finish, stop])
@pytest.mark.parametrize(
    ("key", "word"), [("config_sha256", "config"), ("dataset_sha256", "dataset")]
)
def test_what_differs_is_named_and_waits_for_force(run, place, key, word):
    place(run, **{key: "0123456789abcdef"})
    status, note = look_at(run)
    assert status == DIFFERS
    assert f"has another {word} (0123456789ab, now {run.identity[key][:12]})" in note
    assert str(run.work_dir) in note
    assert look_at(run, force=True) == (WAITING, "")


def test_published_results_that_differ_are_not_replaced_by_what_fits(run):
    finish(run, config_sha256="0")
    publish(run.work_dir, run.target)
    finish(run)
    status, note = look_at(run)
    assert status == DIFFERS
    assert str(run.target) in note
    assert look_at(run, force=True) == (FINISHED, "")


def test_a_damaged_results_file_waits_for_force(run):
    run.target.parent.mkdir(parents=True)
    run.target.write_text('{"run": ')
    assert look_at(run) == (DIFFERS, f"{run.target} is damaged")
    assert look_at(run, force=True) == (WAITING, "")


def test_a_damaged_state_is_no_state(run):
    run.work_dir.mkdir(parents=True)
    (run.work_dir / "iter_3.pth").write_bytes(b"PK")
    assert look_at(run) == (WAITING, "")


def test_another_precision_is_told_apart_from_another_config(run):
    results = results_of(run, config_sha256="0")
    results["run"]["amp"] = True
    assert misfit(results, run).endswith("with bfloat16: --amp asks for the same")


def test_the_logged_losses_are_published_too(run):
    finish(run)
    log = run.work_dir / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    lines = [dict(step=step, loss=1 / step, lr=0.1) for step in (10, 20)]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    publish(run.work_dir, run.target)
    lines = losses_beside(run.target).read_text().splitlines()
    assert lines == ["iteration,loss", "10,0.1", "20,0.05"]
