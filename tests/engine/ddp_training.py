"""What each of several processes does in the tests of data-parallel training.

python -m torch.distributed.run --nproc_per_node=2 ddp_training.py <folder>
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import nn
from toy_training import ADAM, EveryIteration, toy_data, toy_net, toy_runner

from leuko_mm.engine.runner import prepare_launcher, unwrapped

ITERATIONS = 6
BATCH = 4  # over all processes
FREEZE = dict(type="leuko_mm.StagedFreezeHook", iters=3)
LAYOUT = dict(type="leuko_mm.ChannelsLastHook")
CASES = {
    "frozen-then-thawed": dict(hooks=[FREEZE]),
    "channels-last": dict(hooks=[LAYOUT, FREEZE]),
    # Nothing is frozen: only the change of layout wraps the model again.
    "layout-alone": dict(hooks=[LAYOUT, FREEZE], pretrained=False),
    # The thaw falls between two batches of one step.
    "accumulated": dict(hooks=[FREEZE], accumulate=2),
}


def train(case: str, folder: Path, *, processes: int, look=lambda runner: None):
    """Train one case on this process's share of every batch; return the model."""
    rank = get_rank()
    share = BATCH // processes
    data = [cell for i, cell in enumerate(toy_data()) if i % BATCH // share == rank]
    launcher = Config(dict(launcher="pytorch" if processes > 1 else "none"))
    prepare_launcher(launcher)
    options = CASES[case]
    runner = toy_runner(
        toy_net(pretrained=options.get("pretrained", True)),
        folder / f"{case}-{rank}",
        hooks=options["hooks"],
        data=data,
        batch=share,
        optim_wrapper={**ADAM, "accumulative_counts": options.get("accumulate", 1)},
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=ITERATIONS),
        launcher=launcher.launcher,
        cfg=launcher,
    )
    runner.register_hook(EveryIteration(look))
    runner.train()
    return unwrapped(runner.model)


def largest_difference(runner) -> float:
    flat = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    return max((other - flat).abs().max().item() for other in all_gather(flat))


def count_wrappers() -> int:
    kind = nn.parallel.DistributedDataParallel
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


def main(folder: Path) -> None:
    prepare_launcher(Config(dict(launcher="pytorch")))
    for case in CASES:
        drift, wrappers = [], []

        def look(runner, drift=drift, wrappers=wrappers):
            drift.append(largest_difference(runner))
            wrappers.append(count_wrappers())

        gc.collect()
        model = train(case, folder, processes=get_world_size(), look=look)
        torch.save(model.state_dict(), folder / f"{case}-{get_rank()}.pth")
        if get_rank() == 0:
            report = dict(drift=drift, wrappers=wrappers[-1])
            (folder / f"{case}.json").write_text(json.dumps(report))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
