"""A connection that ended is gone on with, and only the right file appears."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from leuko_mm.engine.download import download

BODY = bytes(range(256)) * 40
DIGEST = hashlib.sha256(BODY).hexdigest()


class ResumingServer:
    """Serves one body, by ranges where asked; the first answers may end early."""

    def __init__(self, *, breaks: int = 0, ranges: bool = True):
        self.asked: list[str | None] = []
        self.body = BODY
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                outer.asked.append(asked)
                start = int(asked[6:-1]) if asked and ranges else 0
                if start >= len(outer.body) and start:
                    self.send_error(416)
                    return
                rest = outer.body[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(rest)))
                if start:
                    whole = len(outer.body)
                    span = f"bytes {start}-{whole - 1}/{whole}"
                    self.send_header("Content-Range", span)
                self.end_headers()
                early = len(outer.asked) <= breaks
                self.wfile.write(rest[: len(rest) // 2] if early else rest)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/model.pth"
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.daemon = True
        thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve():
    servers = []

    def start(**how):
        servers.append(ResumingServer(**how))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def part_of(target):
    return target.with_name(f".{target.name}.part")


@pytest.mark.parametrize("ranges", [True, False])
def test_the_rest_is_fetched_and_the_whole_is_right(serve, tmp_path, ranges):
    server, target = serve(breaks=1, ranges=ranges), tmp_path / "model.pth"
    with pytest.raises(OSError, match="ended"):
        download(server.url, target, sha256=DIGEST, resume=True)
    assert not target.exists()
    begun = part_of(target).stat().st_size
    assert 0 < begun < len(BODY)
    download(server.url, target, sha256=DIGEST, resume=True)
    assert target.read_bytes() == BODY
    assert not part_of(target).exists()
    assert server.asked == [None, f"bytes={begun}-"]


def test_a_beginning_of_another_file_is_found_out_and_thrown_away(serve, tmp_path):
    server, target = serve(), tmp_path / "model.pth"
    part_of(target).write_bytes(b"another beginning")
    with pytest.raises(OSError, match="damaged or another"):
        download(server.url, target, sha256=DIGEST, resume=True)
    assert list(tmp_path.iterdir()) == []
    download(server.url, target, sha256=DIGEST, resume=True)
    assert target.read_bytes() == BODY


def test_a_part_that_is_whole_already_is_fetched_anew(serve, tmp_path):
    server, target = serve(), tmp_path / "model.pth"
    part_of(target).write_bytes(BODY)
    download(server.url, target, sha256=DIGEST, resume=True)
    assert target.read_bytes() == BODY


def test_without_resuming_nothing_is_left(serve, tmp_path):
    server, target = serve(breaks=1), tmp_path / "model.pth"
    with pytest.raises(OSError, match="ended"):
        download(server.url, target)
    assert list(tmp_path.iterdir()) == []
