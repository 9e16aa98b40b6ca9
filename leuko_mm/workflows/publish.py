"""Make a checkpoint fit to be given away: bare tensors, small, hashed, with a card."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from leuko_mm.datasets.prepared import is_plain_name
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.leukocyte_metric import CELLS_FILE, load_cells
from leuko_mm.files import sha256_of_file
from leuko_mm.inference.shipped import training_command
from leuko_mm.workflows.calibration_hook import CALIBRATION_FILE
from leuko_mm.workflows.model_card import Tested, model_card
from leuko_mm.workflows.zoo_verify import measure, verify

# Bytes that a file in the package may have, and all of them together.
LIMIT, LIMIT_TOGETHER = 8_000_000, 16_000_000


@dataclass(frozen=True)
class PublishRequest:
    """What a user asked for.

    Args:
        checkpoint: a ``.pth`` file of a training, with its sidecar.
        out: folder that gets ``<name>.pth``, ``.json`` and ``.md``.
        name: None: the method's.
        float16: round every weight, which halves the file.
        limit: bytes that the file may have, and all of the folder together.
        transfer: folders of ``leuko test`` on other sources, for the card.
        command: what trained it; None: the documented one.
        work_dir: where the test's files go; None: they are thrown away.
        force: write over what is published there.
    """

    checkpoint: Path
    out: Path
    name: str | None = None
    float16: bool = False
    limit: tuple[int, int] = (LIMIT, LIMIT_TOGETHER)
    transfer: Sequence[Path] = ()
    command: str | None = None
    work_dir: Path | None = None
    force: bool = False


def publish(request: PublishRequest) -> Path:
    """Write a checkpoint, its sidecar and its card; return the checkpoint's path.

    What is written is tested first, as it is: its figures are those of the rounded
    weights. Nothing appears before all of it is right.

    Raises:
        UsageError: if the checkpoint does not fit its sidecar, is too large, or
            something is published there already.
        UnsafeCheckpointError: if it holds more than tensors.
        DatasetError: if the cells that it is tested on are not prepared.
    """
    sidecar = verify(Path(request.checkpoint))
    name = request.name or sidecar["method"]
    if not is_plain_name(name):
        raise UsageError(f"{name!r} is no name of a file; give one with --name")
    target = Path(request.out) / f"{name}.pth"
    if target.exists() and not request.force:
        raise UsageError(f"{target} exists; add --force to replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".publish-") as folder:
        draft = Path(folder) / target.name
        tensors = load_tensors(request.checkpoint)
        torch.save(_rounded(tensors) if request.float16 else tensors, draft)
        _check_size(draft, target, request.limit)
        sidecar = _described(draft, sidecar)
        work_dir = Path(request.work_dir or Path(folder) / "test")
        sidecar["metrics"] = measure(draft, sidecar, work_dir=work_dir)["metrics"]
        _write_json(draft.with_suffix(".json"), sidecar)
        card = model_card(
            sidecar,
            read_tested(work_dir),
            size_bytes=draft.stat().st_size,
            transfer=[read_tested(Path(place)) for place in request.transfer],
            command=request.command or training_command(sidecar["method"]),
        )
        draft.with_suffix(".md").write_text(card, encoding="utf-8")
        verify(draft)
        # The checkpoint last: with it all is there.
        for suffix in (".md", ".json", ".pth"):
            os.replace(draft.with_suffix(suffix), target.with_suffix(suffix))
    return target


def read_tested(folder: Path) -> Tested:
    """Return a test's results, cells and calibration from its folder.

    Raises:
        UsageError: if it holds no finished test.
    """
    place = Path(folder) / "results.json"
    if not place.is_file():
        raise UsageError(f"{folder} holds no results.json; test the checkpoint first")
    told = Path(folder) / CALIBRATION_FILE
    return Tested(
        results=json.loads(place.read_text(encoding="utf-8")),
        cells=load_cells(Path(folder) / CELLS_FILE),
        calibration=json.loads(told.read_text()) if told.is_file() else {},
    )


def _rounded(tensors: dict) -> dict:
    """Return weights as float16, but for numbers that it cannot hold.

    Example:
        >>> one = _rounded({"w": torch.tensor([1.5]), "v": torch.tensor([1e6])})
        >>> [str(value.dtype) for value in one.values()]
        ['torch.float16', 'torch.float32']
    """
    return {key: _as_float16(value) for key, value in tensors.items()}


def _as_float16(value: torch.Tensor) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if torch.isfinite(half).all() else value


def _check_size(draft: Path, target: Path, limit: tuple[int, int]) -> None:
    own = draft.stat().st_size
    others = sum(p.stat().st_size for p in target.parent.glob("*.pth") if p != target)
    if own > limit[0] or own + others > limit[1]:
        raise UsageError(
            f"{target.name} has {own} bytes, {own + others} with the others of its "
            f"folder; the limits are {limit[0]} and {limit[1]}: round it with "
            "--float16, or choose a smaller network"
        )


def _described(draft: Path, sidecar: dict) -> dict:
    """Write the sidecar of a draft and return it."""
    told = {**sidecar, "sha256": sha256_of_file(draft)}
    _write_json(draft.with_suffix(".json"), told)
    return told


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
