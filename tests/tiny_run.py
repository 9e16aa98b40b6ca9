"""A run that takes seconds: a tiny dataset, a narrow network, two iterations.

Tests use these through the fixtures ``tiny_data`` and ``tiny_config``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SLIDES = 5

_LEAF = """
_base_ = ['{root}/configs/_base_/runtime.py',
          '{root}/configs/_base_/protocols/smoke.py']
method = 'tiny'

_widths = [8, 16, 32, 64, 64]
_enhance = {enhance}

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=16,
        test_cfg=dict(size_divisor=16)),
    backbone=dict(type='leuko_mm.VGG', depth=16, width=0.125, init_cfg=None),
    neck=dict(type='leuko_mm.CBAMSkipNeck', in_channels=_widths, reduction=8),
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=_widths,
        channels=[32, 16, 16, 8],
        norm_cfg=dict(type='BN'),
        num_classes=6,
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
"""


def write_config(
    folder: Path, *, name: str = "tiny", enhance: str = "None", more: str = ""
) -> Path:
    """Write a method file of a narrow CBAM U-Net under the smoke protocol.

    ``enhance`` is code of the enhancement's config, ``more`` is appended to the file.
    """
    path = folder / f"{name}.py"
    path.write_text(_LEAF.format(root=ROOT, enhance=enhance) + more)
    return path


def make_data(home: Path, name: str = "synthetic") -> Path:
    """Prepare 25 cells of 64x64 pixels on five slides below a data home."""
    from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic

    prepare_synthetic(home / name, slides=SLIDES, cells_per_class=1, size=64)
    return home / name


def leuko(
    *arguments, cwd: Path, timeout: float = 300, **environment
) -> subprocess.CompletedProcess:
    """Run the command in a process of its own, on one thread, outside the clone."""
    command = ["-m", "leuko_mm.cli.main", *arguments]
    return python(*command, cwd=cwd, timeout=timeout, **environment)


def python(
    *words, cwd: Path | None = None, timeout: float = 300, **environment
) -> subprocess.CompletedProcess:
    """Run Python in a process of its own, on one thread."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=process_environment(**environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def finished_script(out: Path, script: str, *words, timeout: float, **more) -> str:
    """Run a script beside this file; return its output, or fail with its logs.

    ``out``, the folder of its logs, is its first argument.
    """
    done = python(ROOT / "tests" / script, out, *words, timeout=timeout, **more)
    print(done.stdout)
    logs = "".join(log.read_text()[-3000:] for log in sorted(out.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr[-3000:] + logs
    return done.stdout


def process_environment(**more) -> dict[str, str]:
    """Return the environment of a process that finds the package and uses one core."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        **dict.fromkeys(threads, "1"),
        **{key: str(value) for key, value in more.items()},
    }
