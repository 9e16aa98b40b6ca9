"""Two processes divide a comparison, and together do every run once."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from tiny_run import process_environment, write_config

RUNS = {f"{name}-smoke-fold5-s{seed}" for name in ("tiny", "second") for seed in (0, 1)}


def torchrun(*words, cwd) -> subprocess.CompletedProcess:
    """Start two processes of ``leuko`` that meet over gloo."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *launch, "-m", "leuko_mm.cli.main", *map(str, words)],
        cwd=cwd,
        env=process_environment(OPENBLAS_NUM_THREADS=1, MKL_NUM_THREADS=1),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.fixture
def command(tiny_data, tmp_path):
    """Return the command of four runs."""
    configs = [
        write_config(tmp_path, name="tiny"),
        write_config(tmp_path, name="second", more="method = 'second'\n"),
    ]
    words = ["compare", "--protocol", "smoke", "--no-amp", "--settings", "own"]
    words += ["--methods", ",".join(map(str, configs)), "--seeds", "0,1"]
    return [*words, "--launcher", "pytorch"]


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="needs torch.distributed"
)
def test_two_processes_do_every_run_once(command, tmp_path):
    done = torchrun(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    words = re.findall(r"\((\d)\) \[\d+/4\] (\S+): done", done.stdout)
    assert sorted(name for _, name in words) == sorted(RUNS), "each of them once"
    assert {rank for rank, _ in words} == {"0", "1"}
    assert done.stdout.count("4 runs: 4 done") == 1, "one summary of all"
    published = {p.name for p in (tmp_path / "results" / "smoke").iterdir()}
    stems = {name.replace("-smoke", "") for name in RUNS}
    assert published == {
        f"{s}{tail}" for s in stems for tail in (".json", ".cells.npz", ".losses.csv")
    }


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="needs torch.distributed"
)
def test_a_failing_run_of_one_process_does_not_end_the_other(command, tmp_path):
    # Of one method, the widths do not fit one another.
    (tmp_path / "tiny.py").write_text(
        (tmp_path / "tiny.py").read_text() + "model['neck']['in_channels'] = [8] * 5\n"
    )
    done = torchrun(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "4 runs: 2 failed, 2 done" in done.stdout or (
        "4 runs: 2 done, 2 failed" in done.stdout
    ), done.stdout + done.stderr[-3000:]
    published = {p.name for p in (tmp_path / "results" / "smoke").glob("*.json")}
    assert published == {"second-fold5-s0.json", "second-fold5-s1.json"}
