"""Which images a prediction is about, and what each of them is called."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL
from leuko_mm.datasets.image_headers import IMAGE_SUFFIXES
from leuko_mm.errors import UsageError
from leuko_mm.nearest import did_you_mean

# Levels of every channel that are black and white, with what JPEG makes of them.
BLACK, WHITE = 16, 239
FEW = 5  # grey levels: no photograph has as few, masks of nucleus and cell have three


@dataclass(frozen=True)
class InputImage:
    """One image to look at.

    Args:
        path: the file.
        name: its path below the folder that all images have in common, with slashes;
            unique, and the same on every machine that holds the same folder.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class InputPlan:
    """All images, in the order of their names.

    Args:
        root: the folder that they have in common.
        images: by name.
    """

    root: Path
    images: tuple[InputImage, ...]


def plan_inputs(paths: Sequence[str], *, leave_out: Path | None = None) -> InputPlan:
    """Return the images that files, folders and patterns name, each once.

    Args:
        paths: files (taken whatever they are called), folders (searched to any depth
            for files with the suffix of an image, hidden ones left out) and patterns
            with ``*``, ``?``, ``[]`` or ``**``.
        leave_out: a folder that is not entered, as that of the results.

    Raises:
        UsageError: if a path does not exist, or there is no image.
    """
    files: dict[Path, Path] = {}
    roots = []
    for text in paths:
        for path in _matches(text):
            roots.append(path if path.is_dir() else path.parent)
            found = _images_below(path, leave_out) if path.is_dir() else [path]
            for file in found:
                files.setdefault(_absolute(file), file)
    if not files:
        raise UsageError(
            f"no image in {', '.join(paths)}; expected files that end in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    root = Path(os.path.commonpath([_absolute(folder) for folder in roots]))
    images = [
        InputImage(file, absolute.relative_to(root).as_posix())
        for absolute, file in files.items()
    ]
    return InputPlan(root, tuple(sorted(images, key=lambda image: image.name)))


def _absolute(path: Path) -> Path:
    # Links are not followed: an image is called what the user calls it.
    return Path(os.path.abspath(path))


def _matches(text: str) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
    # `**` names a folder and all that is in it.
    found = [p for p in found if not p.is_dir()] or found
    if not found:
        here = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise UsageError(
            f"{text} does not exist{neighbour_of(path)}, and matches nothing{here}"
        )
    return found


def neighbour_of(path: Path) -> str:
    """Return which file beside a missing one may be meant, '' where none is near."""
    try:
        there = [found.name for found in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, there)


def _images_below(folder: Path, leave_out: Path | None) -> Iterable[Path]:
    avoided = leave_out.resolve() if leave_out else None
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (Path(here) / name).resolve() != avoided
        ]
        for name in names:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != ".":
                yield Path(here) / name


def refuse_mask(pixels: np.ndarray) -> None:
    """Refuse an image that is a mask: masks often lie among the fields they belong to.

    A mask has no colour and two to five values, or class ids and 255 alone; or it is
    black and white but for a few pixels, which soft edges or a lossy file make.

    Shape:
        (H, W, 3) uint8.

    Raises:
        UsageError: naming the values.

    Example:
        >>> refuse_mask(np.full((4, 4, 3), 200, np.uint8))
    """
    _refuse_ids(pixels)
    if _is_black_and_white(pixels):
        raise UsageError(
            "is black and white: a mask, not a photograph; keep masks in a folder of "
            "their own"
        )


def _refuse_ids(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    # Most images tell by their first row that they are none.
    if any((pixels[:1, :, c] != grey[:1]).any() for c in (1, 2)):
        return
    # calcHist reads in place; numpy's counting takes eight times a large image.
    counts = cv2.calcHist([pixels], [0], None, [256], [0, 256])
    values = np.flatnonzero(counts).tolist()
    ids = {*range(len(CLASS_NAMES)), IGNORE_LABEL}
    mask = len(values) > 1 and (set(values) <= ids or len(values) <= FEW)
    if mask and all(np.array_equal(pixels[..., c], grey) for c in (1, 2)):
        raise UsageError(
            f"holds no values but {', '.join(map(str, values))}: a mask, not a "
            "photograph; keep masks in a folder of their own"
        )


def _is_black_and_white(pixels: np.ndarray) -> bool:
    """Whether 24 of 25 pixels are black or white, some this and some that."""

    def dark_and_light(part: np.ndarray) -> tuple[float, float]:
        dark = part.max(axis=-1) <= BLACK
        return float(dark.mean()), float((part.min(axis=-1) >= WHITE).mean())

    # Most images tell by their first row that they are none.
    if sum(dark_and_light(pixels[:1])) < 0.9:
        return False
    dark, light = dark_and_light(pixels)
    return min(dark, light) > 0 and dark + light >= 0.96
