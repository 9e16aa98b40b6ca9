"""A browser opens the page about a run: it works, fits, reads well and fetches nothing.

Needs Debian's or another Chromium and the package playwright; skips without them.
"""

from __future__ import annotations

import pytest

from leuko_mm.report.run_page import render_run_report

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    """Write the page."""
    file = tmp_path_factory.mktemp("run") / "report.html"
    file.write_text(render_run_report(page), encoding="utf-8")
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


def stems(tab):
    """Return the names of the cells that are shown, in their order."""
    return tab.locator(".card:visible h3").all_inner_texts()


def test_pictures_are_there(tab):
    tab.evaluate("for (const i of document.images) i.loading = 'eager'")
    tab.wait_for_function("[...document.images].every((i) => i.naturalWidth > 0)")
    assert tab.locator(".card img").count() == 6 * 4


def test_filters_show_one_class(tab):
    assert len(stems(tab)) == 6
    tab.get_by_role("button", name="eosinophil", exact=True).click()
    assert stems(tab) == ["cell_1", "cell_4"]
    assert tab.get_by_role("status").inner_text() == "2 of 6 shown"
    pressed = tab.locator("button[data-class][aria-pressed=true]").all_inner_texts()
    assert pressed == ["eosinophil"]
    tab.get_by_role("button", name="all", exact=True).click()
    assert len(stems(tab)) == 6


def test_the_order_turns_and_turns_back(tab):
    tab.get_by_role("button", name="best first").click()
    assert stems(tab) == [f"cell_{rank}" for rank in (6, 5, 4, 3, 2, 1)]
    tab.get_by_role("button", name="worst first").click()
    assert stems(tab) == [f"cell_{rank}" for rank in (1, 2, 3, 4, 5, 6)]


def test_a_cell_enlarges_and_the_arrows_turn_pages(tab):
    dialog = tab.get_by_role("dialog")
    tab.locator(".card").nth(1).click()
    assert dialog.get_by_role("heading").inner_text() == "cell_2"
    assert dialog.locator("img").first.bounding_box()["width"] > 200
    assert dialog.locator(".breakdown").is_visible()
    tab.keyboard.press("ArrowRight")
    assert dialog.get_by_role("heading").inner_text() == "cell_3"
    dialog.get_by_role("button", name="previous").click()
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == "cell_6"
    dialog.get_by_role("button", name="close").click()
    assert dialog.count() == 0
    tab.get_by_role("button", name="cell_5").press("Enter")
    assert dialog.get_by_role("heading").inner_text() == "cell_5"
    tab.keyboard.press("Escape")
    assert dialog.count() == 0


def test_enlarged_cells_turn_within_the_filter(tab):
    tab.get_by_role("button", name="basophil", exact=True).click()
    tab.get_by_role("button", name="cell_2").click()
    tab.keyboard.press("ArrowRight")
    assert tab.get_by_role("dialog").get_by_role("heading").inner_text() == "cell_6"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_word_stands_out_from_its_ground(tab, contrasts, scheme, size):
    tab.set_viewport_size(dict(width=size[0], height=size[1]))
    tab.emulate_media(color_scheme=scheme)
    tab.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    found = contrasts(tab)
    assert len(found) > 100
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_dark_mode_is_dark_and_paper_is_white(tab):
    def brightness():
        colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)"
        return sum(map(int, tab.evaluate(colour))) / 3

    light = tab.locator(".curve").evaluate("(image) => image.currentSrc")
    assert brightness() > 230
    tab.emulate_media(color_scheme="dark")
    assert brightness() < 40
    # The browser chooses another source after the scheme has changed, not with it.
    source = "(light) => document.querySelector('.curve').currentSrc !== light"
    tab.wait_for_function(source, arg=light)
    tab.emulate_media(color_scheme="dark", media="print")
    assert brightness() == 255
    assert tab.locator(".controls").is_hidden()


@pytest.mark.parametrize("width", [320, PHONE[0], DESKTOP[0]])
def test_nothing_scrolls_sideways(tab, width):
    tab.set_viewport_size(dict(width=width, height=844))
    tab.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # Tables may scroll in themselves, where a screen is narrower than a phone's.
    inner = (
        f"[...document.querySelectorAll('section, .card{', table' * (width > 320)}')]"
    )
    beyond = f"{inner}.filter((e) => e.getBoundingClientRect().right > {width})"
    assert tab.evaluate(f"{beyond}.map((e) => e.className || e.id)") == []


def test_without_a_script_everything_is_shown(browser, file, tmp_path):
    text = file.read_text(encoding="utf-8")
    start, end = text.index("<script>"), text.index("</script>")
    bare = tmp_path / "bare.html"
    bare.write_text(text[:start] + text[end + len("</script>") :], encoding="utf-8")
    tab = browser.new_page()
    tab.goto(bare.as_uri())
    assert stems(tab) == [f"cell_{rank}" for rank in (1, 2, 3, 4, 5, 6)]
    assert tab.locator(".controls").is_hidden()
    assert tab.locator("button:visible").count() == 0
    tab.close()
