"""The class map: which value, colour or label (a key) stands for which class.

A target is a class, ``background``, ``ignore``, ``leukocyte`` (its class is not
known), ``other`` (none of the classes) or ``by-name`` (the class that the image's path
names).
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leuko_mm.classes import (
    BINARY_NAMES,
    CELL_CLASSES,
    CLASSES,
    IGNORE_LABEL,
    OTHER,
    class_id,
)
from leuko_mm.datasets.prepared import DatasetError

BACKGROUND, LEUKOCYTE = BINARY_NAMES
IGNORE = "ignore"
BY_NAME = "by-name"
SPECIAL = (BACKGROUND, LEUKOCYTE, IGNORE, OTHER, BY_NAME)
# Stands for cells of class ``other`` until masks are written, with 255 in them.
OTHER_LABEL = IGNORE_LABEL - 1
UNKNOWN = "?"

_SYNONYMS = {
    LEUKOCYTE: ("leukocytes", "wbc", "wbcs", "leucocyte", "leucocytes"),
    BACKGROUND: ("rbc", "rbcs", "erythrocyte", "erythrocytes", "platelet", "platelets"),
    IGNORE: ("ignored", "void", "unlabeled", "unlabelled", "unknown", "artefact"),
}
_TARGETS = {
    **{word: target for target in _SYNONYMS for word in (target, *_SYNONYMS[target])},
    **{word: c.name for c in CLASSES for word in (c.name, *c.aliases)},
}
_CELL_NAMES = {c.name for c in CELL_CLASSES}
_IGNORE_COLOUR = (128, 128, 128)  # what this project draws ignored pixels in
_VOID = (224, 224, 192)  # and Pascal VOC the border of things
_COLOUR_TOLERANCE = 40  # exports round the colours of classes


@dataclass(frozen=True)
class KeyUse:
    """Where a key is: its pixels, its files, and the first of these."""

    pixels: int
    files: int
    first: str

    def __str__(self) -> str:
        more = f" and {self.files - 1} more" if self.files > 1 else ""
        return f"{self.pixels} pixel(s) of {self.first}{more}"


def _targets_in(text: str) -> set[str]:
    words = re.findall(r"[a-z]+", text.lower())
    return {_TARGETS[word] for word in words if word in _TARGETS}


def label_target(text: str) -> str | None:
    """Return what a label says, as a target; None if that is not clear."""
    if text.strip().lower() == OTHER:
        return OTHER
    found = _targets_in(text)
    chosen = found - {LEUKOCYTE, BACKGROUND, IGNORE} or found
    return chosen.pop() if len(chosen) == 1 else None


def class_by_name(relative: str) -> str | None:
    """Return the class that an image's path names: its file, or the nearest folder."""
    bare = relative.rpartition(".")[0] or relative
    for part in reversed(bare.split("/")):
        named = _targets_in(part) & _CELL_NAMES
        if len(named) == 1:
            return named.pop()
    return None


def guess_map(
    keys: Iterable[str],
    colours: Mapping[str, tuple[int, int, int]],
    images: Sequence[str],
    *,
    numbered: bool = False,
) -> dict[str, str | None]:
    """Return key -> target, None where there is no guess.

    Keys are values, ``#rrggbb`` colours or labels; a palette gives some keys a colour,
    and paths of images may name their class. Values may be ``numbered`` cells.
    """
    keys = list(keys)
    # What a single kind of cell pixel means, if the paths name classes.
    single = BY_NAME if all(class_by_name(image) for image in images) else None
    hexadecimal = [key for key in keys if re.fullmatch("#[0-9a-f]{6}", key)]
    shades = {key: tuple(bytes.fromhex(key[1:])) for key in hexadecimal}
    if keys and len(shades) == len(keys):
        return _guess_by_colour(shades, single)
    if keys and all(key.isdecimal() for key in keys):
        guess = _guess_by_colour({k: colours[k] for k in keys if k in colours}, single)
        if len(guess) == len(keys) and None not in guess.values():
            return guess
        void = {key: IGNORE for key in keys if colours.get(key) == _VOID}
        keys = [key for key in keys if key not in void]
        if numbered:
            cell = single or LEUKOCYTE
            return {key: cell if int(key) else BACKGROUND for key in keys} | void
        return _guess_by_value(keys, single) | void
    return {key: _guess_by_label(key) for key in keys}


def _guess_by_label(key: str) -> str | None:
    targets = {label_target(part) for part in key.split("+")}
    return targets.pop() if len(targets) == 1 else None


def _guess_by_value(keys: list[str], single: str | None) -> dict[str, str | None]:
    cells = [key for key in keys if int(key)]
    guess: dict[str, str | None] = dict.fromkeys(keys)
    if "0" in guess:
        guess["0"] = BACKGROUND
    ids = {str(c.id): c.name for c in CLASSES}
    if "255" in cells[1:] and set(cells) <= {*ids, "255"}:
        cells.remove("255")
        guess["255"] = IGNORE
    if len(cells) == 1:
        # 1 alone is rather a mask of any cell than of basophils.
        alone = LEUKOCYTE if cells[0] == "1" else ids.get(cells[0], LEUKOCYTE)
        guess[cells[0]] = single or alone
    elif set(keys) <= {*ids, "255"}:
        guess.update({key: ids.get(key, IGNORE) for key in keys})
    return guess


def _guess_by_colour(
    shades: Mapping[str, tuple], single: str | None
) -> dict[str, str | None]:
    guess = {key: _class_of_colour(colour) for key, colour in shades.items()}
    cells = [key for key, target in guess.items() if target != BACKGROUND]
    if len(cells) == 1 and min(shades[cells[0]]) >= 255 - _COLOUR_TOLERANCE:
        guess[cells[0]] = single or LEUKOCYTE
    targets = list(guess.values())
    return {key: t if targets.count(t) == 1 else None for key, t in guess.items()}


def _class_of_colour(colour: tuple[int, int, int]) -> str | None:
    if colour == _VOID:
        return IGNORE
    known = {**{c.name: c.colour for c in CLASSES}, IGNORE: _IGNORE_COLOUR}
    for name, own in known.items():
        away = max(abs(a - b) for a, b in zip(colour, own, strict=True))
        if away <= _COLOUR_TOLERANCE:
            return name
    return None


def parse_map(text: str) -> dict[str, str]:
    """Return key -> target of ``'0=background,255=eosinophil'``.

    A key that holds a comma goes in double quotes with its class:
    ``'"a,b=monocyte",c=ignore'``.
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
                raise ValueError(f"{key!r} is there twice")
            found[key] = _parse_target(name)
        except ValueError as error:
            raise DatasetError(f"--map {entry!r}: {error}") from None
    return found


def _parse_target(text: str) -> str:
    name = text.strip().lower()
    if name in SPECIAL:
        return name
    try:
        return CLASSES[class_id(name)].name
    except ValueError as error:
        raise ValueError(f"{error}, or {', '.join(SPECIAL[1:])}") from None


def map_text(targets: Mapping[str, str | None]) -> str:
    """Return a map as it is typed, ``?`` where a class is to be filled in."""
    entries = [f"{key}={target or UNKNOWN}" for key, target in targets.items()]
    return shlex.quote(",".join(f'"{e}"' if "," in e else e for e in entries))


def check_map(targets: Mapping[str, str | None], uses: Mapping[str, KeyUse]) -> None:
    """Refuse a map that does not fit what the files hold."""
    for key, use in uses.items():
        if targets.get(key) is None:
            known = ", ".join(f"{k}={t}" for k, t in targets.items() if t)
            raise DatasetError(
                f"the map says nothing of {key!r}, which is on {use}; it has "
                f"{known or 'nothing'}"
            )
    none = (BACKGROUND, IGNORE, OTHER)
    cells = {k: targets[k] for k in uses if targets[k] not in none}
    if not cells:
        key = max(uses, key=lambda k: uses[k].pixels if k != "0" else 0)
        raise DatasetError(
            f"the map leaves no leukocyte: {key!r}, on {uses[key]}, becomes "
            f"{targets[key]}"
        )
    unclassified = [key for key, target in cells.items() if target == LEUKOCYTE]
    classified = [key for key in cells if key not in unclassified]
    if unclassified and classified:
        key, other = unclassified[0], classified[0]
        raise DatasetError(
            f"{key!r} on {uses[key]} becomes leukocyte, but {other!r} on "
            f"{uses[other]} {cells[other]}; give all of them a class, or all of them "
            "leukocyte"
        )


def is_binary(targets: Mapping[str, str]) -> bool:
    """Tell whether a map knows leukocytes only, without their class."""
    return LEUKOCYTE in targets.values()


def label_values(
    targets: Mapping[str, str], relative: str, used: Mapping[str, int], file: str
) -> dict[str, int]:
    """Return the label of every key that one image has; its path may name the class.

    That of cells of class ``other`` is ``OTHER_LABEL``.
    """
    special = {BACKGROUND: 0, LEUKOCYTE: 1, IGNORE: IGNORE_LABEL, OTHER: OTHER_LABEL}
    labels = {}
    for key, pixels in used.items():
        target = targets[key]
        if target == BY_NAME:
            target = class_by_name(relative)
            if target is None:
                raise DatasetError(
                    f"{key!r} on {pixels} pixel(s) of {file} is to be the class that "
                    f"the image's name says, but {relative!r} names none"
                )
        labels[key] = special[target] if target in special else class_id(target)
    return labels
