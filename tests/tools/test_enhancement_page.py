"""The page on enhancement: every number of the data, and what people wrote."""

import pytest
from tool_module import load_tool

TOOL = load_tool("paper/enhancement_page")


def method(spread, separability=2.0, **more):
    region = dict(slides=3, spread=spread)
    part = dict(
        region,
        between_slides=spread / 2,
        between_classes=separability * spread / 2,
        separability=separability,
    )
    return {
        "failed": 0,
        "background": region,
        "red cells": region,
        "leukocyte": part,
        "border": 20.0,
        "grain": 4.0,
        "border_to_grain": 5.0,
        **more,
    }


@pytest.fixture
def evidence():
    methods = {"raw": method(10.0), "hsv": method(7.5, 1.0), "Macenko": method(8.0)}
    methods["Macenko"]["failed"] = 3
    return dict(
        about=dict(command="python tools/x.py --probe", date="2026-01-02"),
        colour=dict(dataset="bcisc", slides=50, images=268, methods=methods),
        probe={"raw": dict(cells=200, accuracy={"0.01": 92.94})},
    )


RUN = dict(
    variant="rgb",
    enhance=dict(type="leuko_mm.AHERetinex", reading="rgb"),
    iterations=450,
    metrics=dict(mIoU=80.123, mIoU_fg=75.0, pixel_accuracy=97.0),
)


def page(evidence, runs=(), **more):
    return TOOL.enhancement_page(
        evidence, list(runs), picture="images/e.jpg", json_name="r.json", **more
    )


def test_every_figure_stands_in_the_page(evidence):
    text = page(evidence, [RUN])
    assert "| raw | 10.0 | 10.0 | 5.0 | 2.00 | 20.0 | 4.0 | 5.0 |" in text
    assert "| hsv | 7.5 | 7.5 | 3.8 | 1.00 |" in text
    assert "Macenko could not do 3 of 268 images" in text
    assert "| raw | 92.9 |" in text
    assert "One cell is 0.5 points" in text
    assert "| rgb | AHERetinex, reading rgb | 450 | 80.12 | 75.00 | 97.00 |" in text
    assert "python tools/x.py --probe" in text
    assert "Not measured" in text


def test_what_people_concluded_survives_the_next_making(evidence):
    once = page(evidence, verdict="`rgb` helps.\n\nSay why.")
    again = page(evidence, verdict=TOOL.kept_verdict(once))
    assert again == once
    assert "`rgb` helps.\n\nSay why." in once
    assert TOOL.kept_verdict(page(evidence)) == ""
    assert TOOL.VERDICT[0] in page(evidence)


def test_findings_compare_with_the_image_as_taken(evidence):
    (said,) = TOOL.colour_findings(evidence["colour"]["methods"])
    assert "`hsv`" in said
    assert "background -25 %" in said
    assert "separability of classes -50 %" in said
