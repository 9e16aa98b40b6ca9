"""The page about a prediction: nothing is injected, and it stays small."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.report.predict_page import doubtful_first, render_predict_report


@pytest.fixture(scope="module")
def page(predict_data):
    return render_predict_report(predict_data)


def test_nothing_is_injected(page):
    assert "<script>alert" not in page
    assert page.count("<script") == 2
    assert "alert('x')</script>" not in page


def test_the_content_is_what_was_given(page, hostile):
    text = re.search(r'id="content">(.*?)</script>', page, flags=re.DOTALL)[1]
    content = json.loads(text)
    assert content["images"][0]["file_name"] == f"{hostile}.png"
    assert [c["id"] for c in content["images"][0]["cells"]] == [1, 2, 3]
    assert content["classes"] == list(CLASS_NAMES)


def test_the_most_doubtful_come_first_and_hidden_ones_are_counted(page):
    order = re.findall(r'<li class="cell" data-field="0" data-cell="(\d)">', page)
    assert order == ["2", "1"]
    assert "1, 0 shown" in page


def test_hundreds_of_cells_stay_a_few_megabytes(predict_data):
    field = predict_data.fields[0]
    # Noise is the worst that a thumbnail can show.
    noise = np.random.default_rng(0).integers(0, 255, (600, 96, 96, 3), dtype=np.uint8)
    cells = tuple(
        replace(field.cells[0], id=i, class_id=1 + i % 5, thumbnail=thumbnail)
        for i, thumbnail in enumerate(noise)
    )
    many = replace(predict_data, fields=(replace(field, cells=cells),))
    assert len(render_predict_report(many)) < 12e6


def test_a_rare_class_is_shown_among_many():
    chosen = doubtful_first([(0.1, 5)] * 100 + [(0.99, 1)] * 3, 10)
    assert len(chosen) == 10
    assert {100, 101, 102} <= chosen
