"""The words of a run's page."""

import pytest

from leuko_mm.workflows.report_facts import (
    closing_of,
    duration,
    fact_groups,
    files_beside,
    summary_of,
)


@pytest.fixture
def results():
    return dict(
        run=dict(
            command="leuko train x",
            method="cbam_unet",
            variant=None,
            protocol="half",
            split="fold4",
            seed=0,
            git=None,
            config_sha256="c" * 64,
            iterations=450,
            started="2026-01-02T03:04:05+00:00",
            wall_s=3725.0,
            selected_on="last",
            device="cpu",
            threads=1,
            amp=True,
        ),
        data=dict(
            dataset="bcisc",
            sha256="d" * 64,
            train_groups=[f"a_{n}" for n in range(9)],
            test_groups=["b_1", "b_2"],
            mosaic=dict(n=2, mode="resample"),
            size=256,
            enhance=dict(type="leuko_mm.AHERetinex", reading="hsv"),
        ),
        env=dict(torch="2.13", cpu="one", gpu=None),
        model=dict(params_m=18.7, gmacs=None, pretrained=None),
        checkpoint=dict(file="run.pth", sha256="e" * 64),
    )


def facts_of(results, *, tested=False):
    groups = fact_groups(results, tested=tested)
    return {
        name: (value, more) for group in groups for name, value, more in group.facts
    }


def test_summary_of_a_training(results):
    results["run"]["variant"] = "compact"
    assert summary_of(results, tested=False) == (
        "cbam_unet compact, trained under the protocol half on bcisc, split fold4, "
        "seed 0: 450 iterations in 1 h 2 min on cpu."
    )


def test_summary_of_a_test_on_every_cell(results):
    results["run"].update(split=None, protocol=None)
    assert summary_of(results, tested=True) == (
        "cbam_unet, from a checkpoint, tested on bcisc, every cell."
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3599.6, "1 h 0 min"),
        (86400, "24 h 0 min"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_long_lists_and_hashes_are_folded(results):
    facts = facts_of(results)
    assert facts["training groups"] == ("9", ", ".join(f"a_{n}" for n in range(9)))
    assert facts["test groups"] == ("b_1, b_2", None)
    assert facts["dataset sha256"] == ("dddddddddddd...", "d" * 64)
    assert facts["its sha256"][1] == "e" * 64


def test_what_is_missing_is_said(results):
    results["run"].update(split=None, protocol=None)
    results["data"].update(mosaic=None, size=None, enhance=None)
    facts = facts_of(results)
    assert facts["protocol"] == (None, None)
    assert facts["image size"] == (None, None)
    assert facts["code"][0] == "installed package"
    assert facts["enhancement"][0] == facts["GPU"][0] == "none"
    assert facts["split"][0] == "none: every cell is tested"
    assert facts["model"][0] == "18.70 million parameters"


def test_recipes_and_times_are_told(results):
    facts = facts_of(results)
    assert facts["enhancement"][0] == "leuko_mm.AHERetinex (reading=hsv)"
    assert facts["wall time"][0] == "1 h 2 min"
    assert facts["started"][0] == "2026-01-02 03:04:05 UTC"


def test_a_test_tells_nothing_of_a_training(results):
    facts = facts_of(results, tested=True)
    assert not {"wall time", "bfloat16", "training groups"} & set(facts)


def test_only_a_training_vouches_for_its_last_state(results):
    assert closing_of(results, tested=False).startswith("The last state")
    assert closing_of(results, tested=True) == "For research, not for diagnosis."


def test_only_files_that_are_there_are_listed(tmp_path):
    work_dir = tmp_path / "run"
    (work_dir / "overlays").mkdir(parents=True)
    for name in ("cells.npz", "run.pth", "other.pth", "overlays/01.png"):
        (work_dir / name).touch()
    assert [link.path for link in files_beside(work_dir)] == [
        "results.json",
        "cells.npz",
        "run.pth",
        "overlays/01.png",
    ]
