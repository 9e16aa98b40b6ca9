"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAULT = "ok", "warn", "fault"


@dataclass(frozen=True)
class Finding:
    """What the doctor found out about one thing.

    Args:
        name: what was looked at.
        state: ``ok``, ``warn`` (leuko_mm works, something is worth knowing) or
            ``fault``.
        detail: what was found.
        cure: the command that mends it; empty where nothing is to be mended.
    """

    name: str
    state: str
    detail: str
    cure: str = ""
