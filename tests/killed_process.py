"""Train in two processes of which one is killed; run by test_two_processes_killed.py.

Usage: python killed_process.py OUT CONFIG. OUT/whole holds an undisturbed training,
OUT/without-0 and OUT/without-1 those that lost a process and were resumed; OUT/apart-0
and OUT/apart-1 one whose processes share no folder. Beside each lies a log of either
process. A line is printed for each loss: exit codes, and how many seconds the other
process lived on.

With RANK in the environment, as torchrun sets it, this process is one of the two, and
rank 1 is killed unless OUT/resume exists.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from killing import ended, forked

from leuko_mm.cli.main import main as leuko
from leuko_mm.engine.hooks import GracefulStopHook

# Else the wrapper of each forked process imports it again, half a minute together.
importlib.import_module("torch._dynamo")
STEPS, LAST_STEP = 6, 4
PATIENCE_S = 900.0


def words(config: str, place: Path) -> list[str]:
    return [
        *("train", config, "--work-dir", str(place), "--no-amp"),
        *("--launcher", "pytorch", "--cfg-options", f"train_cfg.max_iters={STEPS}"),
        *("default_hooks.checkpoint.interval=1", "custom_hooks.1.iters=2"),
    ]


def die_at_last_step() -> None:
    """Plant a SIGKILL before the end of a step, where the other waits for an answer."""
    answer = GracefulStopHook.after_train_iter

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == LAST_STEP:
            Path(f"{runner.work_dir}.killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        answer(self, runner, *args, **kwargs)

    GracefulStopHook.after_train_iter = after_train_iter


def started(
    rank: int, port: int, place: Path, command: list[str], *, dies: bool
) -> int:
    """Fork one of two processes; return its id."""

    def job() -> int:
        where = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
        os.environ.update(where, RANK=str(rank), LOCAL_RANK=str(rank))
        if dies:
            die_at_last_step()
        return leuko(command)

    return forked(Path(f"{place}-{rank}.log"), job)


def apart(out: Path, config: str) -> None:
    """Go on where the second process has no state, and once it was copied there."""
    places = [out / "apart-0", out / "apart-1"]
    commands = [[*words(config, place), "--resume"] for place in places]
    for place in places:
        place.mkdir(exist_ok=True)
        shutil.copy(out / "without-0" / f"iter_{STEPS - 1}.pth", place)
        print(f"apart: {both(out / 'apart', *commands)}", flush=True)


def both(
    place: Path, *commands: list[str], victim: int | None = None
) -> list[int | None]:
    """Run two processes; return their exit codes, and print how a loss went."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    each = commands if len(commands) == 2 else commands * 2
    ids = [started(r, port, place, each[r], dies=r == victim) for r in (0, 1)]
    if victim is None:
        return [ended(child, within=PATIENCE_S) for child in ids]
    lost = ended(ids[victim], within=PATIENCE_S)
    began = time.monotonic()
    left = ended(ids[1 - victim], within=PATIENCE_S)
    took = time.monotonic() - began
    print(f"lost {victim}: {lost}, the other {left} after {took:.1f} s", flush=True)
    return [lost, left]


def main() -> int:
    out, config = Path(sys.argv[1]), sys.argv[2]
    if "RANK" in os.environ:
        goes_on = (out / "resume").exists()
        if os.environ["RANK"] == "1" and not goes_on:
            die_at_last_step()
        return leuko([*words(config, out / "run"), *["--resume"] * goes_on])
    if both(out / "whole", words(config, out / "whole")) != [0, 0]:
        return 1
    for victim in (0, 1):
        place = out / f"without-{victim}"
        both(place, words(config, place), victim=victim)
        if both(place, [*words(config, place), "--resume"]) != [0, 0]:
            return 1
    apart(out, config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
