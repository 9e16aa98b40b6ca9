"""The page about a check: its content, and that no text of it is taken for HTML."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from leuko_mm.report.check_page import (
    THUMBNAIL_SIDE,
    FindingPicture,
    render_check_report,
)


def test_findings_counts_and_stains_are_on_the_page(check_data):
    page = render_check_report(check_data)
    assert page.count('<article class="finding">') == 3
    assert "✗ error" in page
    assert "further_1.png" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert page.count('<tr><th scope="row">') == 3 + 14
    assert page.count("far from the other groups") == 1
    assert ">81 \N{MINUS SIGN}3 5<" in page  # L* a* b*
    assert ">2.0<" in page  # spread
    assert "2 more, nearer to the median" in page


def test_every_text_is_escaped_and_nothing_is_loaded(check_data, hostile):
    page = render_check_report(check_data)
    assert hostile not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []
    assert "default-src 'none'" in page


def test_a_clean_dataset_has_no_findings(check_data):
    page = render_check_report(replace(check_data, sections=(), stains=()))
    assert 'class="finding"' not in page
    assert 'id="stains"' not in page


@pytest.mark.parametrize("shape", [(1, 900), (900, 1), (30, 40)])
def test_thumbnails_keep_proportions_and_fit(check_data, shape):
    image = np.full((*shape, 3), 200, np.uint8)
    shown = FindingPicture("s", image, np.ones(shape, np.uint8))
    section = replace(check_data.sections[1], shown=(("file", "words", (shown,)),))
    page = render_check_report(replace(check_data, sections=(section,)))
    ((width, height),) = re.findall(r'<img [^>]*width="(\d+)" height="(\d+)"', page)
    sides = [max(1, round(side * THUMBNAIL_SIDE / max(shape))) for side in shape]
    assert [int(height), int(width)] == sides
