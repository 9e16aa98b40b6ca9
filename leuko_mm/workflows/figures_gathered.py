"""Gather what the paper's figures show: cells, mosaics, networks' answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from leuko_mm.classes import CELL_CLASSES
from leuko_mm.datasets.prepared import read_about
from leuko_mm.report import paper_figures as draw
from leuko_mm.workflows.figures_cells import RETINEX, SIDE, CellStock, Composed
from leuko_mm.workflows.figures_choice import ablation, compared
from leuko_mm.workflows.figures_enhancement import enhancement_steps
from leuko_mm.workflows.figures_methods import COMBINATIONS, TrainedMethod, unseen
from leuko_mm.workflows.figures_networks import load_network, segment

# File and what it is, in the paper's order.
FIGURES = {
    "figure_02_cells.png": "cells of every class",
    "figure_03_mosaic.png": "cells, and the mosaic made of them",
    "figure_04_enhancement.png": "AHE-Retinex step by step",
    "figure_08_colours.png": "the classes' colours",
    "figure_09_methods.png": "methods, and the cells that each cuts out",
    "figure_10_ablation.png": "the ablation, masks blended over the image",
    "figure_11_counts.png": "4, 9 and 16 cells",
}
SCHEMA = 1
SAMPLES = 5
SHOWN = 3


class GatheredFigures:
    """What every figure shows.

    Args:
        stock: the cells that may be shown.
        found: checkpoints; those that have learnt from a cell shown are left out.
        wanted: methods of Fig. 9, see ``figures_choice.compared``.
        seed: which cells.
        say: takes a line for the user.

    Raises:
        UsageError: if a method is wanted that is not there.
    """

    def __init__(
        self,
        stock: CellStock,
        found: Sequence[TrainedMethod],
        *,
        wanted: Sequence[str] = (),
        seed: int = 0,
        say: Callable[[str], None] = print,
    ):
        self.stock, self.say = stock, say
        self.four = stock.dealt(2, seed=seed)[: SHOWN + 1]
        self.rows = {
            f"{n * n} cells": (stock.dealt(n, seed=seed)[0], stock.of_one_class(n))
            for n in (2, 3, 4)
        }
        every = [*self.four, *(c for row in self.rows.values() for c in row)]
        methods, self.left_out = unseen(found, stock.root, stock.stems(every))
        self.compared = compared(methods, wanted, stock.split)
        self.ablation = ablation(methods, stock.split)
        self.others = self._others(methods)
        self.counted = self._counted()
        self.predictions: dict[tuple[Path, Composed], np.ndarray] = {}

    def _others(self, methods: Sequence[TrainedMethod]) -> list[str]:
        """Return the names of methods that are there and in no figure."""
        shown = {m.method for m in [*self.compared, *self.ablation.values()]}
        return sorted({m.method for m in methods} - shown)

    def _counted(self) -> TrainedMethod | None:
        """Choose the network of Fig. 11: the paper's, or the nearest to it."""
        named = [method for method in self.compared if method.given]
        rows = ("all_three", "cbam_dice_focal")
        paper = [self.ablation[row] for row in rows if row in self.ablation]
        return next(iter([*named, *paper, *self.compared]), None)

    def draw(self) -> dict[str, np.ndarray]:
        """Return every figure, RGB uint8, by its file's name.

        What could not be shown is told in ``left_out``.
        """
        self._predict()
        makers = (
            self._samples,
            self._mosaic,
            self._enhancement,
            self._colours,
            self._compared,
            self._ablated,
            self._counts,
        )
        self._tell_missing()
        return {name: make() for name, make in zip(FIGURES, makers, strict=True)}

    def _tell_missing(self) -> None:
        missing = [COMBINATIONS[r] for r in COMBINATIONS if r not in self.ablation]
        if not self.compared:
            self.left_out.append(
                "Fig. 9 and 11 show no method: no checkpoint of the wanted ones is "
                "there that has not learnt from these cells; leuko compare or leuko "
                "train make some"
            )
        if self.others:
            self.left_out.append(
                f"Other methods that have a checkpoint: {', '.join(self.others)}; "
                "--methods NAME,NAME or --methods all shows those of leuko train and "
                "leuko compare in Fig. 9, --checkpoint FILE any"
            )
        if missing:
            self.left_out.append(
                f"Fig. 10 lacks {len(missing)} of {len(COMBINATIONS)} rows, for want "
                f"of a checkpoint: {'; '.join(missing)}"
            )

    def _predict(self) -> None:
        """Let every network see its mosaics, one network after another."""
        wanted: dict[Path, tuple[TrainedMethod, list[Composed]]] = {}
        for method in self.compared:
            wanted[method.path] = (method, list(self.four[:SHOWN]))
        for method in self.ablation.values():
            more = wanted.setdefault(method.path, (method, []))[1]
            more += [composed for composed in self.four if composed not in more]
        if self.counted:
            rows = [composed for row in self.rows.values() for composed in row]
            wanted[self.counted.path][1].extend(rows)
        for path, (method, mosaics) in wanted.items():
            self.say(f"{method.title}: {path}")
            images = [self._seen(method, composed) for composed in mosaics]
            for composed, labels in zip(
                mosaics, segment(load_network(method), images, SIDE), strict=True
            ):
                self.predictions[path, composed] = labels

    def _seen(self, method: TrainedMethod, composed: Composed) -> np.ndarray:
        """Return a mosaic as a network was trained on such: its scale, its stains."""
        cell = method.sidecar.get("scale", {}).get("cell_px") or SIDE // 2
        enhance = method.sidecar.get("enhance")
        return self.stock.mosaic(composed, size=cell * composed.n, enhance=enhance)[0]

    def _shown(
        self, composed: Composed, methods: Sequence[TrainedMethod]
    ) -> draw.ShownMosaic:
        image, truth = self.stock.mosaic(composed)
        return draw.ShownMosaic(
            image,
            self.stock.mosaic(composed, enhance=RETINEX)[0],
            truth,
            tuple(self.predictions[method.path, composed] for method in methods),
        )

    def _samples(self) -> np.ndarray:
        groups = self.stock.by_class()
        count = min(SAMPLES, *(len(numbers) for numbers in groups.values()))
        return draw.samples_figure(
            {
                name: [self.stock.cell(number)[0] for number in numbers[:count]]
                for name, numbers in groups.items()
            }
        )

    def _mosaic(self) -> np.ndarray:
        first = self.four[0]
        numbers = [number for number in first.cells if number is not None]
        return draw.mosaic_figure(
            [self.stock.cell(number)[0] for number in numbers],
            [self.stock.cell(number, RETINEX)[0] for number in numbers],
            self._shown(first, ()),
        )

    def _enhancement(self) -> np.ndarray:
        number = next(iter(self.stock.by_class().values()))[0]
        return draw.enhancement_figure(enhancement_steps(self.stock.cell(number)[0]))

    def _colours(self) -> np.ndarray:
        groups = self.stock.by_class()
        return draw.colours_figure(
            {name: self.stock.cell(numbers[0]) for name, numbers in groups.items()},
            {kind.name: kind.aliases[0] for kind in CELL_CLASSES},
        )

    def _compared(self) -> np.ndarray:
        shown = [self._shown(c, self.compared) for c in self.four[:SHOWN]]
        return draw.methods_figure(shown, [method.title for method in self.compared])

    def _ablated(self) -> np.ndarray:
        methods = list(self.ablation.values())
        shown = [self._shown(composed, methods) for composed in self.four]
        return draw.ablation_figure(shown, [COMBINATIONS[r] for r in self.ablation])

    def _counts(self) -> np.ndarray:
        methods = [self.counted] if self.counted else []
        rows = {
            name: [self._shown(composed, methods) for composed in row]
            for name, row in self.rows.items()
        }
        return draw.counts_figure(rows, self.counted and self.counted.title)

    def about(self) -> dict:
        """Return which data, cells and checkpoints the figures show."""
        stock, infos = self.stock, self.stock.infos

        def named(mosaics: Sequence[Composed]) -> list[list[str | None]]:
            return [
                [None if c is None else infos[c]["stem"] for c in one.cells]
                for one in mosaics
            ]

        about = read_about(stock.root)
        return dict(
            schema=SCHEMA,
            dataset=about["name"],
            sha256=about["sha256"],
            licence=about.get("licence"),
            figures=dict(FIGURES),
            mosaics=named(self.four),
            counts={name: named(row) for name, row in self.rows.items()},
            compared=[_named(method) for method in self.compared],
            ablation={row: _named(m) for row, m in self.ablation.items()},
            left_out=self.left_out,
        )


def _named(method: TrainedMethod) -> dict:
    return dict(
        title=method.title,
        protocol=method.protocol,
        iterations=method.training[1],
        checkpoint=str(method.path),
        sha256=method.sidecar.get("sha256"),
    )
