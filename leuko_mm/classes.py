"""The leukocyte classes: their names, order, colours and aliases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LeukocyteClass:
    """One class: its id in label arrays, names that data uses for it, its colour."""

    id: int
    name: str
    aliases: tuple[str, ...]
    colour: tuple[int, int, int]  # RGB, 0-255


CLASSES = (
    LeukocyteClass(0, "background", ("bg",), (0, 0, 0)),
    LeukocyteClass(1, "basophil", ("bas", "baso", "basophils"), (255, 0, 0)),
    LeukocyteClass(2, "eosinophil", ("eos", "eosi", "eosinophils"), (0, 255, 0)),
    LeukocyteClass(3, "lymphocyte", ("lym", "lymp", "lymphocytes"), (255, 255, 0)),
    LeukocyteClass(4, "monocyte", ("mon", "mono", "monocytes"), (0, 0, 255)),
    LeukocyteClass(5, "neutrophil", ("neu", "neut", "neutrophils"), (128, 0, 128)),
)
CLASS_NAMES = tuple(c.name for c in CLASSES)
CLASS_COLOURS = tuple(c.colour for c in CLASSES)
CELL_CLASSES = CLASSES[1:]
NUM_CLASSES = len(CLASSES)
BACKGROUND = 0
IGNORE_LABEL = 255

BINARY_NAMES = ("background", "leukocyte")
BINARY_COLOURS = ((0, 0, 0), (255, 255, 255))

# A cell of none of the five classes, such as an erythroblast. No label of a pixel:
# the pixels of such a cell are IGNORE_LABEL.
OTHER = "other"
# A cell whose class is not accepted: its confidence is too low.
UNSURE = "unsure"
OTHER_COLOUR = (128, 128, 128)

_ID_BY_NAME = {name: c.id for c in CLASSES for name in (c.name, *c.aliases)}


def class_id(name: str) -> int:
    """Return the id of a class from its name or one of its aliases.

    Raises:
        ValueError: if no class goes by that name.

    Examples:
        >>> class_id("eosi"), class_id("Neutrophils")
        (2, 5)
    """
    try:
        return _ID_BY_NAME[name.strip().lower()]
    except KeyError:
        known = ", ".join("/".join((c.name, *c.aliases)) for c in CLASSES)
        raise ValueError(f"unknown class {name!r}; expected one of: {known}") from None


def cell_class_name(name: str) -> str:
    """Return the name of a cell's class: also ``other``, and ``leukocyte`` if unknown.

    Raises:
        ValueError: if no class goes by that name.
    """
    return name if name in (BINARY_NAMES[1], OTHER) else CLASS_NAMES[class_id(name)]


def label_lut(colours: tuple[tuple[int, int, int], ...] = CLASS_COLOURS) -> np.ndarray:
    """Return a (256, 3) uint8 RGB look-up table; labels without a colour are grey."""
    lut = np.full((256, 3), 128, dtype=np.uint8)
    lut[: len(colours)] = colours
    return lut
