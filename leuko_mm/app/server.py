"""The pages of `leuko app` and what they ask for, behind a token."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leuko_mm.app.prediction import Worker
from leuko_mm.app.session import (
    EXPORTS,
    Session,
    clean,
    refused_name,
    sessions_below,
    shown_row,
    train_command,
)
from leuko_mm.classes import OTHER, UNSURE
from leuko_mm.errors import LeukoError
from leuko_mm.files import printable
from leuko_mm.inference.folder_run import PredictRequest
from leuko_mm.inference.outputs import CLOSING
from leuko_mm.processes import python_module
from leuko_mm.progress import duration
from leuko_mm.report.predict_page import render_start_page

MEGABYTE = 1_000_000
# Of one file and of the files of a session, in bytes, and of everything else that is
# sent here. The largest image that is read has 267 megabytes without compression.
MOST_A_FILE, MOST_A_SESSION = 300 * MEGABYTE, 50_000 * MEGABYTE
MOST_OF_JSON = 10_000
LEFT_FREE = 500 * MEGABYTE  # of the disk
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# What no page or file of ours needs.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Refuses requests without the token, for another host, or of another site.

    Args:
        app: what answers the others.
        token: opens the page as ``/?token=...``, is kept in a cookie from then on, and
            may be sent as ``Authorization: Bearer``.
        host: the address that the server listens on.
    """

    def __init__(self, app: ASGIApp, *, token: str, host: str):
        self.app, self.token = app, token.encode()
        names = {*LOOPBACK, host.lower()}
        self.loopback = host in LOOPBACK
        self.names = names if self.loopback else {*names, socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._answer(Request(scope)) or self.app
        await answer(scope, receive, with_headers)

    def _answer(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse(f"not served as {printable(host)}", 400)
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "none")
        reads = request.method in ("GET", "HEAD")
        if origin is not None and origin != f"http://{host}":
            return PlainTextResponse("asked for by another site", 403)
        if site not in ("none", "same-origin") and not (
            reads and request.url.path == "/"
        ):
            return PlainTextResponse("asked for by another site", 403)
        cookie = f"leuko-{urlsplit(f'//{host}').port or 80}"
        if reads and request.url.path == "/" and "token" in request.query_params:
            if not self._fits(request.query_params["token"]):
                return self._no_token()
            answer = RedirectResponse("/", 303)
            answer.set_cookie(
                cookie, self.token.decode(), httponly=True, samesite="strict"
            )
            return answer
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = request.cookies.get(cookie, "")
        return None if self._fits(given) else self._no_token()

    def _is_ours(self, host: str) -> bool:
        try:
            address = urlsplit(f"//{host}")
            name, _ = address.hostname or "", address.port  # which may be no number
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        # Another site can lead a name of its own to this machine, but no number.
        return not self.loopback

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token)

    @staticmethod
    def _no_token() -> Response:
        words = "open the address that `leuko app` printed, with its token"
        return PlainTextResponse(words, 403)


class AppServer:
    """What the routes do, over the sessions of a folder.

    Args:
        root: folder of the sessions.
        worker: predicts their images.
        most_a_file: bytes of an image that is taken.
    """

    def __init__(self, root: Path, worker: Worker, *, most_a_file: int = MOST_A_FILE):
        self.root, self.worker, self.most_a_file = root, worker, most_a_file
        found = sessions_below(root, partial(print, file=sys.stderr))
        self.sessions = {session.id: session for session in found}
        for session in self.sessions.values():
            # A process that was killed left them.
            if session.waiting():
                worker.start(session)

    def routes(self) -> list[Route]:
        """Return what is served."""
        own = "/s/{id}"
        return [
            Route("/", self.start_page),
            Route("/sessions", self.new_session, methods=["POST"]),
            Route(f"{own}/", self.page),
            Route(own, self.delete, methods=["DELETE"]),
            Route(own, self.rename, methods=["PATCH"]),
            Route(f"{own}/images", self.receive, methods=["POST"]),
            Route(f"{own}/start", self.start, methods=["POST"]),
            Route(f"{own}/status", self.status),
            Route(f"{own}/corrections", self.correct, methods=["POST"]),
            Route(f"{own}/undo", self.undo, methods=["POST"]),
            Route(f"{own}/dataset", self.dataset, methods=["POST"]),
            Route(f"{own}/pictures/{{image}}/{{what}}", self.picture),
            Route(f"{own}/export/{{name}}", self.export),
        ]

    def _session(self, request: Request) -> Session:
        # Looked up among those there are: no part of an address becomes a path.
        session = self.sessions.get(request.path_params["id"])
        if session is None:
            raise HTTPException(404, "no such session; it may have been deleted")
        return session

    def start_page(self, request: Request) -> Response:
        """Show the sessions."""
        rows = []
        for session in sorted(
            self.sessions.values(), key=lambda known: known.id, reverse=True
        ):
            said = session.corrections()
            rows.append(
                dict(
                    id=session.id,
                    name=printable(session.name),
                    created=session.created,
                    images=len(session.images),
                    done=len(session.records()),
                    corrected=sum(map(len, said.values())),
                )
            )
        return HTMLResponse(render_start_page(rows, CLOSING))

    async def new_session(self, request: Request) -> Response:
        """Make a session."""
        name = (await _json(request)).get("name", "")
        session = await run_in_threadpool(Session.create, self.root, str(name))
        self.sessions[session.id] = session
        return JSONResponse({"id": session.id}, 201)

    def page(self, request: Request) -> Response:
        """Show a session."""
        session = self._session(request)
        more = dict(status=self._status(session), exports=EXPORTS)
        more["counts"] = self._counts(session)
        return HTMLResponse(session.page(more))

    def delete(self, request: Request) -> Response:
        """Remove a session from the disk."""
        session = self._session(request)
        if not self.worker.stop(session.id):
            raise HTTPException(409, "an image is still looked at; try again")
        self.sessions.pop(session.id, None)
        session.remove()
        return Response(status_code=204)

    async def rename(self, request: Request) -> Response:
        """Give a session another name."""
        session, said = self._session(request), await _json(request)
        await run_in_threadpool(session.rename, str(said.get("name", "")))
        return JSONResponse({"name": printable(session.name)})

    async def receive(self, request: Request) -> Response:
        """Take one image in: its bytes are the body, its name is in the address."""
        session = self._session(request)
        name = request.query_params.get("name", "")
        size = request.headers.get("content-length", "")
        if reason := refused_name(name):
            return await self._refuse(session, name, reason, 415)
        if size.isdecimal() and int(size) > self.most_a_file:
            return await self._refuse(session, name, self._too_large())
        part = session.part_file()
        try:
            taken = 0
            with open(part, "wb") as file:
                async for piece in request.stream():
                    taken += len(piece)
                    if taken > self.most_a_file:
                        return await self._refuse(session, name, self._too_large())
                    await run_in_threadpool(file.write, piece)
            if reason := await run_in_threadpool(self._no_room, session, taken):
                return await self._refuse(session, name, reason)
            kept = await run_in_threadpool(session.add_image, part, name)
            return JSONResponse({"file": kept}, 201)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            part.unlink(missing_ok=True)

    def _too_large(self) -> str:
        return f"larger than {self.most_a_file / MEGABYTE:.0f} MB"

    def _no_room(self, session: Session, taken: int) -> str:
        used = sum(path.stat().st_size for path in session.smears.iterdir())
        if used + taken > MOST_A_SESSION:
            return f"a session takes {MOST_A_SESSION / MEGABYTE:.0f} MB; begin another"
        if shutil.disk_usage(self.root).free < LEFT_FREE:
            return f"less than {LEFT_FREE / MEGABYTE:.0f} MB are free on the disk"
        return ""

    async def _refuse(
        self, session: Session, name: str, reason: str, status: int = 413
    ) -> Response:
        await run_in_threadpool(session.refuse, name, reason)
        # What is not read must not be taken for the next request.
        headers = {"Connection": "close"}
        return PlainTextResponse(f"{clean(name)}: {reason}", status, headers)

    def start(self, request: Request) -> Response:
        """Predict what is not predicted yet."""
        session = self._session(request)
        self.worker.start(session)
        return JSONResponse(self._status(session))

    def status(self, request: Request) -> Response:
        """Say how far a session is."""
        return JSONResponse(self._status(self._session(request)))

    def _status(self, session: Session) -> dict:
        pace = self.worker.pace(session.id)
        images, records = session.images, session.records()
        done = {record["image"]: len(record["cells"]) for record in records}
        failed = session.state().get("failed", {})
        rows = [
            dict(name=printable(shown), cells=done.get(file), reason=failed.get(file))
            for file, shown in images.items()
        ]
        rows += [
            dict(name=name, cells=None, reason=reason)
            for name, reason in session.refused.items()
        ]
        left = pace and pace.seconds_left
        return {
            "images": rows,
            "done": len(done),
            "running": pace is not None and not pace.error,
            "error": pace.error if pace else "",
            "progress": [pace.done, pace.total] if pace else [len(done), len(images)],
            "item": pace.item if pace else "",
            "left": "" if left is None else f"{duration(left)} left",
        }

    async def correct(self, request: Request) -> Response:
        """Keep what a person says of a cell."""
        session, said = self._session(request), await _json(request)
        image, cell, answer = (said.get(key) for key in ("image", "cell", "answer"))
        if type(cell) is not int or not {str} >= {type(image), type(answer)}:
            raise HTTPException(400, "expected image, cell and answer")
        await run_in_threadpool(session.correct, image, cell, answer)
        return JSONResponse(await run_in_threadpool(self._counts, session))

    def undo(self, request: Request) -> Response:
        """Take the last correction back."""
        session = self._session(request)
        undone = session.undo()
        return JSONResponse({**self._counts(session), "undone": undone})

    def _counts(self, session: Session) -> dict:
        rows = session.count()
        counted = sum(row.count for row in rows if row.name not in (UNSURE, OTHER))
        return {
            "rows": [shown_row(row) for row in rows],
            "counted": counted,
            "undoable": session.undoable,
        }

    def picture(self, request: Request) -> Response:
        """Send an overlay or a cut-out."""
        path = self._session(request).picture(
            request.path_params["image"], request.path_params["what"]
        )
        if path is None or not path.is_file():
            raise HTTPException(404, "no such picture")
        return FileResponse(path)

    def export(self, request: Request) -> Response:
        """Send a file of the corrected cells."""
        session, name = self._session(request), request.path_params["name"]
        if name not in EXPORTS:
            raise HTTPException(404, f"no such file; there are {', '.join(EXPORTS)}")
        content = session.export(name)
        suffix = Path(name).suffix
        kinds = {".csv": "text/csv", ".html": "text/html", ".zip": "application/zip"}
        headers = {}
        if suffix != ".html":  # which is printed from the browser
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        kind = kinds.get(suffix, "application/json")
        return Response(content, media_type=kind, headers=headers)

    async def dataset(self, request: Request) -> Response:
        """Make a dataset of the corrected cells; say how to train on it."""
        session = self._session(request)
        words = await run_in_threadpool(session.write_training_file)
        # In a process of its own: what it needs may not be installed here.
        command = python_module("leuko_mm.cli.main", *words[1:])
        done = await run_in_threadpool(
            subprocess.run, command, capture_output=True, text=True
        )
        said = f"{done.stdout}\n{done.stderr}".strip()
        return JSONResponse(
            {
                "made": done.returncode == 0,
                "said": said,
                "prepare": shlex.join(words),
                "train": train_command(session.id),
            }
        )


async def _json(request: Request) -> Mapping:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > MOST_OF_JSON:
            raise HTTPException(413, "more than such a request has")
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise HTTPException(400, "expected an object as JSON")
    return said


def _refused(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


def _not_written(request: Request, error: Exception) -> Response:
    # As on a full disk, or where somebody removed the folder.
    words = f"not kept, the files of the session cannot be used: {error}"
    return PlainTextResponse(printable(words), 507)


def _wrong(request: Request, error: HTTPException) -> Response:
    return PlainTextResponse(error.detail, error.status_code)


def build_server(
    root: Path,
    *,
    token: str,
    host: str = LOOPBACK[0],
    request: PredictRequest | None = None,
    predictor_of: Callable | None = None,
    most_a_file: int = MOST_A_FILE,
) -> Starlette:
    """Return the application over the sessions of a folder.

    Args:
        root: folder of the sessions; made if it is not there.
        token: without which nothing is served.
        host: the address that it will listen on.
        request: how images are predicted; its paths and output do not count.
        predictor_of: instead of ``make_predictor``.
        most_a_file: bytes of an image that is taken.
    """
    root.mkdir(parents=True, exist_ok=True)
    worker = Worker(request or PredictRequest(paths=(), out=root), predictor_of)
    server = AppServer(root, worker, most_a_file=most_a_file)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.close)

    return Starlette(
        routes=server.routes(),
        middleware=[Middleware(Guard, token=token, host=host)],
        exception_handlers={
            LeukoError: _refused,
            HTTPException: _wrong,
            OSError: _not_written,
        },
        lifespan=lifespan,
    )
