"""The tables of a bench say what was measured, what is missing, and what was met."""

from __future__ import annotations

import pytest

from leuko_mm.report.bench_table import bench_page, bench_table


def row(way, ms, **more) -> dict:
    usual = dict(
        job="predict",
        device="cpu",
        network="net",
        way=way,
        precision="float32",
        layout="contiguous",
        ms=ms,
        images_s=4.0,
        times_plain=2.5,
        times_peer=None,
        peak_mib=512.4,
        gmacs=12.34,
        conv_share=0.456,
        left_out=None,
    )
    return {**usual, **more}


@pytest.fixture
def found():
    return dict(
        env=dict(cpu="a processor", gpu=None, torch="2.13.0"),
        threads=2,
        clock="wall",
        load=dict(before=0.25, after=None),
        rounds=7,
        batch=dict(train=4, predict=1),
        size=dict(train=256, predict=512),
        targets=[
            dict(target="twice", measured=2.5, met=True),
            dict(target="thrice", measured=2.5, met=False),
            dict(target="no word given", measured=1.0, met=None),
        ],
        rows=[
            row("leuko", 250.0),
            row("openvino", None, left_out="openvino is not installed: pip"),
        ],
    )


def test_a_line_holds_every_figure():
    line = bench_table([row("leuko", 250.4)]).splitlines()[-1]
    assert line == (
        "| net | leuko | float32, contiguous | 250 | 4.00 | 2.50 | - | 512 | 12.3 "
        "| 46 % |"
    )


def test_short_times_keep_a_digit():
    assert "| 25.1 |" in bench_table([row("leuko", 25.06)])


def test_the_page_names_conditions_and_what_was_left_out(found):
    page = bench_page(found)
    assert (
        "a processor; no GPU; 2 thread(s); wall clock; torch 2.13.0; load 0.2 before"
        in page
    )
    assert "## Prediction, 1 image of 512x512, cpu" in page
    assert "Left out: net, openvino: openvino is not installed: pip" in page
    assert "| twice | 2.50 | met |" in page
    assert "| thrice | 2.50 | missed |" in page
    assert "| no word given | 1.00 | - |" in page


def test_without_targets_there_is_no_heading(found):
    assert "Targets" not in bench_page(dict(found, targets=[]))
