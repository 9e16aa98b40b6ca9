"""A run's page as plain data, with names that would break a careless page."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.classes import CLASSES
from leuko_mm.report.run_report import (
    CellCard,
    ClassLabel,
    ClassRow,
    FactGroup,
    FileLink,
    Headline,
    LossHistory,
    MeanRow,
    PixelRow,
    RunReport,
    SettingRow,
)

EVIL = "<script>alert('x')</script>\"&"
KEYS = ("precision", "recall", "f1", "iou", "ovr_accuracy")


def card(rank, truth, majority, labels, **more):
    """Return a cell with pictures, drawn as a disc of its class."""
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 30) ** 2 < 400
    image = np.full((64, 64, 3), 214, np.uint8)
    image[disc] = (130, 90, 160)
    given = dict(
        stem=f"cell_{rank}",
        group=f"slide {rank % 3}",
        rank=rank,
        chosen_as="worst" if rank < 4 else "best",
        dice=12.5 * rank,
        truth=truth,
        majority=majority,
        pixels=(PixelRow(labels[truth], 1200, 1100, 1000),),
        image=image,
        enhanced=255 - image,
        true_labels=np.where(disc, truth, 0),
        predicted_labels=np.where(disc & (rows > 20), majority, 0),
    )
    return CellCard(**{**given, **more})


@pytest.fixture
def hostile():
    """Return a name that ends elements, attributes and scripts."""
    return EVIL


@pytest.fixture(scope="session")
def page():
    """Return the data of a run's page: six cells, every section filled."""
    labels = tuple(ClassLabel(c.name, c.aliases[0], c.colour) for c in CLASSES)
    scores = dict(zip(KEYS, (91.2345, 88.8, 90.0, 81.5, 99.25), strict=True))
    confusion = np.diag([90000, 5100, 4800, 5200, 4900, 5000])
    confusion[2, 5], confusion[4] = 1300, 0
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * confusion, totals, where=totals > 0, out=confusion * 0.0)
    percent = [list(row) for row in shares.tolist()]
    percent[4] = [None] * len(labels)  # no true monocyte
    truths = [(2, 5), (1, 0), (3, 3), (2, 2), (5, 5), (1, 1)]
    return RunReport(
        name=f"run {EVIL}",
        summary="cbam_unet, trained on the synthetic smear: 2 iterations in 3 s.",
        headlines=(
            Headline("mean IoU", 81.5049, "all classes"),
            Headline("mean F1", None, "all classes"),
        ),
        classes=labels,
        rows=(
            ClassRow(labels[0], scores, None, None),
            *(ClassRow(label, scores, 10, 9) for label in labels[1:4]),
            ClassRow(labels[4], dict.fromkeys(KEYS), 0, 0),
            ClassRow(labels[5], {**scores, "recall": float("nan")}, 10, 9),
        ),
        means=(MeanRow("mean", scores), MeanRow("no background", {"iou": 70.0})),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confusion_percent=tuple(tuple(row) for row in percent),
        loss=LossHistory((10, 20, 30), (2.5, 1.25, 0.75), {15: "encoder thawed"}),
        cells=tuple(
            card(rank, *pair, labels) for rank, pair in enumerate(truths, start=1)
        ),
        cell_count=50,
        facts=(
            FactGroup("Data", (("dataset", EVIL, None), ("GPU", None, None))),
            FactGroup("Groups", (("test groups", "9", "a_1, a_2"),)),
        ),
        settings=(SettingRow("model.depth", "16", EVIL), SettingRow("amp", None, "1")),
        protocol_settings=(SettingRow("train_cfg.max_iters", "2250", "450"),),
        files=(FileLink("overlays/01 #2?.png", "a picture"),),
        closing="For research.",
    )
