"""What a results file says about the run itself: code, machine, libraries, model."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import cv2
import mmcv
import mmengine
import mmseg
import numpy as np
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

import leuko_mm


def git_state() -> str | None:
    """Return the commit of the code that runs, ``-dirty`` if changed, or None.

    None where the package is installed without its repository.
    """
    root = Path(leuko_mm.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def environment() -> dict:
    """Return the ``env`` block of a results file."""
    return dict(
        leuko_mm=leuko_mm.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        mmcv=mmcv.__version__,
        mmseg=mmseg.__version__,
        opencv=cv2.__version__,
        numpy=np.__version__,
        cpu=cpu_name(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def cpu_name() -> str:
    """Return the processor's name with the number of usable cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor()}, {usable_cores()} cores"


def usable_cores() -> int:
    """Return how many cores this process may use, affinity respected."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def model_facts(model: nn.Module, config: Config) -> dict:
    """Return parameters in millions and multiply-adds of one image in 10^9.

    Args:
        model: a segmentor.
        config: the run's resolved config: size of the test images, encoder weights.
    """
    size = config.test_dataloader.dataset.get("size", 256)
    was_training = model.training
    # The counter warns of every operator without multiply-adds, such as pooling.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        info = get_model_complexity_info(
            model.eval(), (3, size, size), show_table=False, show_arch=False
        )
    finally:
        logger.setLevel(level)
        model.train(was_training)
    # Not the model's own: one that is only tested is built without.
    recipe = config.model.get("backbone", {}).get("init_cfg") or {}
    return dict(
        params_m=round(sum(p.numel() for p in model.parameters()) / 1e6, 3),
        # mmengine calls multiply-adds flops.
        gmacs=round(info["flops"] / 1e9, 3),
        input_size=size,
        pretrained=recipe.get("checkpoint") if isinstance(recipe, dict) else None,
    )
