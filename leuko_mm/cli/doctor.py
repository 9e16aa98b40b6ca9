"""Examine versions, device, data, weights and plug-ins, and say what mends a lack."""

from __future__ import annotations

import argparse
import io
import json
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict

from leuko_mm.workflows.doctor import examine
from leuko_mm.workflows.finding import FAULT, OK, WARN, Finding

SIGNS = {OK: "ok", WARN: "warn", FAULT: "FAULT"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko doctor``."""
    parser.add_argument(
        "--json", action="store_true", help="for scripts: a list of findings"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Print the findings; 0 if there is no fault, else 1."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # Libraries print while they are imported, and a broken plug-in is a finding
        # here, with all that its warning says.
        warnings.simplefilter("ignore")
        findings = examine()
    if args.json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        print(table(findings))
    return 1 if any(f.state == FAULT for f in findings) else 0


def table(findings: Sequence[Finding]) -> str:
    """Return the findings in aligned columns, each cure below what it mends.

    Example:
        >>> print(table([Finding("gpu", OK, "none, the processor trains")]))
        ok     gpu  none, the processor trains
        0 faults, 0 warnings
    """
    width = max(len(f.name) for f in findings)
    lines = []
    for finding in findings:
        lines.append(
            f"{SIGNS[finding.state]:<5}  {finding.name:<{width}}  {finding.detail}"
        )
        if finding.cure:
            lines.append(f"{'':<5}  {'':<{width}}  -> {finding.cure}")
    faults = sum(f.state == FAULT for f in findings)
    warned = sum(f.state == WARN for f in findings)
    lines.append(
        f"{faults} fault{'s' * (faults != 1)}, {warned} warning{'s' * (warned != 1)}"
    )
    return "\n".join(lines)
