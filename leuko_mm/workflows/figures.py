"""Draw the paper's figures with other cells and other networks, into one folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.leukocyte_dataset import dataset_root, is_binary
from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder
from leuko_mm.workflows.figures_cells import CellStock
from leuko_mm.workflows.figures_gathered import FIGURES, GatheredFigures
from leuko_mm.workflows.figures_methods import find_methods
from leuko_mm.workflows.preflight import draw_synthetic

ABOUT = "figures.json"


@dataclass(frozen=True)
class FiguresRequest:
    """What ``leuko figures`` was asked for.

    Args:
        out: folder to write.
        dataset: a prepared one, by name or path.
        split: whose test cells are shown; no checkpoint may have learnt from them.
        checkpoints: shown beside those below ``work_dirs``.
        methods: whose networks Fig. 9 shows, ``all``, or none for the paper's.
        work_dirs: folder of the runs.
        seed: which cells.
        force: replace the figures that are there.
    """

    out: Path
    dataset: str = "bcisc"
    split: str = "fold5"
    checkpoints: Sequence[str] = ()
    methods: Sequence[str] = ()
    work_dirs: Path = Path("work_dirs")
    seed: int = 0
    force: bool = False


@dataclass(frozen=True)
class FiguresOutcome:
    """What was drawn, and what could not be."""

    written: tuple[Path, ...]
    left_out: tuple[str, ...]


def draw_figures(
    request: FiguresRequest, say: Callable[[str], None] = print
) -> FiguresOutcome:
    """Draw all figures, and write all of them or nothing.

    Args:
        request: see there.
        say: takes a line for the user.

    Raises:
        UsageError: if the folder holds other things, or a checkpoint does not fit.
        DatasetError: if the dataset or the split is missing.
    """
    check_place(request.out, force=request.force)
    root = dataset_root(request.dataset)
    draw_synthetic(request.dataset)
    quick_check(root, split=request.split)
    if is_binary(root):
        raise UsageError(f"{request.dataset} knows leukocytes without their class")
    found = find_methods(Path(request.work_dirs), request.checkpoints, CLASS_NAMES)
    gathered = GatheredFigures(
        CellStock(request.dataset, request.split),
        found,
        wanted=request.methods,
        seed=request.seed,
        say=say,
    )
    pictures = gathered.draw()
    about = {**gathered.about(), "split": request.split, "seed": request.seed}
    return FiguresOutcome(
        _write(request.out, pictures, about), tuple(gathered.left_out)
    )


def check_place(out: Path, *, force: bool) -> None:
    """Refuse to write over anything but figures, and over those without ``force``.

    Raises:
        UsageError: if something stands there.
    """
    if not out.exists():
        return
    if not out.is_dir() or {path.name for path in out.iterdir()} - {ABOUT, *FIGURES}:
        raise UsageError(
            f"{out} holds other things than these figures, so it is not replaced; "
            "choose another --out"
        )
    if any(out.iterdir()) and not force:
        raise UsageError(
            f"{out} holds figures; add --force to replace them, or choose another --out"
        )


def _write(
    out: Path, pictures: Mapping[str, np.ndarray], about: Mapping
) -> tuple[Path, ...]:
    place, building = out.resolve(), None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        for name, picture in pictures.items():
            Image.fromarray(picture).save(building / name)
        text = json.dumps(about, indent=1) + "\n"
        (building / ABOUT).write_text(text, encoding="utf-8")
        replace_folder(place, building)
    except OSError as error:
        raise UsageError(
            f"{out} was not written ({error}); mend the cause, or choose another --out"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    return tuple(out / name for name in (*pictures, ABOUT))
