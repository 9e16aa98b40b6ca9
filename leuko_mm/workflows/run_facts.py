"""What a results file says about the run itself: code, machine, libraries, model."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import cv2
import mmcv
import mmengine
import mmseg
import numpy as np
import torch
from mmengine.config import Config
from torch import nn

import leuko_mm
from leuko_mm.models.cell_encoder_decoder import READING
from leuko_mm.workflows.model_size import (
    count_parameters,
    multiply_adds,
    named_weights,
)


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


@cache
def git_at_start() -> str | None:
    """Return ``git_state`` as it was when this process asked first.

    A training runs the code that it began with, whatever is committed meanwhile.
    """
    return git_state()


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
    """Return the processor's name with the machine's cores.

    Not those that the process may use: an OpenMP that binds its threads leaves the
    main one a single core. The threads of a run are told beside.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor()}, {os.cpu_count() or 1} cores"


# Counting takes a second, and many runs of a comparison are of one network.
_counted: dict[str, float] = {}


def model_facts(model: nn.Module, config: Config) -> dict:
    """Return parameters in millions and multiply-adds of one image in 10^9.

    Args:
        model: a segmentor.
        config: the run's resolved config: size of the test images, encoder weights.
    """
    size = config.test_dataloader.dataset.get("size", 256)
    params_m = count_parameters(model)
    network = repr((type(model).__name__, params_m, _bare(config.model), size))
    if network not in _counted:
        _counted[network] = round(multiply_adds(model, size), 3)
    return dict(
        params_m=params_m,
        gmacs=_counted[network],
        input_size=size,
        # Not the model's own: one that is only tested is built without.
        pretrained=named_weights(config),
        # How the answer is read; empty: pixel by pixel, in one view.
        reading=reading_of(model),
    )


def reading_of(model: nn.Module) -> dict:
    """Return how a segmentor reads its answer: options of ``CellEncoderDecoder``.

    Example:
        >>> reading_of(nn.Identity())
        {}
    """
    asked = {key: getattr(model, key, None) for key in READING}
    plain = dict(least_area=(None,), views=(None, 1))
    return {key: asked[key] for key in READING if asked[key] not in plain[key]}


def _bare(recipe):
    """Return a model's config without its losses and its first weights."""
    if isinstance(recipe, Mapping):
        kept = [k for k in recipe if k not in ("loss_decode", "init_cfg")]
        return {key: _bare(recipe[key]) for key in kept}
    if isinstance(recipe, (list, tuple)):
        return [_bare(value) for value in recipe]
    return recipe
