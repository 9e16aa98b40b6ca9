"""Progress of a long job: one line that is rewritten, or one every few seconds."""

from __future__ import annotations

import sys
import time
from typing import TextIO

EVERY_S = 5.0
WIDTH = 120


class ProgressLine:
    """Print on standard error how far a job is.

    On a terminal it is one line, removed when the job ends. Elsewhere it is a line
    every few seconds, none for a short job.
    """

    def __init__(self, words: str, *, stream: TextIO | None = None):
        self.words, self.stream = words, stream or sys.stderr
        self.live = self.stream.isatty()
        self._printed_at = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error) -> None:
        if self.live:
            print("\r\033[K", end="", file=self.stream, flush=True)

    def __call__(self, done: int, total: int, item: object = "") -> None:
        """Print that ``done`` of ``total`` are done, and which item comes next."""
        text = f"{self.words}: {done} of {total} {item}".rstrip()
        if self.live:
            print(f"\r\033[K{text[:WIDTH]}", end="", file=self.stream, flush=True)
        elif time.monotonic() - self._printed_at >= EVERY_S:
            self._printed_at = time.monotonic()
            print(text, file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter: ``12 min 34 s``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
