"""A web server on this machine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class LocalWeb:
    """What the server answers, and what it was asked for.

    The answer of a path in ``broken`` ends half way.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    ranges: bool = True
    asked: list[str] = field(default_factory=list)
    asked_ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def web():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.asked.append(self.path)
            state.asked_ranges.append(asked)
            if self.path not in state.files:
                self.send_error(404)
                return
            body = state.files[self.path]
            start = int(asked[6:-1]) if asked and state.ranges else 0
            if start and start >= len(body):
                self.send_error(416)
                return
            rest = body[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            if start:
                span = f"bytes {start}-{len(body) - 1}/{len(body)}"
                self.send_header("Content-Range", span)
            self.end_headers()
            half = len(rest) // 2 if self.path in state.broken else None
            self.wfile.write(rest[:half])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = LocalWeb(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
