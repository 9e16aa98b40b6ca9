"""The paper's figures, drawn: plain pictures and labels in, one RGB array out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.report.figure_sheet import figure_sheet
from leuko_mm.report.overlay import CLASS_LEGEND, overlay
from leuko_mm.report.palette import RGB, colourise, label_bytes

NAMES = 130  # px for the words beside a row
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class ShownMosaic:
    """A mosaic as taken, enhanced, its truth, and what each method made of it.

    Args:
        image, enhanced: uint8 RGB.
        truth: class ids.
        predictions: class ids of each method, in the order of the columns.

    Shape:
        image, enhanced (H, W, 3); truth, predictions (H, W).
    """

    image: np.ndarray
    enhanced: np.ndarray
    truth: np.ndarray
    predictions: tuple[np.ndarray, ...] = ()


def cut_out(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cells of an image, everything that is labelled background black.

    Shape:
        (H, W, 3) uint8, (H, W) -> (H, W, 3) uint8.

    Example:
        >>> cut_out(np.full((1, 2, 3), 9, np.uint8), np.array([[0, 4]])).tolist()
        [[[0, 0, 0], [9, 9, 9]]]
    """
    return np.where((label_bytes(labels) > 0)[..., None], image, np.uint8(0))


def lettered(words: Sequence[str]) -> list[str]:
    """Put (a), (b), ... before words.

    Example:
        >>> lettered(["original", "truth"])
        ['(a) original', '(b) truth']
    """
    return [f"({LETTERS[i % 26]}) {word}" for i, word in enumerate(words)]


def samples_figure(samples: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Draw cells of every class, a class a row (Fig. 2).

    Args:
        samples: RGB uint8 cells by class, as many of each.
    """
    count = len(next(iter(samples.values())))
    return figure_sheet(
        list(samples.values()),
        [""] * count,
        row_names=lettered(list(samples)),
        tile=128,
    )


def colours_figure(
    examples: Mapping[str, tuple[np.ndarray, np.ndarray]],
    short: Mapping[str, str],
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw the colour of every class with an example of its label (Fig. 8).

    Args:
        examples: a cell (RGB uint8) and its class ids, by class.
        short: name of the class's label, by class.
        legend: name and RGB of each id in order.
    """
    rows, names = [], []
    for name, (image, labels) in examples.items():
        swatch = np.empty_like(image)
        swatch[:] = legend[name]
        rows.append([swatch, image, colourise(labels, tuple(legend.values()))])
        names.append(f"{name}, {short[name]}: {' '.join(map(str, legend[name]))}")
    columns = ["colour, RGB", "a cell", "its label"]
    return figure_sheet(rows, columns, row_names=names, tile=112)


def mosaic_figure(
    cells: Sequence[np.ndarray], enhanced: Sequence[np.ndarray], mosaic: ShownMosaic
) -> np.ndarray:
    """Draw four cells, the same enhanced, and the mosaic made of them (Fig. 3)."""
    rows = [list(cells), list(enhanced)]
    tiles = figure_sheet(
        rows,
        [""] * len(cells),
        row_names=["(a) random cells", "after AHE-Retinex"],
        tile=128,
    )
    whole = figure_sheet(
        [[mosaic.image, mosaic.enhanced, _coloured(mosaic.truth, CLASS_LEGEND)]],
        ["without enhancement", "(b) final image", "its label"],
        tile=212,
        legend=cells_of(CLASS_LEGEND),
    )
    return stacked([tiles, whole])


def enhancement_figure(
    steps: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]],
) -> np.ndarray:
    """Draw an enhancement step by step (Fig. 4).

    Args:
        steps: words on a step, and its pictures with their captions; planes (H, W) of
            0-255 are drawn grey.
    """
    drawn = []
    for words, pictures in steps:
        row = [_rgb(picture) for _, picture in pictures]
        captions = [caption for caption, _ in pictures]
        sheet = figure_sheet(
            [row], captions, row_names=[words], name_width=NAMES, tile=176
        )
        drawn.append(sheet)
    return stacked(drawn)


def methods_figure(
    mosaics: Sequence[ShownMosaic],
    names: Sequence[str],
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw what each method made of mosaics, and the cells that it cuts out (Fig. 9).

    Args:
        mosaics: with one prediction a method.
        names: of the methods.
        legend: name and RGB of each id in order.
    """
    rows, words = [], []
    for number, shown in enumerate(mosaics, 1):
        masks = [shown.truth, *shown.predictions]
        painted = [_coloured(labels, legend) for labels in masks]
        cut = [cut_out(shown.image, labels) for labels in masks]
        rows.append([shown.image, shown.enhanced, *painted])
        rows.append([None, None, *cut])
        words += [f"{number}", "cells cut out"]
    columns = lettered(["original", "AHE-Retinex", "truth", *names])
    return figure_sheet(
        rows, columns, row_names=words, tile=176, per_band=7, legend=cells_of(legend)
    )


def ablation_figure(
    mosaics: Sequence[ShownMosaic],
    names: Sequence[str],
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw masks blended over mosaics, a column a row of the ablation (Fig. 10)."""
    rows = []
    for shown in mosaics:
        blended = [
            overlay(shown.image, labels, alpha=0.45, outline=2, legend=legend)
            for labels in (shown.truth, *shown.predictions)
        ]
        rows.append([shown.image, shown.enhanced, *blended])
    columns = lettered(["original", "AHE-Retinex", "truth", *names])
    return figure_sheet(rows, columns, tile=208, per_band=6, legend=cells_of(legend))


def counts_figure(
    rows: Mapping[str, Sequence[ShownMosaic]],
    method: str | None,
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw mosaics of more and more cells (Fig. 11).

    Args:
        rows: mosaics by how they were made, as many of each; with one prediction
            where ``method`` is given.
        method: what segmented them; None draws image and truth alone.
        legend: name and RGB of each id in order.
    """
    drawn, most = [], 0
    for shown in rows.values():
        row = []
        for mosaic in shown:
            masks = (mosaic.truth, *mosaic.predictions)
            row += [mosaic.image, *(_coloured(labels, legend) for labels in masks)]
        drawn.append(row)
        most = max(most, len(shown))
    columns = ["original", "truth", *([method] if method else [])] * most
    return figure_sheet(
        drawn,
        columns,
        row_names=lettered(list(rows)),
        tile=224,
        legend=cells_of(legend),
    )


def cells_of(legend: Mapping[str, RGB]) -> dict[str, RGB]:
    """Return a legend without its first entry, the background."""
    return dict(list(legend.items())[1:])


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures below one another on white.

    Shape:
        n times (h, w, 3) uint8 -> (sum of h, largest w, 3) uint8.
    """
    width = max(part.shape[1] for part in parts)
    rows = []
    for part in parts:
        row = np.full((part.shape[0], width, 3), 255, np.uint8)
        row[:, : part.shape[1]] = part
        rows.append(row)
    return np.concatenate(rows)


def _coloured(labels: np.ndarray, legend: Mapping[str, RGB]) -> np.ndarray:
    return colourise(labels, tuple(legend.values()))


def _rgb(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 3:
        return picture
    plane = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
    return np.repeat(plane[..., None], 3, axis=2)
