"""Progress of a long job: a bar with the time left, or a line every few seconds."""

from __future__ import annotations

import sys
import time
from typing import TextIO

EVERY_S = 5.0


class ProgressLine:
    """Print on standard error how far a job is, and how long it will take.

    On a terminal it is a bar, removed when the job ends. Elsewhere it is a line every
    few seconds, none for a short job.
    """

    def __init__(self, words: str, *, stream: TextIO | None = None):
        self.words, self.stream = words, stream or sys.stderr
        self._bar = None
        # When the first were done: work that was done before says nothing of the pace.
        self._first = (0, 0.0)
        self._done: int | None = None
        self._printed_at = time.monotonic()

    def __enter__(self) -> ProgressLine:
        if self.stream.isatty():
            self._bar = _bar(self.stream)
            self._task = self._bar.add_task(self.words, total=None, item="")
            self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, item: object = "") -> None:
        """Print that ``done`` of ``total`` are done, and which item comes next."""
        now = time.monotonic()
        if self._done is None or done < self._done:  # another stage of the job
            self._first = (done, now)
            if self._bar:
                self._bar.reset(self._task)
        self._done = done
        if self._bar:
            values = dict(completed=done, total=total, item=str(item))
            self._bar.update(self._task, **values)
            return
        first, started = self._first
        if now - self._printed_at >= EVERY_S:
            self._printed_at = now
            text = f"{self.words}: {done} of {total} {item}".rstrip()
            if done > first:
                pace = (now - started) / (done - first)
                text += f" ({duration(pace * (total - done))} left)"
            print(text, file=self.stream, flush=True)


def _bar(stream: TextIO):
    # Not at the top: only a terminal needs it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[item]}", markup=False),
        console=Console(file=stream),
        transient=True,
    )


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter: ``12 min 34 s``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
