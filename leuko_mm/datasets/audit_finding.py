"""What an audit finds: one fault of one file, its weight, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


class AuditRule(NamedTuple):
    """One thing that is looked for: its heading, usual weight, and usual cure."""

    title: str
    severity: str
    cure: str


AGAIN = "put a sound copy in its place, or prepare the dataset again with --force"

RULES = {
    "broken-table": AuditRule("tables that cannot be trusted", ERROR, AGAIN),
    "missing-file": AuditRule("missing files", ERROR, AGAIN),
    "unreadable-file": AuditRule("files that cannot be read", ERROR, AGAIN),
    "turned-file": AuditRule(
        "files turned by an EXIF tag",
        ERROR,
        "some readers turn such a file and others do not: save it upright",
    ),
    "size-mismatch": AuditRule(
        "sizes that do not fit",
        ERROR,
        "an image and its mask show the same pixels: export both at one size",
    ),
    "shared-file": AuditRule(
        "files of several cells", ERROR, "give every row of the index its own files"
    ),
    "strange-label": AuditRule(
        "mask values outside the classes",
        ERROR,
        "map them to class ids: leuko prepare folders --map",
    ),
    "only-ignored": AuditRule(
        "masks of 0 and 255 only",
        ERROR,
        "255 is ignored in training: give the cell's pixels its class id",
    ),
    "empty-mask": AuditRule(
        "masks without a cell", ERROR, "draw the cell, or take the row out"
    ),
    "class-mismatch": AuditRule(
        "class of the index and of the mask differ",
        ERROR,
        "decide which of the two is right, and mend the other",
    ),
    "split-leak": AuditRule(
        "the same on both sides of a split",
        ERROR,
        "a test on cells that training knows says nothing: leuko split NAME --join",
    ),
    "near-duplicate": AuditRule(
        "the same picture twice",
        WARNING,
        "remove one of the two; leuko split NAME --join keeps such groups together",
    ),
    "changed-file": AuditRule(
        "files changed since the dataset was prepared",
        WARNING,
        "prepare it again from the mended originals, or undo the change",
    ),
    "odd-file": AuditRule(
        "files that not every program reads alike",
        WARNING,
        "leuko_mm reads it by a fixed rule; save an image as 8-bit RGB, a mask as PNG",
    ),
    "extra-file": AuditRule(
        "files that the index does not name", WARNING, "nothing uses it: remove it"
    ),
    "several-classes": AuditRule(
        "masks of several classes",
        WARNING,
        "a cell has one class: give all its pixels that id, the rest 255 or 0",
    ),
    "several-cells": AuditRule(
        "several cells in one picture",
        WARNING,
        "cut a picture for each, or mark the others with 255",
    ),
    "full-mask": AuditRule(
        "masks that leave no background", WARNING, "is background and cell swapped?"
    ),
    "absent-class": AuditRule(
        "classes that a part of a split lacks",
        WARNING,
        "scores of this class are undefined: take more groups or fewer folds",
    ),
    "cut-cell": AuditRule(
        "cells that touch the border",
        NOTE,
        "harmless for training; size and shape of such a cell are not the whole cell's",
    ),
    "ignored-pixels": AuditRule(
        "masks with pixels to ignore",
        NOTE,
        "255 is neither trained nor scored; if it was meant as a cell, use its id",
    ),
    "odd-stain": AuditRule(
        "groups stained or lit unlike the others",
        NOTE,
        "look at the slide; keep it if it is real, so that tests know such slides",
    ),
}


@dataclass(frozen=True)
class AuditFinding:
    """One fault.

    Args:
        rule: a key of ``RULES``.
        file: what it is about: a file, or a split or group by its name.
        words: what is wrong with it.
        stems: the pictures that show it.
        severity: ``error``, ``warning`` or ``note``; '' takes the rule's.
    """

    rule: str
    file: str
    words: str
    stems: tuple[str, ...] = ()
    severity: str = ""

    def __post_init__(self):
        """Take the rule's severity where none is given."""
        if not self.severity:
            object.__setattr__(self, "severity", RULES[self.rule].severity)

    @property
    def cure(self) -> str:
        """What mends it."""
        return RULES[self.rule].cure

    def __str__(self) -> str:
        gap = " " if self.words.startswith("is ") else ": "
        return f"{self.file}{gap}{self.words}"


def about_file(rule: str, path: Path, error: object, stem: str) -> AuditFinding:
    """Return a finding from an error whose message opens with the file's path.

    Example:
        >>> str(about_file("missing-file", Path("a.png"), "a.png is missing", "a"))
        'a.png is missing'
    """
    words = str(error).removeprefix(str(path)).lstrip(": ")
    return AuditFinding(rule, str(path), words, (stem,))


def by_rule(findings: Iterable[AuditFinding]) -> list[tuple[str, list[AuditFinding]]]:
    """Return the findings grouped by severity and rule, the gravest first.

    Example:
        >>> found = [
        ...     AuditFinding("cut-cell", "a", "x"),
        ...     AuditFinding("empty-mask", "b", "y"),
        ... ]
        >>> [(rule, len(group)) for rule, group in by_rule(found)]
        [('empty-mask', 1), ('cut-cell', 1)]
    """
    groups: dict[tuple[int, int], list[AuditFinding]] = {}
    order = list(RULES)
    for finding in findings:
        place = SEVERITIES.index(finding.severity), order.index(finding.rule)
        groups.setdefault(place, []).append(finding)
    return [(order[place[1]], groups[place]) for place in sorted(groups)]


def tally(findings: Iterable[AuditFinding]) -> dict[str, int]:
    """Return how many findings there are of each severity.

    Example:
        >>> tally([AuditFinding("cut-cell", "a", "x")])
        {'error': 0, 'warning': 0, 'note': 1}
    """
    counts = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts
