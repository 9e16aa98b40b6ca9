"""A browser opens the pages: they work, fit, read well and fetch nothing.

Needs Debian's or another Chromium and the package playwright; skips without them.
"""

from __future__ import annotations

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)
# Page -> elements that must fit, and the least number of its texts.
PAGES = {
    "run": ("section, .card", 100),
    "check": ("section, .specimens li", 50),
    "browse": ("section, figure, figcaption", 50),
    "predict": ("section, .cell, .fields li", 50),
}


@pytest.fixture(scope="module")
def files(pages, tmp_path_factory):
    """Write the pages; return their files by name."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


def unfold(tab):
    tab.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")


@pytest.mark.parametrize(
    ("name", "pictures", "count"),
    [
        ("run", ".card img", 6 * 4),
        ("check", ".specimens img", 4),
        ("browse", "figure img", 12 + 3 * 2),
        ("predict", ".cell img, .fields img", 3),
    ],
)
def test_every_picture_is_shown(visit, files, name, pictures, count):
    tab = visit(files[name])
    tab.evaluate("for (const i of document.images) i.loading = 'eager'")
    images = "[...document.querySelectorAll('main section img[src]')]"
    tab.wait_for_function(f"{images}.every((i) => i.naturalWidth > 0)")
    assert tab.locator(pictures).count() == count


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", PAGES)
def test_every_text_has_contrast(visit, files, contrasts, name, size, scheme):
    tab = visit(files[name])
    tab.set_viewport_size(dict(width=size[0], height=size[1]))
    tab.emulate_media(color_scheme=scheme)
    unfold(tab)
    found = contrasts(tab)
    assert len(found) > PAGES[name][1]
    assert [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, PHONE[0], DESKTOP[0]])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_scrolls_sideways(visit, files, name, width):
    tab = visit(files[name])
    tab.set_viewport_size(dict(width=width, height=844))
    unfold(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # Tables may scroll inside, where a screen is narrower than a phone's.
    inner = PAGES[name][0] + (", table" if name == "run" and width > 320 else "")
    beyond = (
        f"[...document.querySelectorAll('{inner}')]"
        f".filter((e) => e.getBoundingClientRect().right > {width})"
    )
    assert tab.evaluate(f"{beyond}.map((e) => e.className || e.id)") == []


@pytest.fixture
def run(visit, files):
    """Open the page about a run."""
    return visit(files["run"])


def stems(tab):
    """Return the names of the cells that are shown, in their order."""
    return tab.locator(".card:visible h3").all_inner_texts()


def test_filters_show_one_class(run):
    assert len(stems(run)) == 6
    run.get_by_role("button", name="eosinophil", exact=True).click()
    assert stems(run) == ["cell_1", "cell_4"]
    assert run.get_by_role("status").inner_text() == "2 of 6 shown"
    pressed = run.locator("button[data-class][aria-pressed=true]").all_inner_texts()
    assert pressed == ["eosinophil"]
    run.get_by_role("button", name="all", exact=True).click()
    assert len(stems(run)) == 6


def test_a_cell_enlarges_and_arrow_keys_show_the_next(run):
    dialog = run.get_by_role("dialog")
    run.locator(".card").nth(1).click()
    assert dialog.get_by_role("heading").inner_text() == "cell_2"
    assert dialog.locator("img").first.bounding_box()["width"] > 200
    assert dialog.locator(".breakdown").is_visible()
    run.keyboard.press("ArrowRight")
    assert dialog.get_by_role("heading").inner_text() == "cell_3"
    dialog.get_by_role("button", name="previous").click()
    run.keyboard.press("ArrowLeft")
    run.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == "cell_6"
    dialog.get_by_role("button", name="close").click()
    assert dialog.count() == 0
    run.get_by_role("button", name="cell_5").press("Enter")
    assert dialog.get_by_role("heading").inner_text() == "cell_5"
    run.keyboard.press("Escape")
    assert dialog.count() == 0


def test_arrow_keys_stay_within_the_filter(run):
    run.get_by_role("button", name="basophil", exact=True).click()
    run.get_by_role("button", name="cell_2").click()
    run.keyboard.press("ArrowRight")
    assert run.get_by_role("dialog").get_by_role("heading").inner_text() == "cell_6"


def test_dark_mode_is_dark_and_paper_is_white(run):
    def brightness():
        colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)"
        return sum(map(int, run.evaluate(colour))) / 3

    light = run.locator(".curve").evaluate("(image) => image.currentSrc")
    assert brightness() > 230
    run.emulate_media(color_scheme="dark")
    assert brightness() < 40
    # The browser chooses another source after the scheme has changed, not with it.
    source = "(light) => document.querySelector('.curve').currentSrc !== light"
    run.wait_for_function(source, arg=light)
    run.emulate_media(color_scheme="dark", media="print")
    assert brightness() == 255
    assert run.locator(".controls").is_hidden()


@pytest.mark.parametrize(
    ("name", "cells", "count"), [("run", ".card", 6), ("predict", ".cell", 2)]
)
def test_without_a_script_everything_is_shown(
    visit, files, tmp_path, name, cells, count
):
    text = files[name].read_text(encoding="utf-8")
    start, end = text.index("<script>"), text.rindex("</script>")
    bare = tmp_path / "bare.html"
    bare.write_text(text[:start] + text[end + len("</script>") :], encoding="utf-8")
    tab = visit(bare)
    assert tab.locator(f"{cells}:visible").count() == count
    assert tab.locator("button:visible").count() == 0
    tab.emulate_media(media="print")
    assert tab.locator("nav").is_hidden()
