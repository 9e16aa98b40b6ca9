"""The values of masks: known ids, a cell in each, and of the class that was said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL, class_id
from leuko_mm.datasets.audit_finding import AuditFinding

# A second class on fewer pixels of a cell is the fringe of a brush.
FRINGE = 0.02


def label_findings(
    path: Path | str,
    labels: np.ndarray,
    class_name: str,
    *,
    classes: Sequence[str] = CLASS_NAMES,
    stem: str = "",
) -> list[AuditFinding]:
    """Return what is wrong with the values of one mask.

    Args:
        path: of the mask.
        labels: whole numbers.
        class_name: that the index gives; '' for a field, which may hold any cells.
        classes: of the dataset, by their ids.
        stem: of the row.

    Shape:
        labels (H, W).

    Example:
        >>> [str(f) for f in label_findings("m.png", np.array([[0, 9]]), "monocyte")]
        ['m.png: value 9 on 1 pixel(s); expected 0 to 5, or 255 to ignore']
    """
    values, pixels = np.unique(labels, return_counts=True)
    counts = dict(zip(values.tolist(), pixels.tolist(), strict=True))
    strange = sorted(counts.keys() - {*range(len(classes)), IGNORE_LABEL})

    def found(rule: str, words: str) -> list[AuditFinding]:
        return [AuditFinding(rule, str(path), words, (stem,) if stem else ())]

    if strange:
        return found(
            "strange-label",
            f"value {strange[0]} on {counts[strange[0]]} pixel(s); expected "
            f"0 to {len(classes) - 1}, or {IGNORE_LABEL} to ignore",
        )
    if not class_name:
        return []
    present = {k: n for k, n in counts.items() if k not in (BACKGROUND, IGNORE_LABEL)}
    if not present and IGNORE_LABEL in counts:
        return found(
            "only-ignored",
            f"only 0 and {IGNORE_LABEL}; {IGNORE_LABEL} is ignored in training, so a "
            "{0, 255} mask has no leukocyte; give its pixels the class id",
        )
    held = ", ".join(classes[value] for value in present) or "background only"
    if _label_of(class_name, classes) not in present:
        rule = "class-mismatch" if present else "empty-mask"
        return found(rule, f"holds {held}, but the index says {class_name}")
    return _remarks(found, counts, present, _label_of(class_name, classes), classes)


def _remarks(found, counts, present, own: int, classes) -> list[AuditFinding]:
    """Return what training bears, but a user should know."""
    remarks = []
    cell = sum(present.values())
    others = {k: n for k, n in present.items() if k != own and n > FRINGE * cell}
    if others:
        words = ", ".join(f"{classes[k]} on {n} pixel(s)" for k, n in others.items())
        remarks += found("several-classes", f"beside {classes[own]} also {words}")
    if BACKGROUND not in counts and IGNORE_LABEL not in counts:
        remarks += found("full-mask", f"{classes[own]} on every pixel")
    if IGNORE_LABEL in counts:
        share = counts[IGNORE_LABEL] / sum(counts.values())
        remarks += found(
            "ignored-pixels",
            f"{counts[IGNORE_LABEL]} pixel(s), {share:.1%} of the picture, are "
            f"{IGNORE_LABEL}",
        )
    return remarks


def _label_of(class_name: str, classes: Sequence[str]) -> int:
    if class_name in classes:
        return list(classes).index(class_name)
    # A binary dataset may still tell the class of each cell in its index.
    return 1 if len(classes) == 2 else class_id(class_name)
