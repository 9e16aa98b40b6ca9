"""Targets are judged by the rows."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.bench_targets import targets


def row(job, network, way, ms, *, plain=None, peer=None, device="cpu") -> dict:
    ratios = dict(times_plain=plain, times_peer=peer)
    return dict(job=job, network=network, way=way, ms=ms, device=device, **ratios)


def judged(*rows) -> dict[str, tuple]:
    return {one["target"]: (one["measured"], one["met"]) for one in targets(rows)}


@pytest.mark.parametrize(("ratio", "met"), [(4.99, False), (5.0, True)])
def test_a_ratio_is_held_against_its_bound(ratio, met):
    found = judged(row("train", "cbam_unet_compact", "leuko", 10, plain=ratio))
    words = "train cbam_unet_compact, leuko: 5x the plain float32 loop"
    assert found == {words: (ratio, met)}


def test_the_fastest_way_counts_and_not_a_frozen_phase():
    found = judged(
        row("train", "cbam_unet", "leuko", 10, plain=3),
        row("train", "cbam_unet", "leuko frozen", 9, plain=4),
        row("predict", "cbam_unet", "mmseg", 1, plain=1, peer=9),
        row("predict", "cbam_unet", "leuko", 10, plain=2, peer=1),
        row("predict", "cbam_unet", "openvino", 5, plain=4, peer=2),
    )
    assert found["predict cbam_unet, openvino: 2.7x the plain float32 loop"] == (
        4,
        True,
    )
    assert found["predict cbam_unet, openvino: 1.2x the peer"] == (2, True)
    assert found["train cbam_unet, leuko: 2.3x the plain float32 loop"] == (3, True)


@pytest.mark.parametrize(
    ("way", "words", "ms", "met"),
    [
        ("leuko frozen", "frozen: 1.25x", 80, True),
        ("leuko frozen", "frozen: 1.25x", 81, False),
        ("leuko frozen, maps kept", "frozen, maps kept: 1.45x", 68, True),
        ("leuko frozen, maps kept", "frozen, maps kept: 1.45x", 70, False),
    ],
)
def test_the_frozen_phase_is_held_against_the_thawed_one(way, words, ms, met):
    found = judged(
        row("train", "cbam_unet", "leuko", 100),
        row("train", "cbam_unet", way, ms),
    )
    words = f"train cbam_unet, encoder {words} thawed"
    assert found == {words: (round(100 / ms, 2), met)}


def test_cbam_is_held_to_its_cost_where_it_is_fastest():
    found = judged(
        row("predict", "cbam_unet", "leuko", 120),
        row("predict", "unet_vgg16", "leuko", 100),
        row("predict", "cbam_unet", "openvino", 52),
        row("predict", "unet_vgg16", "openvino", 50),
    )
    assert found == {
        "predict cbam_unet, leuko: CBAM costs at most 5 %": (20, None),
        "predict cbam_unet, openvino: CBAM costs at most 5 %": (4, True),
    }


def test_rows_of_another_device_and_those_left_out_judge_nothing():
    assert (
        targets([row("train", "cbam_unet", "leuko", 1, plain=9, device="cuda")]) == []
    )
    assert targets([row("train", "cbam_unet", "leuko", None)]) == []
