"""The page about a prediction: nothing is injected, and it stays small."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from leuko_mm.classes import CLASSES
from leuko_mm.report.predict_page import (
    CountedClass,
    FoundCell,
    FoundField,
    PredictReport,
    doubtful_first,
    render_predict_report,
)
from leuko_mm.report.run_page import ClassLabel

LABELS = tuple(ClassLabel(c.name, c.aliases[0], c.colour) for c in CLASSES)


def cell(identity, kind, sure, *, pictured=True):
    noise = np.random.default_rng(identity)
    picture = noise.integers(0, 255, (96, 96, 3), dtype=np.uint8) if pictured else None
    return FoundCell(
        id=identity,
        class_id=kind,
        confidence=sure,
        probabilities=(0.0, sure, 1 - sure, 0.0, 0.0, 0.0),
        box=(1, 2, 30, 40),
        area=700,
        touches_border=identity == 2,
        runs="61X13mN000`0",
        thumbnail=picture,
    )


@pytest.fixture
def report(hostile):
    cells = (cell(1, 1, 0.9), cell(2, 1, 0.4), cell(3, 5, 0.7, pictured=False))
    picture = np.full((60, 80, 3), 200, np.uint8)
    field = FoundField(
        name=f"{hostile}.png",
        file_name=f"{hostile}.png",
        width=80,
        height=60,
        overlay=f"images/{hostile}.png/overlay.png",
        scale="as given",
        cells=cells,
        picture=picture,
    )
    return PredictReport(
        name=f"smears {hostile}",
        summary="3 cells in 2 images.",
        classes=LABELS,
        differential=tuple(
            CountedClass(label, 1, 20.0, 3.6, 62.4) for label in LABELS[1:]
        ),
        fields=(field, dataclasses.replace(field, cells=(), picture=None)),
        failed=((f"{hostile}.tif", f"empty {hostile}"),),
        facts=(("checkpoint", hostile),),
        left_out=(f"2 of 3 {hostile}",),
        command=f"leuko prepare folders '{hostile}' corrections.json",
        version="1",
        closing="For research.",
    )


def test_nothing_is_injected(report):
    page = render_predict_report(report)
    assert "<script>alert" not in page
    assert page.count("<script") == 2
    assert "alert('x')</script>" not in page


def test_the_content_is_what_was_given(report, hostile):
    page = render_predict_report(report)
    text = re.search(r'id="content">(.*?)</script>', page, flags=re.DOTALL)[1]
    content = json.loads(text)
    assert content["images"][0]["file_name"] == f"{hostile}.png"
    assert [c["id"] for c in content["images"][0]["cells"]] == [1, 2, 3]
    assert content["classes"] == [c.name for c in CLASSES]


def test_the_most_doubtful_come_first_and_hidden_ones_are_counted(report):
    page = render_predict_report(report)
    order = re.findall(r'<li class="cell" data-field="0" data-cell="(\d)">', page)
    assert order == ["2", "1"]
    assert "1, 0 shown" in page


def test_hundreds_of_cells_stay_a_few_megabytes(report):
    cells = tuple(cell(i, 1 + i % 5, 0.5) for i in range(600))
    field = dataclasses.replace(report.fields[0], cells=cells)
    page = render_predict_report(dataclasses.replace(report, fields=(field,)))
    # Noise is the worst that a thumbnail can show.
    assert len(page) < 12e6


def test_a_rare_class_is_shown_among_many():
    cells = [(0.1, 5)] * 100 + [(0.99, 1)] * 3
    chosen = doubtful_first(cells, 10)
    assert len(chosen) == 10
    assert {100, 101, 102} <= chosen
