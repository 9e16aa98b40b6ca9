"""Examine versions, device, data, weights and plug-ins, and say what fixes a fault."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout

from leuko_mm.cli.main import aligned
from leuko_mm.doctor import FAULT, OK, WARN, Check, examine

SIGNS = {OK: "ok", WARN: "warn", FAULT: "FAULT"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Print the checks; 0 if there is no fault, else 1."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # Libraries print while they are imported, and a broken plug-in is a check
        # that holds all that its warning says.
        warnings.simplefilter("ignore")
        checks = examine()
    print(table(checks))
    return 1 if any(check.state == FAULT for check in checks) else 0


def table(checks: Sequence[Check]) -> str:
    """Return the checks in aligned columns, each cure below what it fixes."""
    rows = []
    for check in checks:
        rows.append((f"{SIGNS[check.state]:<5}", check.name, check.detail))
        if check.cure:
            rows.append(("", "", f"-> {check.cure}"))
    faults = sum(check.state == FAULT for check in checks)
    warned = sum(check.state == WARN for check in checks)
    last = f"{faults} fault{'s' * (faults != 1)}, {warned} warning{'s' * (warned != 1)}"
    return "\n".join([*aligned(rows), last])
