"""Serve `leuko app` with a stand-in for the network, in a process to be killed.

    python served_fields.py FOLDER SECONDS

SECONDS is what an image takes. Prints the address.
"""

from __future__ import annotations

import io
import socket
import sys
from pathlib import Path

import uvicorn
from PIL import Image
from predicted_fields import ColourPredictor, draw_field

from leuko_mm.app.server import build_server
from leuko_mm.inference.folder_run import PredictRequest

TOKEN = "token-of-the-tests"
HERE = "http://127.0.0.1:8765"


def png(*kinds) -> bytes:
    """Return a field with a cell a class id, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(draw_field(kinds)).save(buffer, "PNG")
    return buffer.getvalue()


def request_in(folder: Path) -> PredictRequest:
    """Return a request whose network is a file that nobody reads."""
    net = folder.parent / "net.pth"
    net.write_bytes(b"tensors")
    return PredictRequest(paths=(), out=folder, checkpoint=net)


if __name__ == "__main__":
    place, seconds = Path(sys.argv[1]), float(sys.argv[2])
    app = build_server(
        place,
        token=TOKEN,
        request=request_in(place),
        predictor_of=lambda *_: ColourPredictor(seconds, accept=0.86),
    )
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={TOKEN}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])
