"""The shape of what a mask marks: one cell, whole, inside its picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.audit_finding import AuditFinding

# A piece counts as a cell of its own from this share of the largest one's area on;
# crumbs of a lobed nucleus or a torn outline are smaller.
CELL_SHARE = 0.2


def cell_findings(
    path: Path | str, labels: np.ndarray, *, stem: str = ""
) -> list[AuditFinding]:
    """Return what is odd about the pieces that one cell's mask marks.

    Args:
        path: of the mask.
        labels: class ids; 255 belongs to nothing.
        stem: of the row.

    Shape:
        labels (H, W).

    Example:
        >>> labels = np.zeros((9, 9), np.uint8)
        >>> labels[2:4, 2:4] = labels[6:8, 6:8] = 3
        >>> [str(finding) for finding in cell_findings("m.png", labels)]
        ['m.png: 2 separate pieces of 4, 4 pixels']
    """
    cell = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    stems = (stem,) if stem else ()
    findings = []
    areas = cell_areas(cell)
    if len(areas) > 1:
        words = f"{len(areas)} separate pieces of {', '.join(map(str, areas))} pixels"
        findings.append(AuditFinding("several-cells", str(path), words, stems))
    sides = {"top": cell[0], "bottom": cell[-1], "left": cell[:, 0]}
    cut = {name: int(line.sum()) for name, line in sides.items()}
    cut["right"] = int(cell[:, -1].sum())
    if any(cut.values()) and not cell.all():
        words = ", ".join(f"{n} px {name}" for name, n in cut.items() if n)
        findings.append(
            AuditFinding("cut-cell", str(path), f"on the border: {words}", stems)
        )
    return findings


def cell_areas(cell: np.ndarray) -> list[int]:
    """Return the areas of the pieces large enough to be cells, the largest first.

    Args:
        cell: bool.

    Shape:
        cell (H, W).

    Example:
        >>> cell_areas(np.array([[1, 1, 0, 1, 1], [1, 1, 0, 0, 0]], bool))
        [4, 2]
    """
    found = cv2.connectedComponentsWithStats(cell.astype(np.uint8), connectivity=8)
    areas = sorted(found[2][1:, cv2.CC_STAT_AREA].tolist(), reverse=True)
    return [area for area in areas if area >= CELL_SHARE * areas[0]]
