"""A browser works with `leuko app`, while the server is killed and started again."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predicted_fields import draw_field
from served_fields import png

HERE = Path(__file__).parent
DROP = """async ([files]) => {
  const transfer = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
  document.querySelector(".drop").dispatchEvent(event);
}"""


class Server:
    """A server in a process of its own."""

    def __init__(self, place, seconds=0.0):
        paths = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "served_fields.py"), str(place), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.address = self.process.stdout.readline().strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def serve(tmp_path):
    """Return a function that starts a server over one folder."""
    started = []

    def start(seconds=0.0):
        started.append(Server(tmp_path / "sessions", seconds))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def tab(browser):
    """Return an empty tab; the test fails if a page complains or asks elsewhere."""
    page, complaints, asked = browser.new_page(), [], set()
    page.set_default_timeout(30_000)
    page.set_viewport_size(dict(width=1400, height=900))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    yield page
    page.close()
    # A server that was killed or refuses is named on the page.
    meant = ("ERR_CONNECTION_REFUSED", "status of 507")
    assert [c for c in complaints if not any(m in c for m in meant)] == []
    assert {name.split(":")[0] for name in asked} <= {"127.0.0.1", ""}


def drop(tab, files):
    packed = [[n, base64.b64encode(content).decode()] for n, content in files.items()]
    tab.evaluate(DROP, [packed])


def card(tab, name, number):
    cards = tab.locator(".cell").filter(has=tab.locator(f'[title="{name}"]'))
    return cards.filter(has_text=f"#{number}").first


def shown_counts(tab):
    rows = tab.locator(".differential tbody tr").all()
    return {
        row.get_attribute("data-answer"): row.locator("td").all_inner_texts()[:3]
        for row in rows
    }


def until(tab, condition):
    """Wait for a condition; the page's policy forbids Playwright's own waiting."""
    tab.evaluate(
        "() => new Promise((done) => { const look = () => "
        f"({condition}) ? done() : setTimeout(look, 20); look(); }})"
    )


FIELDS = {"a.png": (1, 5, 5), "<b>b & c.png": (2, 3), "größe.png": (4, 4, 1)}


def test_three_fields_are_dropped_corrected_and_saved_over_a_kill(serve, tab):
    server = serve(seconds=0.3)
    tab.goto(server.address)
    assert "token" not in tab.url
    tab.get_by_label("Name").fill("slide <7>")
    drop(tab, {name: png(*kinds) for name, kinds in FIELDS.items()})
    tab.wait_for_url("**/s/**")
    # Killed while images are looked at, and opened again.
    until(tab, "document.querySelector('.progress-words').textContent")
    server.kill()
    until(tab, "!document.querySelector('.fault').hidden")
    assert "still running" in tab.get_by_role("alert").inner_text()
    server = serve()
    tab.goto(server.address)
    tab.get_by_role("link", name="slide <7>").click()
    tab.locator(".cell").first.wait_for()
    until(tab, "document.querySelectorAll('.cell').length === 8")
    assert shown_counts(tab)["basophil"][0] == "1"

    # By key in the field; taken back; another class; no cell, by its list.
    card(tab, "a.png", 1).locator(".open").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("4")
    until(tab, "document.querySelector('[data-answer=basophil] td').textContent == 0")
    assert shown_counts(tab)["monocyte"][0] == "3"
    tab.keyboard.press("Control+z")
    until(tab, "document.querySelector('[data-answer=basophil] td').textContent == 1")
    assert tab.locator(".field-choice select").input_value() == "basophil"
    tab.keyboard.press("2")
    until(tab, "document.querySelector('[data-answer=basophil] td').textContent == 0")
    server.kill()
    tab.keyboard.press("3")
    until(tab, "!document.querySelector('.fault').hidden")
    assert "not kept" in tab.locator(".fault").inner_text()

    server = serve()
    tab.goto(server.address)
    tab.get_by_role("link", name="slide <7>").click()
    assert tab.locator(".save-bar [role=status]").inner_text() == "1 correction, kept"
    assert card(tab, "a.png", 1).get_by_role("combobox").input_value() == "eosinophil"
    card(tab, "<b>b & c.png", 2).get_by_role("combobox").select_option("background")
    until(tab, "document.querySelector('[data-answer=lymphocyte] td').textContent == 0")
    counts = shown_counts(tab)
    assert counts["eosinophil"][0] == "2"
    assert tab.locator(".counted-words").inner_text() == "5 cells counted; 95 to go"
    tab.get_by_label("count to").select_option("200")
    assert tab.locator(".counted-words").inner_text() == "5 cells counted; 195 to go"

    with tab.expect_download() as waiting:
        tab.get_by_role("link", name="all files").click()
    packed = zipfile.ZipFile(waiting.value.path())

    def table(name):
        return list(csv.DictReader(io.StringIO(packed.read(name).decode())))

    for row in table("differential.csv"):
        count, percent, interval = counts[row["class"]]
        assert row["count"] == count
        if row["count"] != "0":
            low, high = (float(end) for end in interval.split("\u2013"))
            numbers = [float(row[key]) for key in ("percent", "low95", "high95")]
            assert numbers == pytest.approx([float(percent), low, high], abs=0.051)
    came = {row["image"]: row["came as"] for row in table("names.csv")}
    assert set(came.values()) == set(FIELDS)
    answers = {}
    for entry in tab.locator(".cell").all():
        name = entry.locator(".cell-name").inner_text()
        number = entry.locator(".tag").inner_text().removeprefix("#").split(",")[0]
        answers[name, number] = entry.get_by_role("combobox").input_value()
    answers = {
        key: "unsure" if answer == "ignore" else answer
        for key, answer in answers.items()
        if answer != "background"
    }
    cells = table("cells.csv")
    assert {(came[r["image"]], r["id"]): r["answer"] for r in cells} == answers
    coco = json.loads(packed.read("coco.json"))
    files = {image["id"]: came[image["file_name"]] for image in coco["images"]}
    assert {
        (files[a["image_id"]], str(a["cell"])): a["answer"] for a in coco["annotations"]
    } == answers
    for file, name in came.items():
        stem = file.removesuffix(".png")
        features = json.loads(packed.read(f"geojson/{stem}.geojson"))["features"]
        assert {
            (name, f["properties"]["name"]): f["properties"]["answer"] for f in features
        } == {key: answer for key, answer in answers.items() if key[0] == name}
        mask = np.array(Image.open(io.BytesIO(packed.read(f"masks/{stem}.png"))))
        drawn = np.rint(draw_field(FIELDS[name])[..., 0] / 20).astype(int)
        drawn[drawn > 5] = 0
        if name == "a.png":
            drawn[drawn == 1] = 2
        if name.startswith("<b>"):
            drawn[drawn == 3] = 0
        assert (mask == drawn).all()
    assert "slide &lt;7&gt;" in packed.read("summary.html").decode()

    with tab.expect_popup() as opened:
        tab.get_by_role("link", name="summary to print").click()
    summary = opened.value
    printed = [row.inner_text().split() for row in summary.locator("tbody tr").all()]
    assert [line[0] for line in printed] == list(counts)
    assert "Research use only" in summary.locator("header").inner_text()
    summary.close()


def status_of(tab):
    return tab.locator(".save-bar [role=status]").inner_text()


def hold_corrections(tab):
    """Return a list of the corrections that wait to be sent on."""
    held = []

    def hold(route):
        held.append(route)

    tab.route("**/corrections", hold)
    return held


def test_a_correction_is_kept_when_the_server_says_so_and_else_taken_back(serve, tab):
    tab.goto(serve().address)
    drop(tab, {"a.png": png(1, 2, 3)})
    tab.locator(".cell").first.wait_for()
    until(tab, "document.querySelector('.running').hidden")
    held = hold_corrections(tab)
    first, second = (card(tab, "a.png", number) for number in (1, 2))
    with tab.expect_request("**/corrections"):
        for one in (first, second):
            one.get_by_role("combobox").select_option("other")
    assert status_of(tab) == "2 corrections, keeping ..."
    with tab.expect_request("**/corrections"):
        held[0].fulfill(status=507, body="disk full")
    assert status_of(tab) == "1 correction, keeping ..."
    until(tab, "!document.querySelector('.fault').hidden")
    held[1].continue_()
    until(tab, "document.querySelector('.save-bar p').textContent.includes('kept')")
    assert status_of(tab) == "1 correction, kept"
    said = tab.locator(".fault").inner_text()
    assert said == "The correction of cell 1 of a.png was not kept: disk full"
    assert first.get_by_role("combobox").input_value() == "basophil"
    assert second.get_by_role("combobox").input_value() == "other"
    assert tab.locator(".by-hand:visible").count() == 1

    # Two answers about one cell, of which the last one is refused; and nobody leaves.
    second.locator(".open").focus()
    with tab.expect_request("**/corrections"):
        tab.keyboard.press("3")
        tab.keyboard.press("4")
    asked = []
    tab.once("dialog", lambda asks: (asked.append(asks.type), asks.dismiss()))
    tab.evaluate("() => { location.reload(); }")
    with tab.expect_request("**/corrections"):
        held[2].continue_()
    assert asked == ["beforeunload"]
    assert second.get_by_role("combobox").input_value() == "monocyte"
    held[3].fulfill(status=507, body="disk full")
    until(tab, "document.querySelector('.save-bar p').textContent.includes('kept')")
    assert second.get_by_role("combobox").input_value() == "lymphocyte"


def test_new_cells_are_offered_beside_an_open_one_and_lose_no_correction(serve, tab):
    tab.goto(serve(seconds=0.5).address)
    drop(tab, {"a.png": png(1, 2)})
    tab.locator(".cell").first.wait_for()
    until(tab, "document.querySelector('.running').hidden")
    drop(tab, {"b.png": png(3)})
    tab.locator(".cell .open").first.click()
    fresh = tab.get_by_role("button", name="show the new cells")
    fresh.wait_for()
    until(tab, "document.querySelector('.running').hidden")
    held = hold_corrections(tab)
    with tab.expect_request("**/corrections"):
        tab.keyboard.press("4")
    tab.get_by_role("button", name="close").click()
    fresh.click()
    assert tab.locator(".cell").count() == 2
    with tab.expect_navigation():
        held[0].continue_()
    assert tab.locator(".cell").count() == 3
    assert status_of(tab) == "1 correction, kept"


def test_the_field_is_enlarged_moved_and_shown_whole(serve, tab):
    server = serve()
    tab.goto(server.address)
    drop(tab, {"a.png": png(1, 2, 3, 4, 5)})
    tab.locator(".cell .open").nth(1).click()

    def scale():
        style = tab.locator(".field-view img").get_attribute("style")
        return float(style.split("scale(")[1].split(")")[0]), style

    tab.get_by_role("button", name="whole field").click()
    assert scale()[0] == 1
    tab.keyboard.press("+")
    large, before = scale()
    assert large == 1.5
    tab.keyboard.press("Shift+ArrowRight")
    assert scale()[1] != before
    heading = tab.get_by_role("dialog").get_by_role("heading").inner_text()
    tab.keyboard.press("ArrowRight")
    assert tab.get_by_role("dialog").get_by_role("heading").inner_text() != heading
    tab.mouse.move(400, 400)
    tab.mouse.wheel(0, -100)
    box = tab.locator(".field-view").bounding_box()
    inner = tab.locator(".field-view img").bounding_box()
    assert inner["width"] > box["width"]


def test_a_session_is_deleted_after_a_question(serve, tab):
    server = serve()
    tab.goto(server.address)
    drop(tab, {"a.png": png(1)})
    tab.locator(".cell").first.wait_for()
    tab.get_by_role("link", name="All sessions").click()
    tab.get_by_role("button", name="delete").click()
    tab.get_by_role("button", name="keep").click()
    assert tab.locator(".sessions tbody tr").count() == 1
    tab.locator("[data-delete]").click()
    tab.get_by_role("dialog").get_by_role("button", name="delete").click()
    tab.get_by_text("None yet.").wait_for()


def test_a_session_is_renamed(serve, tab):
    tab.goto(serve().address)
    drop(tab, {"a.png": png(1)})
    tab.locator(".cell").first.wait_for()
    tab.get_by_role("link", name="All sessions").click()
    tab.once("dialog", lambda question: question.accept("slide 12"))
    tab.get_by_role("button", name="rename").click()
    tab.get_by_role("link", name="slide 12").click()
    assert tab.get_by_role("heading", level=1).inner_text() == "slide 12"


def test_every_control_is_named_and_reached_by_the_keyboard(serve, tab, contrasts):
    server = serve()
    tab.goto(server.address)
    drop(tab, {"a.png": png(1, 2), "b.png": b"text"})
    tab.locator(".cell").first.wait_for()
    session = tab.url
    for address in (server.address, session):
        tab.goto(address)
        nameless = tab.evaluate(
            "() => [...document.querySelectorAll('button, a, input, select')].filter("
            "(e) => e.checkVisibility() && !(e.textContent.trim() || e.ariaLabel || "
            "e.labels?.length || e.querySelector('img[alt]'))).length"
        )
        assert nameless == 0
        wanted = tab.evaluate(
            "() => [...document.querySelectorAll('button, a[href], input, select, "
            "summary')].filter((e) => e.checkVisibility() && !e.disabled).length"
        )
        reached = set()
        for _ in range(wanted + 20):
            tab.keyboard.press("Tab")
            reached.add(
                tab.evaluate(
                    "() => { const e = document.activeElement; return e.matches("
                    "'button, a, input, select, summary') ? [...document"
                    ".querySelectorAll('*')].indexOf(e) : -1; }"
                )
            )
        assert len(reached - {-1}) == wanted
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            assert [pair for pair in contrasts(tab) if pair[0] < 4.5] == []
        tab.emulate_media(color_scheme="light")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """Return the source of axe-core, fetched by npm."""
    place = tmp_path_factory.mktemp("axe")
    if not shutil.which("npm"):
        pytest.skip("needs npm, which fetches axe-core")
    command = ["npm", "install", "--no-save", "--ignore-scripts", "axe-core@4"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot fetch axe-core: {done.stderr[-200:]}")
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.mark.slow
def test_axe_finds_no_fault(serve, tab, axe):
    server = serve()
    tab.goto(server.address)
    drop(tab, {"a.png": png(1, 2, 5), "b.png": b"text"})
    tab.locator(".cell").first.wait_for()
    session = tab.url

    def faults():
        tab.evaluate(axe)
        found = tab.evaluate("() => axe.run()")["violations"]
        return [(v["id"], [n["target"] for n in v["nodes"]]) for v in found]

    assert faults() == []
    tab.locator(".cell .open").first.click()
    assert faults() == []
    tab.goto(server.address)
    assert faults() == []
    tab.goto(f"{session}export/summary.html")
    assert faults() == []
