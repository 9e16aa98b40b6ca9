"""Serve a page on this machine: drop images, see their cells, correct, count, save.

Everything is kept in FOLDER, a folder a session, at every step: what a killed process
or a closed browser leaves is continued. For research only.
"""

from __future__ import annotations

import argparse
import secrets
import socket
from pathlib import Path

from leuko_mm.cli.main import DONE, at_least, number_below
from leuko_mm.datasets.images import IMAGE_SUFFIXES
from leuko_mm.errors import UsageError
from leuko_mm.files import locked, real_path
from leuko_mm.inference.folder_run import (
    PredictRequest,
    checkpoint_of_request,
    make_predictor,
)
from leuko_mm.processes import keep_memory, stopped_by_signals
from leuko_mm.zoo.entries import network_at

PORT = 8765
LOCK = ".lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: where sessions are kept, and who is served."""
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        type=Path,
        default=Path("leuko-sessions"),
        metavar="FOLDER",
        help="of the sessions; default: %(default)s",
    )
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, this machine alone. Others "
        "are not encrypted",
    )
    add("--port", type=at_least(0), default=PORT, help="default: %(default)s; 0: any")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="or a model's name, as of leuko predict; default: the model of the "
        "package",
    )
    add(
        "--um-per-px",
        type=number_below(),
        metavar="UM",
        help="size of a pixel of all images in micrometres; default: red cells tell it",
    )
    add(
        "--max-megabytes",
        type=at_least(1),
        default=300,
        metavar="N",
        help="refuse larger files; default: %(default)s",
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Serve until Ctrl-C."""
    try:
        import uvicorn

        from leuko_mm.app.server import MEGABYTE, build_server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"it needs {error.name}, which is not installed: pip install "
            "starlette uvicorn"
        ) from None
    folder, token = args.folder, secrets.token_urlsafe(24)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; expected a folder for the sessions")
    if folder.exists() and any(
        path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()
    ):
        raise UsageError(
            f"{folder} has images, and sessions are kept in a folder of their own; "
            "give another, or none, and drop the images on the page"
        )
    named = args.checkpoint and network_at(args.checkpoint)
    request = PredictRequest(
        paths=(), out=folder, checkpoint=named, um_per_px=args.um_per_px
    )
    # What does not fit is refused before images are dropped.
    predictor = make_predictor(request, checkpoint_of_request(request))
    try:
        family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
        listening = socket.create_server((args.host, args.port), family=family)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {args.host} port {args.port} ({error}); give another "
            "--port, or 0 for any that is free"
        ) from None
    with listening, locked(folder / LOCK) as alone:
        if not alone:
            raise UsageError(f"another leuko app serves {folder}; give another folder")
        keep_memory()
        app = build_server(
            folder,
            token=token,
            host=args.host,
            request=request,
            predictor_of=lambda *_: predictor,
            most_a_file=args.max_megabytes * MEGABYTE,
        )
        port = listening.getsockname()[1]
        name = f"[{args.host}]" if ":" in args.host else args.host
        if args.host in ("0.0.0.0", "::"):
            name = socket.gethostname()
        print(f"sessions: {real_path(folder)}")
        print(f"open http://{name}:{port}/?token={token}", flush=True)
        print("For research only. Ctrl-C ends it; everything is kept.", flush=True)
        options = dict(log_level="warning", access_log=False, server_header=False)
        config = uvicorn.Config(app, ws="none", timeout_graceful_shutdown=5, **options)
        with stopped_by_signals(f"the sessions are kept in {folder}"):
            uvicorn.Server(config).run(sockets=[listening])
    return DONE
