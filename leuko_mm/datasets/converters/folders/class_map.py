"""The class map: which value, colour or label stands for which class."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from leuko_mm.classes import BACKGROUND, CELL_CLASSES, IGNORE_LABEL, class_id
from leuko_mm.datasets.converters.folders.annotation import (
    BY_NAME,
    IGNORE,
    LEUKOCYTE,
    FoundImage,
    class_by_name,
    target_of,
)
from leuko_mm.datasets.prepared import DatasetError

UNKNOWN = "?"


@dataclass(frozen=True)
class KeyUse:
    """Where a key stands: pixels, files, and the first of these."""

    pixels: int
    files: int
    first: str


def parse_map(text: str) -> dict[str, str]:
    """Return key -> target of ``'0=background,255=eosinophil'``.

    A key that holds a comma goes in double quotes with its class:
    ``'"a,b=monocyte",c=ignore'``.

    Raises:
        DatasetError: naming what does not fit.

    Example:
        >>> parse_map("0=bg, #FF0000=baso")
        {'0': 'background', '#ff0000': 'basophil'}
    """
    found: dict[str, str] = {}
    for entry in next(csv.reader([text], skipinitialspace=True), []):
        key, equals, name = entry.rpartition("=")
        key = key.strip()
        if key.startswith("#"):
            key = key.lower()
        try:
            if not equals or not key:
                raise ValueError("expected value=class")
            if key in found:
                raise ValueError(f"{key!r} stands there twice")
            found[key] = target_of(name)
        except ValueError as error:
            raise DatasetError(f"--map {entry!r}: {error}") from None
    return found


def map_text(targets: Mapping[str, str | None]) -> str:
    """Return a map as it is typed, ``?`` where a class is to be filled in.

    Example:
        >>> map_text({"0": "background", "a,b": None})
        '\\'0=background,"a,b=?"\\''
    """
    entries = [f"{key}={target or UNKNOWN}" for key, target in targets.items()]
    return shlex.quote(",".join(f'"{e}"' if "," in e else e for e in entries))


def check_map(targets: Mapping[str, str | None], uses: Mapping[str, KeyUse]) -> None:
    """Refuse a map that does not fit what the files hold.

    Raises:
        DatasetError: naming the value, how many pixels have it and in which file it
            is met first.
    """
    for key, use in uses.items():
        if targets.get(key) is None:
            known = ", ".join(f"{k}={t}" for k, t in targets.items() if t)
            raise DatasetError(
                f"the map says nothing of {key!r}, which stands on {where(use)}; it "
                f"has {known or 'nothing'}"
            )
    cells = {k: targets[k] for k in uses if targets[k] in _CELLS}
    if not cells:
        key = max(uses, key=lambda k: uses[k].pixels if k != "0" else 0)
        raise DatasetError(
            f"the map leaves no leukocyte: {key!r}, on {where(uses[key])}, becomes "
            f"{targets[key]}"
        )
    merged = [key for key, target in cells.items() if target == LEUKOCYTE]
    if merged and len(merged) < len(cells):
        other = next(key for key in cells if key not in merged)
        raise DatasetError(
            f"{merged[0]!r} on {where(uses[merged[0]])} becomes leukocyte, but "
            f"{other!r} on {where(uses[other])} {cells[other]}; give all of them a "
            "class, or all of them leukocyte"
        )


_CELLS = {LEUKOCYTE, BY_NAME, *(c.name for c in CELL_CLASSES)}


def where(use: KeyUse) -> str:
    """Return how many pixels a key has, and in which file it is met first.

    Example:
        >>> where(KeyUse(7, 3, "masks/a.png"))
        '7 pixel(s) of masks/a.png and 2 more'
    """
    more = f" and {use.files - 1} more" if use.files > 1 else ""
    return f"{use.pixels} pixel(s) of {use.first}{more}"


def is_binary(targets: Mapping[str, str]) -> bool:
    """Tell whether a map knows leukocytes only, without their class."""
    return LEUKOCYTE in targets.values()


def label_values(
    targets: Mapping[str, str], image: FoundImage, used: Mapping[str, int], file: str
) -> dict[str, int]:
    """Return the label of every key of one image.

    Args:
        targets: key -> target.
        image: whose name may say its class.
        used: pixels of the keys that the image has.
        file: its annotation, for the message.

    Raises:
        DatasetError: if the class is to be that of the name, and that names none.
    """
    labels = {}
    for key, pixels in used.items():
        target = targets[key]
        if target == BY_NAME:
            target = class_by_name(image.relative)
            if target is None:
                raise DatasetError(
                    f"{key!r} on {pixels} pixel(s) of {file} is to be the class that "
                    f"the image's name says, but {image.relative!r} names none"
                )
        labels[key] = _label(target)
    return labels


def _label(target: str) -> int:
    special = {"background": BACKGROUND, IGNORE: IGNORE_LABEL, LEUKOCYTE: 1}
    return special[target] if target in special else class_id(target)
