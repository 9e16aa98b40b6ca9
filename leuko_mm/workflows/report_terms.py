"""Section of the report on what its words mean."""

from __future__ import annotations

from leuko_mm.report.comparison import ResultTable, Section, TableRow
from leuko_mm.workflows.settings import SETTINGS

TERMS = {
    **{f"setting {name}": setting.words for name, setting in SETTINGS.items()},
    "setting own": "as the method's file has it: for the CBAM U-Net the raw image with "
    "focal + Dice loss",
    "other settings": "names of ours. In brackets stands what the training's command "
    "changed in the method's file; without brackets the recipe is that of the file at "
    "the commit that the results file names, so with former",
    "ablation": "a row of the paper's Table 3: which of AHE-Retinex, CBAM and focal + "
    "Dice the U-Net on VGG16 has",
    "encoder": "the weights that it started from; random: none",
    "five folds": "fold1 to fold5 together: every cell tested once, by a network that "
    "saw no cell of its slide",
    "development": "trained on folds 1 to 3, tested on fold 4: for choosing",
    "paper, paper_mosaics": "splits of cells, or of mosaics, that put cells of one "
    "slide on both sides",
    "mIoU": "mean over the classes, the background among them, of the intersection "
    "over union of the pixels of all test cells together",
    "mIoU without background": "the same over the leukocyte classes alone",
    "pixel accuracy": "share of the pixels that have their class",
    "cells found": "cells that share at least half of their union with the pixels "
    "that were given any leukocyte class",
    "cells of the right class": "cells of which most of the pixels that were given a "
    "class were given the right one",
    "boundary F1": "how much of the drawn outlines lies within 2 pixels of the true "
    "ones, at the network's scale, and the other way round; mean over the leukocyte "
    "classes",
    "one class a cell": "every connected cell takes the class that its pixels together "
    "find most probable, and small pieces are dropped: another way to read the same "
    "network",
    "eight views": "the mean of the network's answers to the image, turned and "
    "mirrored",
}


def terms() -> Section:
    """Return what the words of the tables mean."""
    rows = tuple(TableRow(pair, kind="term") for pair in TERMS.items())
    table = ResultTable(
        "words", "Words of the tables", ("word", "meaning"), rows, words=(0, 1)
    )
    lead = (
        "How intervals and tests are computed, and how often such intervals cover the "
        "truth, is in docs/statistics.md of the repository."
    )
    return Section("terms", "What the words mean", lead, (table,))
