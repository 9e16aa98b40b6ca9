"""The one thread of `leuko app` that predicts, a session after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leuko_mm.app.session import Session
from leuko_mm.errors import LeukoError
from leuko_mm.files import printable
from leuko_mm.inference.folder_run import (
    OtherSettingsError,
    PredictRequest,
    make_predictor,
    predict_files,
)
from leuko_mm.progress import TimeLeft

STOPPED_WITHIN = 120.0  # s: no image takes as long


class _StoppedError(Exception):
    """Ends the prediction of a session after the image that is looked at."""


@dataclass
class Pace:
    """How far the prediction of a session is.

    Args:
        done, total: images.
        item: the image that was done last, or what is done before the first.
        seconds_left: None until it is known.
        error: why it ended; empty while it runs.
    """

    done: int = 0
    total: int = 0
    item: str = "waiting for its turn"
    seconds_left: float | None = None
    error: str = ""


class Worker:
    """Predicts what is missing of the sessions that are asked for.

    Args:
        request: how; its paths and output are those of each session.
        predictor_of: instead of ``make_predictor``.
    """

    def __init__(
        self, request: PredictRequest, predictor_of: Callable | None = None
    ) -> None:
        self._request, self._make = request, predictor_of or make_predictor
        self._predictor: Any = None
        self._asked: queue.Queue[Session | None] = queue.Queue()
        self._paces: dict[str, Pace] = {}
        self._stopped: set[str] = set()
        self._running: str | None = None
        self._closed = False
        self._idle = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, session: Session) -> None:
        """Predict the images of a session that are not done, after all before it."""
        with self._idle:
            known = self._paces.get(session.id)
            if known is None or known.error or self._running == session.id:
                # New images of a session that is being predicted need another run.
                self._paces.setdefault(session.id, Pace())
                if known and known.error:
                    self._paces[session.id] = Pace()
                self._asked.put(session)

    def pace(self, session: str) -> Pace | None:
        """Return how far a session is; None if nothing is to be done."""
        return self._paces.get(session)

    def stop(self, session: str) -> bool:
        """End the prediction of a session; return whether it has ended."""
        with self._idle:
            self._stopped.add(session)
            ended = self._idle.wait_for(
                lambda: self._running != session, timeout=STOPPED_WITHIN
            )
            if not ended:
                self._stopped.discard(session)
            return ended

    def close(self) -> None:
        """End after the image that is looked at."""
        self._closed = True
        self._asked.put(None)
        self._thread.join(STOPPED_WITHIN)

    def _work(self) -> None:
        while (session := self._asked.get()) is not None and not self._closed:
            with self._idle:
                if session.id in self._stopped:
                    continue
                self._running = session.id
                self._paces[session.id] = Pace(item="starting")
            error = ""
            try:
                self._predict(session)
            except _StoppedError:
                pass
            except OtherSettingsError as problem:
                pixel = problem.keys == ("um_per_px",)
                what = "another --um-per-px" if pixel else "another model"
                error = f"made with {what}; new images need a new session"
            except LeukoError as problem:
                error = str(problem)
            except Exception as problem:
                # The page says it, and the next session is predicted all the same.
                error = f"{type(problem).__name__}: {problem}"
            with self._idle:
                self._running = None
                if error:
                    self._paces[session.id] = Pace(item="", error=printable(error))
                elif session not in self._asked.queue:  # new images came meanwhile
                    self._paces.pop(session.id, None)
                self._idle.notify_all()

    def _predict(self, session: Session) -> None:
        if not session.waiting():
            return
        left = TimeLeft()

        def progress(done: int, total: int, item: str) -> None:
            if self._closed or session.id in self._stopped:
                raise _StoppedError
            shown = session.images.get(item, item) or "looking at the first image"
            pace = Pace(done, total, printable(shown), left(done, total))
            self._paces[session.id] = pace

        request = replace(
            self._request,
            paths=[str(session.smears)],
            out=session.found,
            resume=True,
            keep_scales=True,
        )
        predict_files(request, predictor_of=self._predictor_of, progress=progress)

    def _predictor_of(self, request: PredictRequest, checkpoint: Path) -> Any:
        # All sessions have the same settings but for folders.
        if self._predictor is None:
            self._predictor = self._make(request, checkpoint)
        return self._predictor
