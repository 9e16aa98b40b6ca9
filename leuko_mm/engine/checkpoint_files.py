"""Checkpoints that appear whole: the published one, and the states of a training."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import nn

from leuko_mm.engine.data_parallel import unwrapped
from leuko_mm.engine.safe_load import UnsafeCheckpointError, load_tensors
from leuko_mm.files import replacing, sha256_of_file, write_text

SCHEMA = 1
# Not mmengine's, which exists once a runner does.
LOGGER = logging.getLogger("leuko_mm")
# What mmengine calls the states that a training can go on from.
STATES = ("iter_*.pth", "epoch_*.pth")


def write_checkpoint(path: Path, model: nn.Module, sidecar: Mapping) -> dict:
    """Write ``<name>.pth`` (tensors only) and ``<name>.json``, each atomically.

    Args:
        path: the ``.pth`` file.
        model: its ``state_dict`` is stored contiguous, on the CPU, without the prefix
            of a data-parallel wrapper.
        sidecar: what the tensors are; ``schema`` and ``sha256`` are added.

    Returns:
        The sidecar as written.

    Raises:
        TypeError: if the sidecar is no JSON; nothing is written then.
    """
    path = Path(path)
    state = unwrapped(model).state_dict()
    tensors = {key: value.cpu().contiguous() for key, value in state.items()}
    content = {"schema": SCHEMA, **sidecar}
    with replacing(path) as part:
        torch.save(tensors, part)
        content["sha256"] = sha256_of_file(part)
        text = json.dumps(content, indent=2) + "\n"
    write_text(path.with_suffix(".json"), text)
    return content


def training_states(work_dir: Path) -> list[Path]:
    """Return the training states of a run, the newest first.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> for name in ("iter_90.pth", "iter_100.pth", "best.pth"):
        ...     (folder / name).touch()
        >>> [path.name for path in training_states(folder)]
        ['iter_100.pth', 'iter_90.pth']
    """
    found = [path for mark in STATES for path in Path(work_dir).glob(mark)]
    numbered = [path for path in found if path.stem.rsplit("_", 1)[1].isdigit()]
    return sorted(
        numbered, key=lambda path: int(path.stem.rsplit("_", 1)[1]), reverse=True
    )


def newest_state(work_dir: Path) -> Path | None:
    """Return the newest training state that can be read, None if there is none.

    Each newer one that is damaged is warned of.

    A process that was killed, or a full disk, may have left the newest one damaged,
    and mmengine's own mark of it missing or behind.
    """
    for path in training_states(work_dir):
        try:
            load_tensors(path)
        except (UnsafeCheckpointError, OSError) as error:
            LOGGER.warning("%s; going on from the state before it", error)
            continue
        return path
    return None


def save_states_whole(runner: Runner) -> None:
    """Let the runner's training states appear whole, or not at all.

    mmengine writes into the final file, so that whatever ends the process meanwhile
    leaves a newest state that cannot be read.
    """
    save = runner.save_checkpoint

    def save_whole(out_dir: str, filename: str, *args, **kwargs) -> None:
        # Processes beside the main one write nothing, and states may go elsewhere.
        if not is_main_process() or "://" in str(out_dir):
            save(out_dir, filename, *args, **kwargs)
            return
        with replacing(Path(out_dir) / filename) as part:
            save(out_dir, part.name, *args, **kwargs)

    for leftover in Path(runner.work_dir).glob(".*.pth.part"):
        leftover.unlink(missing_ok=True)
    runner.save_checkpoint = save_whole


def save_state(runner: Runner, done: int) -> None:
    """Write the state after ``done`` iterations, between two that are due.

    Of those that the runner keeps, the newest stay; else a training that is stopped
    many times would fill the disk.
    """
    if not is_main_process():
        return
    folder, name = Path(runner.work_dir), f"iter_{done}.pth"
    runner.save_checkpoint(str(folder), name, meta=dict(iter=done), by_epoch=False)
    write_text(folder / "last_checkpoint", str(folder / name))
    kept = [getattr(hook, "max_keep_ckpts", -1) for hook in runner.hooks]
    if max(kept, default=-1) > 0:
        for state in training_states(folder)[max(kept) :]:
            state.unlink()
