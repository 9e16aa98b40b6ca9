"""Progress of a long job: a bar with the time left, or a line every few seconds."""

from __future__ import annotations

import sys
import time
from typing import TextIO

EVERY_S = 5.0
FEWEST = 3  # items that tell a pace: the first one waits for what is loaded


class TimeLeft:
    """Estimate how long the rest of a job takes, by the pace of what was done so far.

    Items that were done before the first call say nothing of the pace. A number of
    items that falls begins another stage of the job, with a pace of its own.
    """

    def __init__(self):
        self._first, self._last = (0, 0.0), -1

    def __call__(self, done: int, total: int) -> float | None:
        """Return the seconds left, None while too few items are done to tell."""
        now = time.monotonic()
        if self._last < 0 or done < self._last:
            self._first = (done, now)
        self._last = done
        first, began = self._first
        if done - first < min(FEWEST, total - first) or done == first:
            return None
        return (total - done) * (now - began) / (done - first)


class ProgressLine:
    """Print on standard error how far a job is, and how long it will take.

    On a terminal it is a bar, removed when the job ends. Elsewhere it is a line every
    few seconds, none for a short job.
    """

    def __init__(self, words: str, *, stream: TextIO | None = None):
        self.words, self.stream = words, stream or sys.stderr
        self._bar = None
        self._left, self._done = TimeLeft(), 0
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
        left, now = self._left(done, total), time.monotonic()
        if self._bar:
            if done < self._done:  # another stage of the job
                self._bar.reset(self._task)
            self._done = done
            values = dict(completed=done, total=total, item=str(item))
            self._bar.update(self._task, **values)
            return
        if now - self._printed_at >= EVERY_S:
            self._printed_at = now
            text = f"{self.words}: {done} of {total} {item}".rstrip()
            if left is not None:
                text += f" ({duration(left)} left)"
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
