"""The page about a check: what it shows, and that no text of it is taken for HTML."""

from __future__ import annotations

import re

import numpy as np
import pytest

from leuko_mm.report.check_page import (
    THUMBNAIL_SIDE,
    Specimen,
    colour_cell,
    render_check_report,
)


def test_findings_counts_and_stains_are_on_the_page(check_data):
    page = render_check_report(check_data)
    assert page.count('<article class="finding">') == 3
    assert "✗ error" in page
    assert "2 more" in page
    assert "further_1.png" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert page.count('<tr><th scope="row">') == 3 + 14
    assert "far from the other groups" in page
    assert "1 more, nearer to the median" not in page
    assert "2 more, nearer to the median" in page


def test_every_text_is_escaped(check_data, hostile):
    page = render_check_report(check_data)
    assert hostile not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_page_loads_nothing(check_data):
    page = render_check_report(check_data)
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []
    assert "default-src 'none'" in page


def test_a_clean_dataset_says_so(check_data):
    from dataclasses import replace

    clean = replace(check_data, sections=(), stains=())
    page = render_check_report(clean)
    assert "everything that was looked for is as it should be" in page
    assert 'id="stains"' not in page


@pytest.mark.parametrize("shape", [(1, 900), (900, 1), (30, 40)])
def test_thumbnails_keep_proportions_and_fit(check_data, shape):
    from dataclasses import replace

    image = np.full((*shape, 3), 200, np.uint8)
    labels = np.ones(shape, np.uint8)
    section = check_data.sections[0]
    found = replace(section.shown[0], pictures=(Specimen("s", image, labels),))
    section = replace(section, shown=(found,), further=())
    page = render_check_report(replace(check_data, sections=(section,)))
    ((width, height),) = re.findall(r'<img [^>]*width="(\d+)" height="(\d+)"', page)
    assert max(int(width), int(height)) == THUMBNAIL_SIDE


def test_colours_are_told_in_round_figures():
    made = colour_cell((81.6, -3.4, 5), (1, 2, 3), spread=2.04, distance=9, far=False)
    assert made.lab == "82 \N{MINUS SIGN}3 5"
    assert (made.spread, made.distance, made.far) == ("2.0", "9.0", False)
