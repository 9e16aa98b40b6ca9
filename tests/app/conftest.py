"""A server of `leuko app` whose network is a stand-in, and images to send to it."""

from __future__ import annotations

import time

import pytest
from predicted_fields import ColourPredictor
from served_fields import HERE, TOKEN, request_in
from starlette.testclient import TestClient

from leuko_mm.app.server import build_server


class Browser:
    """Asks a server as the page does."""

    def __init__(self, client):
        self.client = client
        self.session = client.post("/sessions", json={"name": "slide <1>"}).json()["id"]

    def ask(self, method, path, **options):
        return self.client.request(method, f"/s/{self.session}/{path}", **options)

    def send(self, name, content):
        return self.ask("POST", "images", params={"name": name}, content=content)

    def status(self):
        return self.ask("GET", "status").json()

    def done(self):
        """Wait until all is predicted; return the last status."""
        self.ask("POST", "start")
        for _ in range(600):
            status = self.status()
            if not status["running"]:
                return status
            time.sleep(0.05)
        raise TimeoutError(status)

    def correct(self, image, cell, answer):
        said = dict(image=image, cell=cell, answer=answer)
        return self.ask("POST", "corrections", json=said)


@pytest.fixture
def place(tmp_path):
    """Return the folder of all sessions."""
    return tmp_path / "sessions"


@pytest.fixture
def open_server(place):
    """Return a function that starts a server, without a token on request."""
    clients = []

    def start(*, predictor=None, token=TOKEN, **options):
        made = predictor or ColourPredictor(accept=0.86)
        app = build_server(
            place,
            token=TOKEN,
            request=request_in(place),
            predictor_of=lambda *_: made,
            **options,
        )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(app, base_url=HERE, headers=headers)
        client.__enter__()
        clients.append(client)
        return client

    place.parent.mkdir(exist_ok=True)
    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def browser_of():
    """Return what asks a server for one session."""
    return Browser


@pytest.fixture
def app(open_server):
    """Return a session of a fresh server."""
    return Browser(open_server())
