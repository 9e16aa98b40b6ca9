"""A browser opens the contact sheets: they fit, read well and fetch nothing."""

from __future__ import annotations

import pytest

from leuko_mm.report.contact_sheet import render_browse_page

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def file(browse_data, tmp_path_factory):
    """Write the page."""
    file = tmp_path_factory.mktemp("browse") / "browse.html"
    file.write_text(render_browse_page(browse_data), encoding="utf-8")
    return file


@pytest.fixture
def tab(browser, file):
    """Open the page; fail afterwards if it complained or asked for anything."""
    tab, complaints, requests = browser.new_page(), [], []
    tab.set_default_timeout(60_000)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.set_viewport_size(dict(width=DESKTOP[0], height=DESKTOP[1]))
    tab.goto(file.as_uri())
    yield tab
    asked = {url for url in requests if not url.startswith("data:")}
    tab.close()
    assert complaints == []
    assert asked == {file.as_uri()}


def test_pictures_are_there(tab):
    tab.evaluate("for (const i of document.images) i.loading = 'eager'")
    tab.wait_for_function("[...document.images].every((i) => i.naturalWidth > 0)")
    assert tab.locator("figure img").count() == 18


@pytest.mark.parametrize(("size", "columns"), [(DESKTOP, 7), (PHONE, 3)])
def test_cells_stand_in_rows_and_labels_beside_their_image(tab, size, columns):
    tab.set_viewport_size(dict(width=size[0], height=size[1]))
    boxes = [e.bounding_box() for e in tab.locator("#cells figure").all()]
    assert sum(box["y"] == boxes[0]["y"] for box in boxes) == columns
    plain, labels = (
        tab.locator("#mosaics figure").nth(1).locator("img").nth(i).bounding_box()
        for i in (0, 1)
    )
    assert plain["y"] == labels["y"]
    assert plain["width"] == pytest.approx(labels["width"], abs=1)
    assert plain["width"] > 140
    assert plain["height"] == pytest.approx(plain["width"], abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_word_stands_out_from_its_ground(tab, contrasts, scheme, size):
    tab.set_viewport_size(dict(width=size[0], height=size[1]))
    tab.emulate_media(color_scheme=scheme)
    found = contrasts(tab)
    assert len(found) > 50
    assert [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, PHONE[0], DESKTOP[0]])
def test_nothing_scrolls_sideways(tab, width):
    tab.set_viewport_size(dict(width=width, height=844))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    beyond = (
        "[...document.querySelectorAll('section, figure, figcaption')]"
        f".filter((e) => e.getBoundingClientRect().right > {width})"
    )
    assert tab.evaluate(f"{beyond}.map((e) => e.id || e.className)") == []
