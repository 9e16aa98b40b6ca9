"""What the shapes in masks say against a guess of classes.

Three kinds of masks look like classes by their values alone: cells that are numbered,
a nucleus and its cytoplasm, and masks whose background is marked instead of the cells.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import cv2
import numpy as np

from leuko_mm.datasets.converters.folders.annotation import Annotation, box_of
from leuko_mm.datasets.converters.folders.class_map import BACKGROUND, IGNORE

ONE_PIECE = 0.8  # share of a value's pixels in its largest piece; the rest are specks
MOST = 0.9  # of the values
SPECK = 0.1  # of the usual size in an image; smaller values are no cells
UNLIKELY = 0.1
AROUND = 0.6  # share of a value's outer edge that another value has if it lies inside
FRAME = 0.8  # share of an image's edge that only a background has


class ShapeEvidence:
    """Shapes of each key over all masks; of outlines, only how many have a number."""

    def __init__(self) -> None:
        self._pieces: list[dict[str, float]] = []  # key -> share of the largest piece
        self._edges: dict[str, Counter] = defaultdict(Counter)  # key -> key around it
        self._framed: dict[str, str] = {}  # key -> a file that it frames

    def add(self, annotation: Annotation, file: str) -> None:
        """Look at one mask."""
        if annotation.instances is not None:
            drawn = Counter(key for key, _ in annotation.instances if key.isdecimal())
            self._pieces.append({key: 1 / count for key, count in drawn.items()})
            return
        codes, names = annotation.codes, ("", *annotation.keys)
        rims = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
        pieces, areas = {}, {}
        for code, name in enumerate(annotation.keys, 1):
            inside = codes == code
            if name in ("0", "#000000") or not inside.any():
                continue
            if (rims == code).mean() >= FRAME and inside.mean() > 0.5:
                self._framed.setdefault(name, file)
            x0, y0, x1, y1 = box_of(inside)
            near = codes[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1]
            inside = (near == code).astype(np.uint8)
            found = cv2.connectedComponentsWithStats(inside)[2][1:, cv2.CC_STAT_AREA]
            pieces[name], areas[name] = found.max() / found.sum(), found.sum()
            edge = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > inside
            around = np.bincount(near[edge], minlength=len(names)).tolist()
            self._edges[name].update(dict(zip(names, around, strict=True)))
        least = SPECK * np.median(list(areas.values())) if areas else 0
        self._pieces.append({k: p for k, p in pieces.items() if areas[k] >= least})

    def numbers_cells(self) -> bool:
        """Tell whether values number cells: each is one piece of its image.

        Each image counts from 1, or classes would hardly be so different by chance.
        """
        files = [pieces for pieces in self._pieces if pieces]
        keys = {key for pieces in files for key in pieces}
        shares = np.array([share for pieces in files for share in pieces.values()])
        if len(keys) < 2 or not all(key.isdecimal() for key in keys):
            return False
        if np.mean(shares >= ONE_PIECE) < MOST or 5 * len(self._nested()) >= len(keys):
            return False
        counts = [len(pieces) for pieces in files]
        if counts == [max(map(int, pieces)) for pieces in files]:
            return True
        if sum(counts) == len(keys) > len(counts):
            counts = [len(keys)]  # no value is there twice at all
        chance = np.prod([np.prod(1 - np.arange(n) / len(keys)) for n in counts])
        return bool(chance < UNLIKELY)

    def against(self, guess: Mapping[str, str | None]) -> tuple[list[str], set[str]]:
        """Return what contradicts a guess, in words, and the keys that it is about."""
        cells = {k for k, target in guess.items() if target not in (BACKGROUND, IGNORE)}
        said, doubted = [], set()
        for key in sorted(cells & self._framed.keys()):
            said.append(
                f"{key!r} is at the edges of {self._framed[key]}, as a background is: "
                "are masks inverted?"
            )
            doubted |= {key, "0", "#000000"} & guess.keys()
        for inner, outer in self._nested():
            if {inner, outer} <= cells - doubted and guess[inner] != guess[outer]:
                said.append(
                    f"{inner!r} lies inside {outer!r}, as a nucleus in its cytoplasm: "
                    "give both the same class"
                )
                doubted |= {inner, outer}
        return said, doubted

    def _nested(self) -> list[tuple[str, str]]:
        return [
            (inner, outer)
            for inner, edges in self._edges.items()
            for outer, pixels in edges.items()
            if outer in self._edges.keys() - self._framed.keys()
            and pixels >= AROUND * max(1, edges.total())
        ]
