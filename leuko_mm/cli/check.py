"""Look at every file, mask and split of a dataset, and say what is wrong with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from leuko_mm.check import PAGE_FILE, CheckRequest, check, class_labels, inside, summary
from leuko_mm.cli.main import DONE, SOME_FAILED
from leuko_mm.datasets.audit import Audit, dataset_classes
from leuko_mm.datasets.audit_checks import RULES, by_rule, tally

SHOWN = 5
SHOWN_PARTS = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko check``."""
    parser.add_argument("name", help="prepared dataset: a name or a path")
    parser.add_argument("--split", help="look at this split and its cells only")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write a page with pictures of the findings, and its data, here",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the findings as data, here"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a former check of these names"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Print what was found; 1 if there is an error, else 0."""
    audit = check(CheckRequest(**vars(args)))
    print("\n".join(report_lines(audit)))
    if args.out:
        print(f"with pictures: {args.out / PAGE_FILE}")
    return SOME_FAILED if tally(audit.findings)["error"] else DONE


def report_lines(audit: Audit) -> Iterator[str]:
    """Yield what was looked at, the findings by kind, the counts, and the sum."""
    yield f"{audit.root}: {summary(audit)}"
    for rule, findings in by_rule(audit.findings):
        yield ""
        yield f"{findings[0].severity:<7}  {RULES[rule].title}: {len(findings)}"
        for finding in findings[:SHOWN]:
            yield f"{'':<9}{inside(audit, str(finding))}"
        if len(findings) > SHOWN:
            yield f"{'':<9}and {len(findings) - SHOWN} more"
        yield f"{'':<9}-> {RULES[rule].cure}"
    yield ""
    yield from _count_lines(audit)
    yield ""
    counts = tally(audit.findings)
    yield ", ".join(f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items())


def _count_lines(audit: Audit) -> Iterator[str]:
    """Yield cells by split, part and class, in aligned columns."""
    labels = class_labels(dataset_classes(audit.about))[1:]
    rows = [["cells", "", *(label.short for label in labels), "all"]]
    for split, parts in audit.counts.items():
        for part, by_class in parts.items():
            counts = [by_class.get(label.name, 0) for label in labels]
            rows.append(
                [
                    split or "all",
                    part if split else "",
                    *map(str, counts),
                    str(sum(counts)),
                ]
            )
    more = len(rows) - 1 - SHOWN_PARTS
    yield from _aligned(rows[: SHOWN_PARTS + 1])
    if more > 0:
        yield f"and {more} more; --json FILE has them all"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, second, *numbers in rows:
        aligned = (f"{n:>{w}}" for n, w in zip(numbers, widths[2:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", f"{second:<{widths[1]}}", *aligned])
