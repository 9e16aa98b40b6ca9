"""Trained methods for the figures: which checkpoints there are, which fit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.prepared import read_about
from leuko_mm.engine.checkpoint_files import STATES
from leuko_mm.errors import UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.workflows.find_config import protocol_names
from leuko_mm.workflows.lineage import learnt_cells, splits_learnt_from
from leuko_mm.workflows.published_runs import LENGTH
from leuko_mm.workflows.settings import SETTINGS
from leuko_mm.workflows.sidecar import read_sidecar

# A run of a method under a setting is the same network as one of the ablation.
SAME_AS = {
    ("unet_vgg16", "A"): "none",
    ("unet_vgg16", None): "dice_focal",
    ("unet_vgg16", "B"): "retinex_dice_focal",
    ("cbam_unet", "A"): "cbam",
    ("cbam_unet", None): "cbam_dice_focal",
    ("cbam_unet", "B"): "all_three",
}
# The columns of the paper's Fig. 10, then those that it has not.
COMBINATIONS = {
    "none": "cross-entropy",
    "retinex": "AHE-Retinex",
    "retinex_cbam": "AHE-Retinex, CBAM",
    "retinex_dice_focal": "AHE-Retinex, focal + Dice",
    "all_three": "AHE-Retinex, CBAM, focal + Dice",
    "cbam": "CBAM",
    "dice_focal": "focal + Dice",
    "cbam_dice_focal": "CBAM, focal + Dice",
}


@dataclass(frozen=True)
class TrainedMethod:
    """A checkpoint with its sidecar.

    Args:
        path: the ``.pth`` file.
        sidecar: see ``leuko_mm.workflows.sidecar``.
        variant: setting or ablation, as the file's name says.
        given: whether the user named it.
        protocol: as the file's name says; None where it names none.
    """

    path: Path
    sidecar: Mapping
    variant: str | None
    given: bool
    protocol: str | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.sidecar["method"])

    @property
    def training(self) -> tuple[str | None, int, str]:
        """Protocol, iterations and split: what methods must share to be compared."""
        told = self.sidecar.get("training", {})
        length, split = told.get("iterations") or 0, told.get("split")
        return self.protocol, int(length), str(split)

    @property
    def title(self) -> str:
        """Name of the method and what it is a variant of."""
        if self.variant in SETTINGS:
            return f"{self.method}, setting {self.variant}"
        return f"{self.method}, {self.variant}" if self.variant else self.method

    @property
    def combination(self) -> str | None:
        """The row of the ablation that it is, None if it is none."""
        if self.method == "unet_vgg16" and self.variant in COMBINATIONS:
            return self.variant
        return SAME_AS.get((self.method, self.variant))


def find_methods(
    work_dirs: Path, given: Iterable[str], classes: Sequence[str]
) -> list[TrainedMethod]:
    """Return the checkpoints that the user named, then those below ``work_dirs``.

    Raises:
        UsageError: if a named one is missing, has no sidecar or other classes.
    """
    named = [_named(Path(path), classes) for path in given]
    known = {found.path.resolve() for found in named}
    patterns = {path for mark in STATES for path in work_dirs.glob(f"*/{mark}")}
    found = []
    for path in sorted(set(work_dirs.glob("*/*.pth")) - patterns):
        sidecar = _loose_sidecar(path)
        if path.resolve() in known or list(sidecar.get("classes", ())) != list(classes):
            continue
        variant, protocol = named_parts(path, sidecar)
        found.append(TrainedMethod(path, sidecar, variant, False, protocol))
    return named + found


def _named(path: Path, classes: Sequence[str]) -> TrainedMethod:
    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist")
    sidecar = read_sidecar(path, sha256_of_file(path))
    if not sidecar:
        raise UsageError(
            f"{path} has no {path.with_suffix('.json').name} beside it, which says how "
            "to build its network; copy both from the run's folder"
        )
    if list(sidecar["classes"]) != list(classes):
        raise UsageError(
            f"{path} tells {', '.join(sidecar['classes'])} apart, the dataset has "
            f"{', '.join(classes)}; choose another --dataset or checkpoint"
        )
    variant, protocol = named_parts(path, sidecar)
    return TrainedMethod(path, sidecar, variant, True, protocol)


def _loose_sidecar(path: Path) -> dict:
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(content, dict) and {"method", "config"} <= set(content)
    return content if known else {}


def named_parts(path: Path, sidecar: Mapping) -> tuple[str | None, str | None]:
    """Return variant and protocol of ``<method>[-<variant>][-iN]-<protocol>-...``.

    Example:
        >>> named_parts(Path("unet-A-i300-half-fold5-s0.pth"), dict(method="unet"))
        ('A', 'half')
        >>> named_parts(Path("mine.pth"), dict(method="unet"))
        (None, None)
    """
    rest = path.stem.removeprefix(str(sidecar["method"])).split("-")[1:]
    protocols = set(protocol_names())
    for place, word in enumerate(rest):
        if word in protocols:
            kept = [said for said in rest[:place] if not LENGTH.match(said)]
            return "-".join(kept) or None, word
    return None, None


def unseen(
    methods: Iterable[TrainedMethod], root: Path, stems: set[str]
) -> tuple[list[TrainedMethod], list[str]]:
    """Divide methods by whether they have learnt from a cell that is shown.

    A checkpoint of another dataset is taken only where the user named it.

    Args:
        methods: found ones.
        root: the dataset of the cells.
        stems: the cells.

    Returns:
        Those that have not, and a line on each of the others that the user named or
        that no other network of the same method and setting stands for.
    """
    digest, fit, learnt_some = read_about(root)["sha256"], [], []
    for method in methods:
        here = method.sidecar.get("training", {}).get("sha256") == digest
        learnt = learnt_cells(root, method.sidecar)
        if learnt & stems:
            said = (
                f"{method.path}: it learnt from {len(learnt & stems)} of the cells "
                f"shown; --split {splits_learnt_from(root, method.sidecar)[0]} shows "
                "others"
            )
            learnt_some.append((method, said))
        elif here or method.given:
            fit.append(method)
    there = {method.title for method in fit}
    missed = [s for m, s in learnt_some if m.given or m.title not in there]
    return fit, missed
