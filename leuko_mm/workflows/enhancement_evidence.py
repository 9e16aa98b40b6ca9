"""Measure what an enhancement does to the colours of a prepared dataset's slides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.nuclei import read_nucleus
from leuko_mm.datasets.prepared import IndexRow, read_about, read_index
from leuko_mm.evaluation.colour_spread import cielab, class_spread, spread
from leuko_mm.evaluation.smear_regions import smear_regions
from leuko_mm.workflows.enhancement_evidence_methods import Method

COLOURED = ("background", "red cells", "leukocyte", "nucleus", "cytoplasm")
OF_CLASSES = ("leukocyte", "nucleus", "cytoplasm")
MOST_PIXELS = 3000


def colour_evidence(
    root: Path,
    methods: Mapping[str, Method],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Return the spread of colours between slides, per method and region.

    The regions are found once, on the image as taken, so that every method is judged
    on the same pixels. A region's colour in an image is the median of its CIELAB
    values; a slide's colour is the mean of its images'.

    Args:
        root: a prepared dataset.
        methods: functions from (H, W, 3) uint8 RGB to the same, by name.
        progress: called with the images done and their number.

    Returns:
        ``dataset``, ``sha256``, ``images``, ``slides`` and ``methods``: for each a
        dict with a dict for every region (``slides``, ``spread``; for parts of
        leukocytes ``between_slides`` within a class, ``between_classes`` and
        ``separability``), ``border`` (CIELAB distance over the cell's outline),
        ``grain`` (median distance of background pixels from their median),
        ``border_to_grain``, and ``failed`` (images that the method could not do).
    """
    rows = [row for row in read_index(root) if row.kind == "cell"]
    found = {name: _Collected() for name in methods}
    for i, row in enumerate(rows):
        if progress:
            progress(i, len(rows))
        image, regions = read_cell(root, row)
        places = {name: _pixels(place) for name, place in regions.items()}
        for name, method in methods.items():
            try:
                enhanced = method(image)
            # A method of another library may meet an image that it cannot do.
            except (ValueError, np.linalg.LinAlgError):
                found[name].failed += 1
                continue
            found[name].add(enhanced, places, row)
    about = read_about(root)
    return dict(
        dataset=about["name"],
        sha256=about["sha256"],
        images=len(rows),
        slides=len({row.group for row in rows}),
        methods={name: one.summary() for name, one in found.items()},
    )


def read_cell(root: Path, row: IndexRow) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a cell's image, uint8 RGB, and its regions (see ``smear_regions``)."""
    image = read_image(Path(root) / row.image)
    with Image.open(Path(root) / row.mask) as mask:
        labels = np.array(mask)
    cell = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    return image, smear_regions(image, cell, read_nucleus(root, row))


def _pixels(place: np.ndarray) -> np.ndarray:
    """Return flat indices of a region, evenly thinned to a number that is enough."""
    indices = np.flatnonzero(place)
    return indices[:: max(1, len(indices) // MOST_PIXELS)]


class _Collected:
    """What one method did to every image."""

    def __init__(self) -> None:
        self.colours: dict[str, dict] = {name: defaultdict(list) for name in COLOURED}
        self.classes: dict[str, str] = {}
        self.border: list[float] = []
        self.grain: list[float] = []
        self.failed = 0

    def add(
        self, image: np.ndarray, places: Mapping[str, np.ndarray], row: IndexRow
    ) -> None:
        """Take in one enhanced image."""
        flat = image.reshape(-1, 3)
        labs = {name: cielab(flat[place]) for name, place in places.items()}
        medians = {name: np.median(lab, axis=0) for name, lab in labs.items()}
        self.classes[row.group] = row.class_name
        for name in COLOURED:
            if name in medians:
                self.colours[name][row.group].append(medians[name])
        if {"inside", "outside"} <= set(medians):
            step = medians["inside"] - medians["outside"]
            self.border.append(float(np.linalg.norm(step)))
        if "background" in labs:
            off = labs["background"] - medians["background"]
            self.grain.append(float(np.median(np.linalg.norm(off, axis=1))))

    def summary(self) -> dict:
        """Return the figures of ``colour_evidence`` for this method."""
        out: dict = {"failed": self.failed}
        for name, of_slide in self.colours.items():
            if not of_slide:
                continue
            colours = np.array([np.mean(c, axis=0) for c in of_slide.values()])
            out[name] = dict(slides=len(colours), spread=spread(colours))
            if name in OF_CLASSES:
                divided = class_spread(colours, [self.classes[g] for g in of_slide])
                out[name].update(
                    between_slides=divided.between_slides,
                    between_classes=divided.between_classes,
                    separability=divided.separability,
                )
        border = float(np.mean(self.border)) if self.border else float("nan")
        grain = float(np.mean(self.grain)) if self.grain else float("nan")
        ratio = border / grain if grain > 0 else float("nan")
        return {**out, "border": border, "grain": grain, "border_to_grain": ratio}
