"""The paper's figures, drawn from plain pictures and labels, and their table."""

from __future__ import annotations

import numpy as np
import pytest
from tool_module import load_tool

draw = load_tool("paper/figure_drawing")
GREY = np.full((32, 32, 3), 120, np.uint8)
ORANGE = np.full((32, 32, 3), (250, 140, 20), np.uint8)
LABELS = np.zeros((32, 32), np.uint8)
LABELS[8:24, 8:24] = 1
OTHER = np.where(LABELS == 1, 4, 0).astype(np.uint8)


@pytest.fixture
def mosaic():
    return draw.ShownMosaic(GREY, ORANGE, LABELS, (OTHER,))


def share(picture, colour):
    return float((picture == colour).all(axis=2).mean())


def test_the_background_is_cut_off():
    cut = draw.cut_out(GREY, LABELS)
    assert cut[LABELS == 0].max() == 0
    assert (cut[LABELS > 0] == 120).all()


def test_methods_show_masks_and_cut_cells(mosaic):
    picture = draw.methods_figure([mosaic, mosaic], ["mine"])
    assert share(picture, (255, 0, 0)) > 0.01  # the truth
    assert share(picture, (0, 0, 255)) > 0.01  # the prediction
    assert share(picture, (120, 120, 120)) > 0.05  # the image and what is cut out
    alone = draw.methods_figure([draw.ShownMosaic(GREY, ORANGE, LABELS)], [])
    assert alone.shape[1] < picture.shape[1]


def test_the_ablation_is_blended_over_the_image(mosaic):
    picture = draw.ablation_figure([mosaic], ["mine"])
    mixed = np.rint(0.55 * 120 + 0.45 * np.array([0, 0, 255])).astype(int)
    assert share(picture, tuple(mixed)) > 0.005


def test_counts_show_what_a_method_made_of_them(mosaic):
    counted = draw.counts_figure({"4 cells": [mosaic, mosaic]}, "mine")
    bare = draw.counts_figure(
        {"4 cells": [draw.ShownMosaic(GREY, ORANGE, LABELS)]}, None
    )
    assert counted.shape[1] > bare.shape[1]


RED = np.full((10, 10, 3), (255, 0, 0), np.uint8)


def reds(sheet):
    return int((sheet == (255, 0, 0)).all(axis=2).sum())


def test_every_picture_is_there_at_its_size():
    sheet = draw.figure_sheet([[RED, RED], [RED, None]], ["a", "b"], tile=40)
    assert reds(sheet) == 3 * 40 * 40


def test_proportions_are_kept():
    wide = np.full((10, 40, 3), (255, 0, 0), np.uint8)
    assert reds(draw.figure_sheet([[wide]], [""], tile=40)) == 40 * 10
