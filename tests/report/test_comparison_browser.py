"""A browser opens the report of a comparison: it fits, reads well and fetches nothing.

Needs Debian's or another Chromium and the package playwright; skips without them.
"""

from __future__ import annotations

from urllib.parse import unquote, urlparse

import pytest
from generated_results import write_many

from leuko_mm.comparison import measurements
from leuko_mm.comparison.report import write_report

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Write the report of generated results."""
    results = tmp_path_factory.mktemp("report") / "results"
    write_many(results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "RESAMPLES", 50)
        write_report(results)
    return results / "report.html"


@pytest.fixture
def tab(visit, file):
    """Open the page."""
    return visit(file)


def test_every_plot_is_drawn_and_every_link_leads_to_a_file(tab):
    tab.wait_for_function("[...document.images].every((i) => i.naturalWidth > 0)")
    assert tab.locator("img.curve").count() >= 5
    links = tab.evaluate("[...document.links].map((link) => link.href)")
    files = [link for link in links if "#" not in link]
    assert len(files) > 100
    for link in set(files):
        with open(unquote(urlparse(link).path), "rb") as target:
            assert target.read(1)
    for figure in tab.locator("picture").all():
        beside = figure.locator("xpath=following-sibling::p[1]")
        assert beside.locator("a").count() >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_from_its_ground(tab, contrasts, scheme):
    tab.emulate_media(color_scheme=scheme)
    found = contrasts(tab)
    assert len(found) > 500
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_plots_follow_the_scheme(tab):
    shown = "(image) => image.currentSrc"
    light = tab.locator("img.curve").first.evaluate(shown)
    tab.emulate_media(color_scheme="dark")
    assert tab.locator("img.curve").first.evaluate(shown) != light


@pytest.mark.parametrize("width", [320, PHONE[0], DESKTOP[0]])
def test_nothing_scrolls_sideways_but_wide_tables(tab, width):
    tab.set_viewport_size(dict(width=width, height=844))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
