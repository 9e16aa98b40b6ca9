"""Check every file, mask and split of a dataset, and say what is wrong with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from leuko_mm.check import PAGE_FILE, audit_labels, check, in_dataset, summary
from leuko_mm.cli.main import DONE, SOME_FAILED, aligned
from leuko_mm.datasets.audit import Audit
from leuko_mm.datasets.audit_checks import RULES, by_rule, tally

SHOWN = 5  # findings of a kind
SHOWN_PARTS = 24  # rows of counts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko check``."""
    add = parser.add_argument
    add("name", help="prepared dataset: a name or a path")
    add("--split", help="check this split and its cells only")
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write a page with pictures of the findings, and its data, here",
    )
    add("--force", action="store_true", help="replace an earlier check there")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Print what was found; 1 if there is an error, else 0."""
    audit = check(**vars(args))
    print("\n".join(report_lines(audit)))
    if args.out:
        print(f"with pictures: {args.out / PAGE_FILE}")
    return SOME_FAILED if tally(audit.findings)["error"] else DONE


def report_lines(audit: Audit) -> Iterator[str]:
    """Yield what was checked, the findings by kind, the counts, and the sum."""
    yield f"{audit.root}: {summary(audit)}"
    for rule, findings in by_rule(audit.findings):
        yield ""
        yield f"{findings[0].severity:<7}  {RULES[rule].title}: {len(findings)}"
        for finding in findings[:SHOWN]:
            yield f"{'':<9}{in_dataset(audit, str(finding))}"
        if len(findings) > SHOWN:
            yield f"{'':<9}and {len(findings) - SHOWN} more"
        yield f"{'':<9}-> {RULES[rule].cure}"
    yield ""
    yield from _count_lines(audit)
    yield ""
    counts = tally(audit.findings)
    yield ", ".join(f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items())


def _count_lines(audit: Audit) -> Iterator[str]:
    labels = audit_labels(audit)[1:]
    rows = [["cells", "", *(label.short for label in labels), "all"]]
    for split, parts in audit.counts.items():
        for part, by_class in parts.items():
            counts = [by_class.get(label.name, 0) for label in labels]
            names = [split, part] if split else ["all", ""]
            rows.append([*names, *counts, sum(counts)])
    yield from aligned(rows[: SHOWN_PARTS + 1], right=range(2, len(rows[0])))
    if (more := len(rows) - SHOWN_PARTS - 1) > 0:
        yield f"and {more} more; --out FOLDER has them all"
