"""Where one of two training processes is killed, the other soon ends, too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_run import finished_script, process_environment, python, write_config

from leuko_mm.engine.checkpoints import load_tensors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork"),
    pytest.mark.skipif(
        not torch.distributed.is_available(), reason="needs torch.distributed"
    ),
]
# Two processes on one GPU would be another test.
ON_THE_CPU = dict(CUDA_VISIBLE_DEVICES="")
SCRIPT = Path(__file__).with_name("killed_process.py")
DROPOUT = "\nmodel['decode_head']['dropout_ratio'] = 0.5\n"
LIMIT_S = 60.0
SAID = "the last state is in "


def test_the_other_process_ends_and_both_go_on(tiny_data, tmp_path):
    config = write_config(tmp_path, more=DROPOUT)
    printed = finished_script(tmp_path, SCRIPT.name, config, timeout=5400, **ON_THE_CPU)
    lost = re.findall(r"lost (\d): (\S+), the other (\S+) after (\S+) s", printed)
    assert [loss[:3] for loss in lost] == [("0", "-9", "1"), ("1", "-9", "1")]
    assert all(float(loss[3]) < LIMIT_S for loss in lost)
    whole = load_tensors(tmp_path / "whole" / "whole.pth")
    for victim in (0, 1):
        said = (tmp_path / f"without-{victim}-{1 - victim}.log").read_text()
        assert SAID in said
        assert "--launcher pytorch" in said.split(SAID)[1]
        assert "--resume" in said.split(SAID)[1]
    # Where no folder is shared, both need the state: weights would drift apart.
    assert re.findall(r"apart: (.*)", printed) == ["[2, 2]", "[0, 0]"]
    for rank in (0, 1):
        said = (tmp_path / f"apart-{rank}.log").read_text()
        assert "process 0 goes on from iter_5.pth, process 1 from its start" in said
    for place in (tmp_path / name for name in ("without-0", "without-1", "apart-0")):
        ended = load_tensors(place / f"{place.name}.pth")
        for name, tensor in whole.items():
            assert torch.equal(ended[name], tensor), name


def test_under_torchrun_the_other_process_ends_and_both_go_on(tiny_data, tmp_path):
    config = write_config(tmp_path, more=DROPOUT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*launch, str(SCRIPT), str(tmp_path), str(config)]
    environment = process_environment(**ON_THE_CPU)
    log = tmp_path / "torchrun.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, stdout=file, stderr=file
        )
    try:
        while not (tmp_path / "run.killed").exists():
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.1)
        process.wait(LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 1
    assert SAID in log.read_text()
    (tmp_path / "resume").touch()
    done = python(*words, timeout=1200, **ON_THE_CPU)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert (tmp_path / "run" / "results.json").exists()
