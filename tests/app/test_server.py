"""What `leuko app` answers, takes in and refuses, without a browser."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from predicted_fields import HOSTILE_NAMES, ColourPredictor, draw_field
from served_fields import HERE, TOKEN, png, request_in
from starlette.testclient import TestClient

from leuko_mm.app import prediction
from leuko_mm.app import session as session_module
from leuko_mm.app.server import build_server
from leuko_mm.app.session import CORRECTIONS, EXPORTS, SESSION, SMEARS
from leuko_mm.datasets.images import MAX_PIXELS
from leuko_mm.datasets.prepared import read_index
from leuko_mm.inference.cells import ImageScale
from leuko_mm.inference.folder_run import PredictRequest, predict_files


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
def app(open_server):
    """Return a session of a fresh server."""
    return Browser(open_server())


def rows_of(answer):
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


# Who is served


@pytest.mark.parametrize("token", ["", "wrong", "tökén"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/s/x/"),
        ("POST", "/sessions"),
        ("DELETE", "/s/x"),
        ("GET", "/s/x/export/cells.csv"),
        ("GET", "/nowhere"),
    ],
)
def test_nothing_is_served_without_the_token(open_server, method, path, token):
    client = open_server(token=None)
    headers = {"Authorization": f"Bearer {token}".encode()}
    assert client.request(method, path, headers=headers).status_code == 403
    assert client.get(path, params={"token": token}).status_code == 403


def test_the_address_with_the_token_sets_a_cookie_that_opens_the_rest(open_server):
    client = open_server(token=None)
    answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200
    assert client.post("/sessions", json={}).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8765"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_is_refused(app, headers):
    answer = app.ask("POST", "undo", headers=headers)
    assert answer.status_code == 403
    assert app.ask("GET", "status", headers=headers).status_code == 403


def test_our_own_origin_is_served(app):
    headers = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
    assert app.ask("POST", "undo", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "listens", "status"),
    [
        ("evil.example", "127.0.0.1", 400),
        ("127.0.0.1.evil.example:8765", "127.0.0.1", 400),
        ("", "127.0.0.1", 400),
        ("[::1", "127.0.0.1", 400),
        ("localhost:99999", "127.0.0.1", 400),
        ("localhost:x", "127.0.0.1", 400),
        ("10.0.0.7:8765", "127.0.0.1", 400),
        ("localhost:8765", "127.0.0.1", 200),
        ("[::1]:8765", "127.0.0.1", 200),
        ("10.0.0.7:8765", "0.0.0.0", 200),
        ("evil.example", "0.0.0.0", 400),
    ],
)
def test_foreign_hosts_are_refused(open_server, host, listens, status):
    client = open_server(host=listens)
    assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("text", ['{"schema": 1}', "[]", "[" * 100_000])
def test_a_damaged_session_does_not_keep_the_others_from_being_served(
    open_server, place, text
):
    (place / "odd").mkdir(parents=True)
    (place / "odd" / "session.json").write_text(text)
    assert open_server().get("/").status_code == 200


@pytest.mark.parametrize("body", ["[" * 9000, '{"a":' * 1500, "[]", "\x00"])
def test_what_is_no_object_is_refused(app, body):
    assert app.client.post("/sessions", content=body).status_code == 400
    assert app.ask("POST", "corrections", content=body).status_code == 400


def test_every_answer_forbids_frames_and_sniffing(app):
    for answer in (app.client.get("/"), app.ask("GET", "nowhere"), app.ask("GET", "")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
    policy = app.ask("GET", "").text.partition('content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none'; img-src data: 'self'; connect-src")
    assert "unsafe" not in policy
    assert "http" not in policy


# What is taken in


def test_two_hundred_files_of_which_some_are_hostile(app, place):
    names = [f"{n}.png" for n in range(185)] + list(HOSTILE_NAMES)
    fields = [png(*kinds) for kinds in ((1, 5), (2, 3, 4), (5,))]
    for number, name in enumerate(names):
        assert app.send(name, fields[number % 3]).status_code == 201
    width = 9440  # squared, it is above the limit
    assert width**2 > MAX_PIXELS
    odd = {
        "huge.png": huge_png(width),
        "text.png": b"this is text",
        "cut.png": fields[0][:-40],
    }
    for name, content in odd.items():
        assert app.send(name, content).status_code == 201
    status = app.done()
    assert status["error"] == ""
    assert status["done"] == len(names)
    reasons = {row["name"]: row["reason"] for row in status["images"]}
    assert {name for name, reason in reasons.items() if reason} == set(odd)
    assert "expected at most 89 million" in reasons["huge.png"]
    assert "cannot be read" in reasons["text.png"]
    shown = [name.replace("\t", "\ufffd") for name in names]
    assert [row["name"] for row in status["images"]][: len(shown)] == shown
    page = app.ask("GET", "").text
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    files = [path.name for path in (place / app.session / SMEARS).iterdir()]
    assert not [name for name in files if set(name) & set("<>'\"&=@\t /\\")]


def huge_png(side: int) -> bytes:
    """Return the header of a PNG of that many pixels a side."""

    def chunk(kind, content):
        size, check = len(content), zlib.crc32(kind + content)
        return struct.pack(">I", size) + kind + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def test_two_files_of_one_name_are_two_images(app):
    first, second = (app.send("a.png", png(kind)).json()["file"] for kind in (1, 2))
    assert first != second
    status = app.done()
    assert [row["name"] for row in status["images"]] == ["a.png", "a.png"]
    assert [row["cells"] for row in status["images"]] == [1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped.png",
        "..\\..\\escaped.png",
        "/etc/escaped.png",
        "..%2f..%2fescaped.png",
        "C:\\escaped.png",
        "....png",
        "a\0b.png",
        "~.png",
        "x" * 5000 + ".png",
        "CON.png",
    ],
)
def test_a_name_never_becomes_a_path(app, place, name):
    before = {path for path in place.parent.rglob("*") if path.is_file()}
    assert app.send(name, png(1)).status_code in (201, 415)
    new = {path for path in place.parent.rglob("*") if path.is_file()} - before
    folder = place / app.session
    assert {path.parent for path in new} <= {folder, folder / SMEARS}
    for path in (p for p in new if p.parent.name == SMEARS):
        assert path.name.startswith("0001-")
        assert ".." not in path.name


@pytest.mark.parametrize(
    "path",
    [
        "pictures/..%2f..%2fsession.json/overlay.png",
        "pictures/%2e%2e/session.json",
        "pictures/0001-a.png/..%2frecord.json",
        "pictures/0001-a.png/record.json",
        "export/..%2fsession.json",
        "export/session.json",
        "../../etc/passwd",
    ],
)
def test_no_address_leads_to_another_file(app, path):
    app.send("a.png", png(1))
    app.done()
    assert app.ask("GET", "pictures/0001-a.png/overlay.png").status_code == 200
    assert app.ask("GET", "pictures/0001-a.png/1").status_code == 200
    assert app.ask("GET", path).status_code == 404


def test_two_gigabytes_are_refused_before_they_are_sent(app):
    headers = {"Content-Length": str(2 << 30)}
    answer = app.ask(
        "POST", "images", params={"name": "a.png"}, headers=headers, content=b"x"
    )
    assert answer.status_code == 413
    assert answer.text == "a.png: larger than 300 MB"
    (row,) = app.status()["images"]
    assert row["reason"] == "larger than 300 MB"


def test_a_body_that_lies_about_its_size_is_cut_off(open_server, place):
    app = Browser(open_server(most_a_file=1000))

    def pieces():
        for _ in range(20):
            yield b"x" * 100

    answer = app.ask("POST", "images", params={"name": "a.png"}, content=pieces())
    assert answer.status_code == 413
    assert list((place / app.session / SMEARS).iterdir()) == []
    assert list((place / app.session).glob(".upload*")) == []


def test_a_request_that_is_no_image_is_small(app):
    answer = app.ask("POST", "corrections", content=b"[" * 20_000)
    assert answer.status_code == 413
    assert app.ask("POST", "corrections", content=b"[").status_code == 400


@pytest.mark.parametrize("name", ["a.txt", "a.exe", "", "png"])
def test_what_is_no_image_by_its_name_is_named(app, name):
    for _ in range(2):
        answer = app.send(name, b"x")
        assert answer.status_code == 415
        assert "expected" in answer.text
    assert [row["name"] for row in app.status()["images"]] == [name, f"{name} (2)"]


# What was corrected


@pytest.fixture
def done(app):
    """Return a session of two images that are done."""
    app.send("a.png", png(1, 5, 5))
    app.send("b.png", png(2, 3))
    app.done()
    return app


def counts_of(answer):
    return {row["name"]: row["count"] for row in answer.json()["rows"]}


def test_corrections_move_the_count_and_undo_moves_it_back(done):
    begin = done.ask("POST", "undo")
    assert begin.json()["undone"] is None
    # The third of a.png is sure to 84 %: below the confidence that is accepted.
    assert counts_of(begin) == dict(
        basophil=1, eosinophil=1, lymphocyte=1, monocyte=0, neutrophil=1, unsure=1
    ) | {"other": 0}
    steps = [
        ("0001-a.png", 3, "monocyte"),
        ("0001-a.png", 2, "other"),
        ("0002-b.png", 1, "background"),
        ("0001-a.png", 1, "ignore"),
    ]
    answer = [done.correct(*step) for step in steps][-1]
    assert counts_of(answer) == dict(
        basophil=0, eosinophil=0, lymphocyte=1, monocyte=1, neutrophil=0, unsure=1
    ) | {"other": 1}
    assert answer.json()["counted"] == 2
    # By hand: 1 of 2 is 50 %, Wilson's interval 9.45 to 90.55.
    row = next(r for r in answer.json()["rows"] if r["name"] == "monocyte")
    assert (row["percent"], row["low"], row["high"]) == ("50.0", "9.5", "90.5")
    back = [done.ask("POST", "undo").json() for _ in steps]
    assert [step["undone"]["answer"] for step in back] == [
        *("basophil", "eosinophil", "neutrophil", "ignore")
    ]
    assert back[-1]["rows"] == begin.json()["rows"]
    assert back[-1]["undoable"] == 0


@pytest.mark.parametrize(
    "said",
    [
        dict(image="0001-a.png", cell=9, answer="monocyte"),
        dict(image="../a.png", cell=1, answer="monocyte"),
        dict(image="0001-a.png", cell=1, answer="<b>"),
        dict(image="0001-a.png", cell="1", answer="monocyte"),
        dict(image=["0001-a.png"], cell=1, answer="monocyte"),
        {},
    ],
)
def test_a_correction_of_nothing_is_refused(done, said):
    answer = done.ask("POST", "corrections", json=said)
    assert answer.status_code == 400
    assert answer.text


def test_another_server_goes_on_with_what_was_corrected(done, open_server, place):
    done.correct("0001-a.png", 1, "monocyte")
    shown = done.ask("POST", "undo").json()
    shown = done.correct("0002-b.png", 2, "other").json()
    file = place / done.session / CORRECTIONS
    # A correction that was being written when the power went.
    file.with_name(f".{file.name}.part").write_text("{")
    again = open_server()
    page = again.get(f"/s/{done.session}/").text
    content = json.loads(page.partition('id="content">')[2].partition("</script>")[0])
    assert content["app"]["counts"] == shown
    assert content["app"]["corrections"] == [
        dict(image="0002-b.png", cell=2, answer="other")
    ]


def test_new_images_leave_what_was_corrected_alone(done):
    before = done.correct("0001-a.png", 1, "monocyte").json()
    done.send("c.png", png(4))
    done.done()
    answer = done.correct("0003-c.png", 1, "lymphocyte").json()
    assert answer["counted"] == before["counted"] + 1
    assert done.ask("POST", "undo").json()["undone"]["image"] == "0003-c.png"
    assert done.ask("POST", "undo").json()["undone"]["answer"] == "basophil"


def test_a_session_gets_one_scale_and_what_is_done_stays(open_server, place):
    class Measuring(ColourPredictor):
        def common_scale(self, images, *, progress=None):
            return ImageScale(1 + len(images) / 10, "red cells", 1.0)

    network = Measuring()
    app = Browser(open_server(predictor=network))
    state = place / app.session / "found" / "predict.json"
    for number, scales in enumerate(([], [1.3], [1.3])):
        for _ in range(1 + (number == 1)):
            app.send("a.png", png(1))
        assert app.done()["error"] == ""
        found = json.loads(state.read_text())["scales"].values()
        assert [scale["factor"] for scale in found] == scales
    assert network.seen == 4
    # A state of an older version has none.
    content = json.loads(state.read_text())
    del content["scales"]
    state.write_text(json.dumps(content))
    app.send("last.png", png(2))
    assert app.done()["done"] == 5


def test_what_changes_nothing_is_no_step_to_undo(done):
    assert done.correct("0001-a.png", 1, "basophil").json()["undoable"] == 0
    for _ in range(2):
        answer = done.correct("0001-a.png", 1, "monocyte")
    assert answer.json()["undoable"] == 1


def test_new_images_for_another_model_need_a_new_session(done, place):
    (place.parent / "net.pth").write_bytes(b"others")
    done.send("c.png", png(1))
    assert done.done()["error"] == (
        "made with another model; new images need a new session"
    )


def test_a_file_of_the_system_is_no_image(done, place):
    (place / done.session / SMEARS / ".DS_Store").write_bytes(b"x")
    status = done.done()
    assert [row["name"] for row in status["images"]] == ["a.png", "b.png"]
    assert status["done"] == 2


def test_a_cell_that_another_prediction_outlined_is_not_corrected(done, place):
    done.correct("0001-a.png", 1, "monocyte")
    file = place / done.session / "found" / "images" / "0001-a.png" / "record.json"
    record = json.loads(file.read_text())
    record["cells"][0]["runs"] = record["cells"][1]["runs"]
    file.write_text(json.dumps(record))
    counts = counts_of(done.correct("0002-b.png", 1, "lymphocyte"))
    assert (counts["monocyte"], counts["lymphocyte"]) == (0, 2)


# What is saved


def test_the_exports_have_what_was_corrected(done):
    done.correct("0001-a.png", 3, "monocyte")
    done.correct("0001-a.png", 2, "other")
    last = done.correct("0002-b.png", 1, "background").json()
    files = {name: done.ask("GET", f"export/{name}") for name in EXPORTS}
    assert {answer.status_code for answer in files.values()} == {200}

    rows = rows_of(files["differential.csv"])
    assert [row["class"] for row in rows] == [row["name"] for row in last["rows"]]
    assert [int(row["count"]) for row in rows] == [r["count"] for r in last["rows"]]
    cells = {(r["image"], r["id"]): r for r in rows_of(files["cells.csv"])}
    assert ("0002-b.png", "1") not in cells
    assert cells["0001-a.png", "3"]["answer"] == "monocyte"
    assert cells["0001-a.png", "3"]["class"] == "monocyte"
    assert cells["0001-a.png", "3"]["predicted"] == "unsure"
    assert cells["0001-a.png", "2"]["answer"] == "other"
    assert cells["0001-a.png", "1"]["predicted"] == ""
    images = {row["image"]: row for row in rows_of(files["images.csv"])}
    assert images["0002-b.png"]["cells"] == "1"

    coco = files["coco.json"].json()
    kinds = {kind["id"]: kind["name"] for kind in coco["categories"]}
    found = [kinds[entry["category_id"]] for entry in coco["annotations"]]
    assert found == ["basophil", "other", "monocyte", "lymphocyte"]

    packed = zipfile.ZipFile(io.BytesIO(files["all.zip"].content))
    assert set(packed.namelist()) == {
        *("cells.csv", "differential.csv", "images.csv", "names.csv", "coco.json"),
        *("geojson/0001-a.geojson", "geojson/0002-b.geojson", "summary.html"),
        *("masks/0001-a.png", "masks/0002-b.png"),
    }
    for name in ("cells.csv", "coco.json"):
        assert packed.read(name) == files[name].content
    outlines = json.loads(packed.read("geojson/0001-a.geojson"))["features"]
    assert [o["properties"]["classification"]["name"] for o in outlines] == found[:3]
    mask = np.array(Image.open(io.BytesIO(packed.read("masks/0001-a.png"))))
    drawn = draw_field((1, 5, 5))[..., 0]
    assert set(np.unique(mask[drawn == 20])) == {1}
    assert set(np.unique(mask[drawn == 100])) == {4, 255}
    assert (mask[drawn == 230] == 0).all()
    empty = np.array(Image.open(io.BytesIO(packed.read("masks/0002-b.png"))))
    assert (empty[draw_field((2, 3))[..., 0] == 40] == 0).all()
    summary = files["summary.html"].text
    assert "Research use only" in summary
    assert "slide &lt;1&gt;" in summary


def test_without_corrections_masks_are_those_of_the_model(done, place):
    packed = done.ask("GET", "export/masks.zip").content
    found = place / done.session / "found" / "images"
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        for name in ("0001-a.png", "0002-b.png"):
            assert file.read(name) == (found / name / "labels.png").read_bytes()


def test_a_session_is_an_output_of_predict(done, place, tmp_path):
    folder = place / done.session
    request = PredictRequest(
        paths=[str(folder / SMEARS)],
        out=folder / "found",
        checkpoint=tmp_path / "net.pth",
        resume=True,
    )
    outcome = predict_files(request, predictor_of=lambda *_: ColourPredictor())
    assert (len(outcome.records), outcome.new) == (2, 0)


def test_the_place_of_a_camera_does_not_travel(app):
    image = Image.fromarray(draw_field((1, 5)))
    exif = image.getexif()
    exif[0x010E] = "patient Mayer"  # description
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert b"patient Mayer" in buffer.getvalue()
    app.send("a.png", buffer.getvalue())
    app.done()
    packed = zipfile.ZipFile(io.BytesIO(app.ask("GET", "export/all.zip").content))
    sent = [packed.read(name) for name in packed.namelist()]
    sent += [app.ask("GET", f"pictures/0001-a.png/{w}").content for w in (1, 2)]
    sent.append(app.ask("GET", "pictures/0001-a.png/overlay.png").content)
    assert not [part for part in sent if b"Mayer" in part or b"eXIf" in part]


def test_before_the_first_image_is_done_nothing_is_saved(app):
    answer = app.ask("GET", "export/cells.csv")
    assert (answer.status_code, answer.text) == (
        *(400, "no image is done yet; wait for the first"),
    )


def test_a_dataset_is_made_and_the_command_that_trains_is_shown(
    done, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    done.correct("0001-a.png", 2, "background")
    made = done.ask("POST", "dataset").json()
    assert made["made"], made["said"]
    folder = tmp_path / "data" / f"corrected-{done.session}"
    # Neither the unsure cell nor that which is none is learnt from.
    names = sorted(row.class_name for row in read_index(folder) if row.kind == "cell")
    assert names == ["basophil", "eosinophil", "lymphocyte"]
    assert made["train"].startswith(f"leuko train cell_classes --data {folder.name}")


def test_a_deleted_session_is_gone_even_while_it_is_predicted(open_server, place):
    app = Browser(open_server(predictor=ColourPredictor(0.2)))
    for number in range(5):
        app.send(f"{number}.png", png(1))
    app.ask("POST", "start")
    assert app.client.delete(f"/s/{app.session}").status_code == 204
    assert app.ask("GET", "").status_code == 404
    assert not (place / app.session).exists()
    other = Browser(app.client)
    other.send("a.png", png(1))
    assert other.done()["done"] == 1
    assert app.client.get("/").text.count("data-delete=") == 1


def test_a_session_that_could_not_be_deleted_is_predicted_on(open_server, monkeypatch):
    monkeypatch.setattr(prediction, "STOPPED_WITHIN", 0.05)
    app = Browser(open_server(predictor=ColourPredictor(0.5)))
    app.send("a.png", png(1))
    app.ask("POST", "start")
    while app.status()["item"] != "looking at the first image":
        time.sleep(0.01)
    assert app.client.delete(f"/s/{app.session}").status_code == 409
    app.send("b.png", png(1))
    assert app.done()["done"] == 2


def test_a_session_gets_another_name_that_is_kept(open_server, place):
    app = Browser(open_server())
    app.send("a.png", png(1))
    path = f"/s/{app.session}"
    assert app.client.patch(path, json={"name": " slide <12> "}).status_code == 200
    assert "slide &lt;12&gt;" in app.ask("GET", "").text
    assert app.client.patch(path, json={"name": " "}).status_code == 400
    assert json.loads((place / app.session / SESSION).read_text())["name"] == (
        "slide <12>"
    )


def test_a_fault_of_the_network_is_shown_and_the_next_session_works(open_server):
    class Broken(ColourPredictor):
        def common_scale(self, images, *, progress=None):
            if len(images) == 2:
                raise MemoryError("too many")

    client = open_server(predictor=Broken())
    first, second = Browser(client), Browser(client)
    for name in ("a.png", "b.png"):
        first.send(name, png(1))
    assert first.done()["error"] == "MemoryError: too many"
    second.send("a.png", png(1))
    assert second.done()["done"] == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("session.json", "{}"),
        ("session.json", '{"schema": 1, "name": "x"}'),
        ("corrections.json", '{"schema": 1, "corrections": [{}]'),
        ("corrections.json", '{"schema": 1}'),
        ("found/predict.json", "[1]"),
        ("found/predict.json", '{"schema": 1, "failed": 5}'),
    ],
)
def test_a_broken_session_is_named_and_hides_no_other(
    done, open_server, place, file, content, capsys
):
    other = Browser(done.client).session
    (place / done.session / file).write_text(content)
    page = open_server().get("/").text
    assert other in page
    assert done.session not in page
    said = f"a session is left out, the others are there: {place / done.session}"
    assert said in capsys.readouterr().err


def test_the_longest_name_is_that_of_an_image(app):
    assert app.send("a" * 251 + ".png", png(1)).status_code == 201
    (row,) = app.done()["images"]
    assert row["name"] == "a" * 180 + ".png"
    assert row["cells"] == 1


def test_a_folder_that_is_removed_stops_no_other_session(done, place):
    other = Browser(done.client)
    shutil.rmtree(place / done.session)
    assert other.session in done.client.get("/").text
    assert other.send("a.png", png(1)).status_code == 201
    refused = done.send("c.png", png(1))
    assert refused.status_code == 507
    assert "not kept" in refused.text


def test_a_full_disk_is_said_and_nothing_is_lost(done, place, monkeypatch):
    file = place / done.session / CORRECTIONS
    done.correct("0001-a.png", 1, "monocyte")
    kept = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(session_module, "write_text", full)
        answer = done.correct("0001-a.png", 2, "monocyte")
        assert (answer.status_code, "No space left" in answer.text) == (507, True)
    assert file.read_bytes() == kept
    assert done.correct("0001-a.png", 2, "monocyte").json()["undoable"] == 2
