"""What the values, colours and labels of annotations probably mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from leuko_mm.classes import BINARY_NAMES, CELL_CLASSES, CLASSES, class_id

BACKGROUND, LEUKOCYTE = BINARY_NAMES
IGNORE = "ignore"
# The class that the name or folder of the image says.
BY_NAME = "by-name"
SPECIAL = (BACKGROUND, LEUKOCYTE, IGNORE, BY_NAME)

_MEANINGS = {
    LEUKOCYTE: ("leukocytes", "wbc", "wbcs", "leucocyte", "leucocytes"),
    BACKGROUND: ("rbc", "rbcs", "erythrocyte", "erythrocytes", "platelet", "platelets"),
    IGNORE: ("ignored", "void", "unlabeled", "unlabelled", "unknown", "artefact"),
}
_TARGETS = {
    **{word: target for target in _MEANINGS for word in (target, *_MEANINGS[target])},
    **{word: c.name for c in CLASSES for word in (c.name, *c.aliases)},
}
# Colours this near to a class's own are taken for it: exports round.
NEAR = 40


def named_target(text: str) -> str | None:
    """Return what a label says: a class, leukocyte, background, ignore, or None.

    Example:
        >>> [named_target(t) for t in ("Eosi", "WBC: mono", "nucleus", "red cells")]
        ['eosinophil', 'monocyte', None, None]
    """
    words = re.findall(r"[a-z]+", text.lower())
    found = {_TARGETS[word] for word in words if word in _TARGETS}
    classes = found - {LEUKOCYTE, BACKGROUND, IGNORE}
    chosen = classes or found
    return chosen.pop() if len(chosen) == 1 else None


def class_by_name(relative: str) -> str | None:
    """Return the class that the nearest part of an image's path names.

    Example:
        >>> [class_by_name(p) for p in ("baso_1-1_0.jpg", "mono/7.png", "a/7.png")]
        ['basophil', 'monocyte', None]
    """
    cells = {c.name for c in CELL_CLASSES}
    bare = relative.rpartition(".")[0] or relative
    for part in reversed(bare.split("/")):
        words = re.findall(r"[a-z]+", part.lower())
        named = {_TARGETS[word] for word in words if word in _TARGETS} & cells
        if len(named) == 1:
            return named.pop()
    return None


def guess_map(
    keys: Iterable[str],
    colours: Mapping[str, tuple[int, int, int]],
    images: Sequence[str],
) -> dict[str, str | None]:
    """Return key -> target, None where there is no guess.

    Args:
        keys: values, ``#rrggbb`` colours, or labels, as they stand in the files.
        colours: RGB of keys, where a palette gives one.
        images: paths of the images, whose names may say their class.

    Example:
        >>> guess_map(["0", "255"], {}, ["baso_1.png", "mono_1.png"])
        {'0': 'background', '255': 'by-name'}
        >>> guess_map(["#000000", "#fe0000"], {}, ["1.png"])
        {'#000000': 'background', '#fe0000': 'basophil'}
    """
    keys = list(keys)
    shades = {key: _rgb(key) for key in keys if _rgb(key)}
    named = all(class_by_name(image) for image in images)
    if keys and len(shades) == len(keys):
        return _by_colour(shades, named)
    if keys and all(key.isdecimal() for key in keys):
        coloured = _by_colour({k: colours[k] for k in keys if k in colours}, named)
        if len(coloured) == len(keys) and None not in coloured.values():
            return coloured
        return _by_value(keys, named)
    return {key: _by_label(key) for key in keys}


def _by_label(key: str) -> str | None:
    targets = {named_target(part) for part in key.split("+")}
    return targets.pop() if len(targets) == 1 else None


def _by_value(keys: list[str], named: bool) -> dict[str, str | None]:
    cells = [key for key in keys if int(key)]
    guess: dict[str, str | None] = dict.fromkeys(keys)
    if "0" in guess:
        guess["0"] = BACKGROUND
    if len(cells) == 1:
        guess[cells[0]] = BY_NAME if named else _lone(cells[0])
        return guess
    ids = {str(c.id): c.name for c in CLASSES}
    if set(keys) <= {*ids, "255"}:
        guess.update({key: ids.get(key, IGNORE) for key in keys})
    return guess


def _lone(value: str) -> str:
    """Return the meaning of the only value above 0: 2 to 5 are ids of ours."""
    known = {str(c.id): c.name for c in CELL_CLASSES[1:]}
    return known.get(value, LEUKOCYTE)


def _by_colour(shades: Mapping[str, tuple], named: bool) -> dict[str, str | None]:
    guess = {key: _nearest(colour) for key, colour in shades.items()}
    lone = [key for key, target in guess.items() if target != BACKGROUND]
    white = [key for key in lone if min(shades[key]) >= 255 - NEAR]
    if len(lone) == 1 and white:
        guess[white[0]] = BY_NAME if named else LEUKOCYTE
    doubled = [t for t in guess.values() if list(guess.values()).count(t) > 1]
    return {key: None if t in doubled else t for key, t in guess.items()}


def _nearest(colour: tuple[int, int, int]) -> str | None:
    known = {c.name: c.colour for c in CLASSES}
    known[IGNORE] = (128, 128, 128)  # what this project draws ignored pixels in
    for name, own in known.items():
        if all(abs(a - b) <= NEAR for a, b in zip(colour, own, strict=True)):
            return name
    return None


def _rgb(key: str) -> tuple[int, int, int] | None:
    if not re.fullmatch(r"#[0-9a-f]{6}", key):
        return None
    return tuple(int(key[i : i + 2], 16) for i in (1, 3, 5))


def target_of(text: str) -> str:
    """Return the target that a user named in ``--map``.

    Raises:
        ValueError: if it is no class, alias or special target.

    Example:
        >>> [target_of(t) for t in ("eosi", "bg", "ignore", "by-name")]
        ['eosinophil', 'background', 'ignore', 'by-name']
    """
    name = text.strip().lower()
    if name in SPECIAL:
        return name
    try:
        return CLASSES[class_id(name)].name
    except ValueError as error:
        raise ValueError(f"{error}, or {', '.join(SPECIAL[1:])}") from None
