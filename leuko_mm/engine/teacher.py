"""A trained network that another one learns from: found, checked, built, frozen."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.engine.part_names import foreign_parts
from leuko_mm.engine.safe_load import check_kinds, load_tensors
from leuko_mm.errors import LeukoError
from leuko_mm.files import sha256_of_file
from leuko_mm.registry import MODELS

# Sides of images that every encoder of the project takes.
DIVISOR = 32


class TeacherError(LeukoError, ValueError):
    """There is no such teacher, or it may not teach this student."""


class Teacher:
    """A frozen network with the input that it was trained on.

    Args:
        path: where it comes from.
        model: a segmentor; it is frozen and put into evaluation mode.
        zoom: its pixels per pixel of the student's image.
        shift, factor: from the student's normalised values to the teacher's,
            ``value * factor + shift``, one a channel.
    """

    def __init__(
        self,
        path: Path,
        model: nn.Module,
        *,
        zoom: float = 1.0,
        shift: Sequence[float] = (0, 0, 0),
        factor: Sequence[float] = (1, 1, 1),
    ):
        self.path, self.zoom = path, zoom
        self.model = model.eval().requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)
        self.shift, self.factor = (
            torch.tensor(values, dtype=torch.float32)[:, None, None]
            for values in (shift, factor)
        )

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return its logits and its encoder's maps for the student's input.

        Shape:
            inputs (B, 3, H, W) -> logits (B, C, h, w), maps (B, C_i, h_i, w_i).
        """
        own = inputs * self.factor.to(inputs) + self.shift.to(inputs)
        if self.zoom != 1:
            size = [_sized(side * self.zoom) for side in own.shape[-2:]]
            own = F.interpolate(own, size, mode="bilinear", antialias=True)
        maps = self.model.backbone(own)
        through = self.model.neck(maps) if self.model.with_neck else maps
        return self.model.decode_head(through), maps


def _sized(side: float) -> int:
    return max(1, round(side / DIVISOR)) * DIVISOR


def load_teacher(file: str, config: Config, student: nn.Module) -> Teacher:
    """Return a teacher that may teach the student of a run.

    Args:
        file: its checkpoint; ``{split}`` stands for the split of the run.
        config: the run's.
        student: on the device that the teacher shall be on.

    Raises:
        TeacherError: if it is missing, damaged, of other classes, saw other images, or
            has learnt from other cells than the student's.
    """
    dataset = config.train_dataloader["dataset"]
    cells = dataset.get("dataset", dataset)
    path = Path(file.format(split=cells.get("split")))
    sidecar = _sidecar(path, cells.get("split"))
    _check(path, sidecar, config, cells, student)
    model = _built(path, sidecar)
    shift, factor = _between(student, sidecar["normalisation"])
    teacher = Teacher(
        path,
        model.to(next(student.parameters()).device),
        zoom=_zoom(sidecar, dataset),
        shift=shift,
        factor=factor,
    )
    return teacher


def _built(path: Path, sidecar: Mapping) -> nn.Module:
    recipe = copy.deepcopy(sidecar["config"]["model"])
    if foreign := foreign_parts(recipe):
        raise TeacherError(f"the sidecar of {path} asks for {foreign[0]!r}, no part")
    recipe.get("backbone", {}).pop("init_cfg", None)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(recipe)
    tensors = load_tensors(path)
    check_kinds(model, tensors, file=path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise TeacherError(
            f"{path} does not fit the network of its sidecar: "
            f"{' '.join(str(error).split())[:300]}"
        ) from None
    return model


def _sidecar(path: Path, split: str | None) -> dict:
    place = path.with_suffix(".json")
    if not path.is_file() or not place.is_file():
        raise TeacherError(
            f"no teacher: {path} with its sidecar {place.name} is not there. Train it "
            f"with\n    leuko train cbam_unet --protocol half --split {split}\nname "
            "another one as teacher of the config's DistillationHook, or learn without "
            "any: weight=0 there"
        )
    sidecar = json.loads(place.read_text(encoding="utf-8"))
    if sha256_of_file(path) != sidecar.get("sha256"):
        raise TeacherError(f"{path} is not the file that {place.name} describes")
    return sidecar


def _check(
    path: Path, sidecar: Mapping, config: Config, cells: Mapping, student: nn.Module
) -> None:
    training = sidecar.get("training", {})
    if training.get("split") != cells.get("split"):
        raise TeacherError(
            f"the teacher {path} was trained on split {training.get('split')}, this "
            f"training is on {cells.get('split')}: it would tell of cells that are "
            "tested. Train a teacher on the same split"
        )
    classes = student.decode_head.num_classes
    if len(sidecar.get("classes", ())) != classes:
        raise TeacherError(
            f"the teacher {path} knows {len(sidecar.get('classes', ()))} classes, the "
            f"student {classes}"
        )
    enhance = config.train_dataloader["dataset"].get("enhance")
    shown = json.loads(json.dumps(enhance))
    if sidecar.get("enhance") != shown:
        raise TeacherError(
            f"the teacher {path} was trained on images enhanced by "
            f"{sidecar.get('enhance')}, the student sees {shown}; use one of both"
        )


def _between(student: nn.Module, theirs: Mapping) -> tuple[list, list]:
    """Return shift and factor from the student's values to the teacher's."""
    ours = student.data_preprocessor
    mean, std = (getattr(ours, key).flatten().tolist() for key in ("mean", "std"))
    factor = [s / t for s, t in zip(std, theirs["std"], strict=True)]
    shift = [
        (m - other) / t
        for m, other, t in zip(mean, theirs["mean"], theirs["std"], strict=True)
    ]
    return shift, factor


def _zoom(sidecar: Mapping, dataset: Mapping) -> float:
    """Return the teacher's pixels per pixel of the student, by a cell's size."""
    theirs = (sidecar.get("scale") or {}).get("cell_px")
    ours = dataset.get("size", 0) // dataset.get("n", 1)
    return theirs / ours if theirs and ours else 1.0
