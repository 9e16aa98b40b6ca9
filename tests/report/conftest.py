"""Content of every page, with names that would break a careless one, and a browser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leuko_mm.check import (
    CheckReport,
    FindingPicture,
    FindingSection,
    render_check_report,
)
from leuko_mm.classes import CLASSES
from leuko_mm.report.contact_sheet import BrowsePage, Figure, Sheet, render_browse_page
from leuko_mm.report.predict_page import (
    CountedClass,
    FoundCell,
    FoundField,
    PredictReport,
    render_predict_report,
)
from leuko_mm.report.run_page import (
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
    render_run_report,
)

EVIL = "<script>alert('x')</script>\"&"
DESKTOP, PHONE = (1280, 900), (390, 844)
KEYS = ("precision", "recall", "f1", "iou", "ovr_accuracy")
LABELS = tuple(ClassLabel(c.name, c.aliases[0], c.colour) for c in CLASSES)


def card(rank, truth, majority):
    """Return a cell with pictures, drawn as a disc of its class."""
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 30) ** 2 < 400
    image = np.full((64, 64, 3), 214, np.uint8)
    image[disc] = (130, 90, 160)
    return CellCard(
        stem=f"cell_{rank}",
        group=f"slide {rank % 3}",
        rank=rank,
        chosen_as="worst" if rank < 4 else "best",
        dice=12.5 * rank,
        truth=truth,
        majority=majority,
        pixels=(PixelRow(LABELS[truth], 1200, 1100, 1000),),
        image=image,
        enhanced=255 - image,
        true_labels=np.where(disc, truth, 0),
        predicted_labels=np.where(disc & (rows > 20), majority, 0),
    )


@pytest.fixture(scope="session")
def hostile():
    """Return a name that ends elements, attributes and scripts."""
    return EVIL


@pytest.fixture(scope="session")
def page():
    """Return the data of a run's page: six cells, every section filled."""
    scores = dict(zip(KEYS, (91.2345, 88.8, 90.0, 81.5, 99.25), strict=True))
    confusion = np.diag([90000, 5100, 4800, 5200, 4900, 5000])
    confusion[2, 5], confusion[4] = 1300, 0
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * confusion, totals, where=totals > 0, out=confusion * 0.0)
    percent = [list(row) for row in shares.tolist()]
    percent[4] = [None] * len(LABELS)  # no true monocyte
    truths = [(2, 5), (1, 0), (3, 3), (2, 2), (5, 5), (1, 1)]
    return RunReport(
        name=f"run {EVIL}",
        summary="cbam_unet, trained on the synthetic smear: 2 iterations in 3 s.",
        headlines=(
            Headline("mean IoU", 81.5049, "all classes"),
            Headline("mean F1", None, "all classes"),
        ),
        classes=LABELS,
        rows=(
            ClassRow(LABELS[0], scores, None, None),
            *(ClassRow(label, scores, 10, 9) for label in LABELS[1:4]),
            ClassRow(LABELS[4], dict.fromkeys(KEYS), 0, 0),
            ClassRow(LABELS[5], {**scores, "recall": float("nan")}, 10, 9),
        ),
        means=(MeanRow("mean", scores), MeanRow("no background", {"iou": 70.0})),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confusion_percent=tuple(tuple(row) for row in percent),
        loss=LossHistory((10, 20, 30), (2.5, 1.25, 0.75), {15: "encoder thawed"}),
        cells=tuple(card(rank, *pair) for rank, pair in enumerate(truths, start=1)),
        cell_count=50,
        facts=(
            FactGroup("Data", (("dataset", EVIL, None), ("GPU", None, None))),
            FactGroup("Groups", (("test groups", "9", "a_1, a_2"),)),
        ),
        files=(FileLink("overlays/01 #2?.png", "a picture"),),
        closing="For research.",
    )


@pytest.fixture(scope="session")
def check_data():
    """Return the data of a check's page: three kinds of findings, 14 groups."""
    image = np.full((64, 48, 3), 214, np.uint8)
    mask = np.zeros((64, 48), np.uint8)
    mask[20:40, 10:30] = 2
    pictures = FindingPicture("cell_1", image, mask), FindingPicture("cell_2", image)
    pair = (f"splits/{EVIL}.csv", f"cell_1 shows {EVIL}", pictures)
    lone = ("masks/a_very_long_name_of_a_file.png", "is missing", ())
    further = tuple((f"further_{i}.png", EVIL) for i in range(2))
    return CheckReport(
        name=f"smears {EVIL}",
        summary="40 cells in 14 groups, 1 split.",
        tally={"error": 3, "warning": 1, "note": 2},
        classes=LABELS,
        sections=(
            FindingSection("error", "copies", f"remove {EVIL}", (pair,), further),
            FindingSection("warning", "missing files", "put them back", (lone,)),
            FindingSection("note", "cut cells", "nothing", (pair, lone)),
        ),
        counts=(
            ("", "all", (8, 8, 8, 8, 8)),
            ("fold1", "train", (4, 4, 4, 4, 4)),
            (f"paper_mosaics{EVIL}", "test", (4, 4, 0, 4, 4)),
        ),
        closing="The same again: leuko check smears",
    )


@pytest.fixture(scope="session")
def predict_data():
    """Return the data of a prediction's page: three cells, one without a picture."""

    def cell(number, class_id, confidence):
        noise = np.random.default_rng(number)
        thumbnail = noise.integers(0, 255, (96, 96, 3), dtype=np.uint8)
        return FoundCell(
            id=number,
            class_id=class_id,
            confidence=confidence,
            probabilities=(0.0, confidence, 1 - confidence, 0.0, 0.0, 0.0),
            box=(1, 2, 30, 40),
            area=700,
            touches_border=number == 2,
            runs="61X13mN000`0",
            answer=LABELS[class_id].name,
            thumbnail=None if number == 3 else thumbnail,
        )

    field = FoundField(
        name=f"{EVIL}.png",
        file_name=f"{EVIL}.png",
        width=80,
        height=60,
        overlay=f"images/{EVIL}.png/overlay.png",
        scale="as given",
        cells=(cell(1, 1, 0.9), cell(2, 1, 0.4), cell(3, 5, 0.7)),
        picture=np.full((60, 80, 3), 200, np.uint8),
    )
    return PredictReport(
        name=f"smears {EVIL}",
        summary="3 cells in 2 images.",
        classes=LABELS,
        differential=tuple(
            CountedClass(label, 1, 20.0, 3.6, 62.4) for label in LABELS[1:]
        ),
        fields=(field, replace(field, cells=(), picture=None)),
        failed=((f"{EVIL}.tif", f"empty {EVIL}"),),
        facts=(("checkpoint", EVIL),),
        left_out=(f"2 of 3 {EVIL}",),
        command=f"leuko prepare folders '{EVIL}' corrections.json",
        version="1",
        closing="For research.",
    )


@pytest.fixture(scope="session")
def pages(page, check_data, browse_data, predict_data):
    """Return the text of every page by its name."""
    return dict(
        run=render_run_report(page),
        check=render_check_report(check_data),
        browse=render_browse_page(browse_data),
        predict=render_predict_report(predict_data),
    )


@pytest.fixture(scope="session")
def browse_data() -> BrowsePage:
    """Return contact sheets of twelve cells and three mosaics."""
    label = LABELS[1]
    noise = np.random.default_rng(0)

    def picture(side: int) -> np.ndarray:
        coarse = noise.integers(60, 220, (4, 4, 3), dtype=np.uint8)
        return coarse.repeat(side // 4, axis=0).repeat(side // 4, axis=1)

    cells = tuple(
        Figure(f"baso_{i}", (f"slide {i}", EVIL), (label,), (picture(64),))
        for i in range(12)
    )
    mosaics = tuple(
        Figure(f"mosaic {i + 1}", (), (), (picture(96), picture(96))) for i in range(3)
    )
    return BrowsePage(
        name=EVIL,
        summary="12 cells of smears in 12 groups.",
        classes=((label, 12), (ClassLabel("leukocyte", "leuk", (0, 0, 255)), None)),
        facts=(("split", "fold1"), ("command", f"leuko browse {'x' * 300}")),
        sheets=(
            Sheet("cells", "Masks & more", EVIL, True, cells),
            Sheet("mosaics", "Mosaics", "As they are.", False, mosaics),
        ),
    )


@pytest.fixture
def visit(browser):
    """Return a function that opens a file in a tab.

    The test fails afterwards if a page complained, or asked for another file.
    """
    tabs, complaints, requests, files = [], [], [], set()

    def open_file(file):
        tab = browser.new_page()
        tab.set_default_timeout(60_000)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.on("request", lambda request: requests.append(request.url))
        tab.set_viewport_size(dict(width=DESKTOP[0], height=DESKTOP[1]))
        tab.goto(file.as_uri())
        tabs.append(tab)
        files.add(file.as_uri())
        return tab

    yield open_file
    asked = {url for url in requests if not url.startswith(("data:", "blob:"))}
    for tab in tabs:
        tab.close()
    assert complaints == []
    assert asked == files
