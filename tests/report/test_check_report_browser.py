"""A browser opens the page about a check: it fits, reads well and fetches nothing."""

from __future__ import annotations

import pytest

from leuko_mm.report.check_page import render_check_report

DESKTOP, PHONE = (1280, 900), (390, 844)
OPEN_ALL = "for (const d of document.querySelectorAll('details')) d.open = true"


@pytest.fixture(scope="module")
def file(check_data, tmp_path_factory):
    """Write the page."""
    file = tmp_path_factory.mktemp("check") / "check.html"
    file.write_text(render_check_report(check_data), encoding="utf-8")
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
    assert tab.locator(".specimens img").count() == 4
    assert tab.locator(".finding").count() == 3


def test_what_is_further_unfolds(tab):
    further = tab.get_by_text("further_1.png")
    assert further.is_hidden()
    tab.get_by_text("2 more", exact=True).click()
    assert further.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_word_stands_out_from_its_ground(tab, contrasts, scheme, size):
    tab.set_viewport_size(dict(width=size[0], height=size[1]))
    tab.emulate_media(color_scheme=scheme)
    tab.evaluate(OPEN_ALL)
    found = contrasts(tab)
    assert len(found) > 100
    assert [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, PHONE[0], DESKTOP[0]])
def test_nothing_scrolls_sideways(tab, width):
    tab.set_viewport_size(dict(width=width, height=844))
    tab.evaluate(OPEN_ALL)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # Tables may scroll in themselves, where a screen is narrower than a phone's.
    beyond = (
        "[...document.querySelectorAll('section, .specimens li')]"
        f".filter((e) => e.getBoundingClientRect().right > {width})"
    )
    assert tab.evaluate(f"{beyond}.map((e) => e.className || e.id)") == []
