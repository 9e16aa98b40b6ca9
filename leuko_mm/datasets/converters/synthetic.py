"""A synthetic blood smear: the data of the quickstart and the fixture of the tests.

It is drawn, not photographed: red cells, platelets, stain deposit and the five
leukocytes with the nuclei, granules and cytoplasm that textbooks give them. Stain,
light and camera change from slide to slide, as much as between laboratories, so
that colour alone does not tell the classes apart on a slide not seen before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leuko_mm.classes import CELL_CLASSES, CLASS_NAMES, class_id
from leuko_mm.datasets.prepared import PreparedCell, write_prepared
from leuko_mm.datasets.splits import slide_folds

from .synthetic_background import (
    place_red_cells,
    scatter_small_things,
    stamp_red_cell,
)
from .synthetic_canvas import Canvas, smooth_noise
from .synthetic_cells import Leukocyte, draw_leukocyte
from .synthetic_stain import (
    CHROMATIN,
    EOSIN,
    SlideStyle,
    develop,
    slide_style,
)

CROP_UM = 35.6  # width of the field that a crop shows, whatever its pixels
_CUT_CHANCE = 0.06  # cells that the border of their crop cuts
_OVERLAP_CHANCE = 0.35  # neighbours that lie on the leukocyte rather than beside it


def render_cell(
    class_name: str, style: SlideStyle, rng: np.random.Generator, *, size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one crop of a smear with a leukocyte near its middle.

    Args:
        class_name: a leukocyte class or an alias of one.
        style: look of the slide, from ``slide_style``.
        rng: draws everything else.
        size: width and height in pixels; the field shown stays the same.

    Returns:
        The image (size, size, 3), RGB uint8, and its labels (size, size), uint8:
        0 and the class's id.

    Raises:
        ValueError: if the class is unknown or the size below 32.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> image, labels = render_cell("mono", slide_style(0, 1), rng, size=64)
        >>> image.shape, np.unique(labels).tolist()
        ((64, 64, 3), [0, 4])
    """
    if size < 32:
        raise ValueError(f"size is {size} pixels; a cell needs at least 32 to show")
    label = class_id(class_name)
    canvas = Canvas(size, size, size / CROP_UM)
    cell = draw_leukocyte(CLASS_NAMES[label], rng, scale=canvas.scale)
    x, y = _position(cell.radius, rng)
    _draw_scene(canvas, style, rng, [(cell, x, y, label)])
    image = develop(canvas.dyes, style, rng, scale=canvas.scale, view=0.7)
    return image, canvas.labels


def _position(radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """Near the middle of the crop, or now and then cut by its border."""
    middle = CROP_UM / 2 + np.clip(rng.normal(0.0, 1.3, 2), -3.5, 3.5)
    if rng.random() < _CUT_CHANCE:
        outside = radius * rng.uniform(0.1, 0.7)
        axis, far = rng.integers(0, 2), rng.integers(0, 2)
        middle[axis] = (CROP_UM - radius + outside) if far else radius - outside
    return float(middle[0]), float(middle[1])


def _draw_scene(
    canvas: Canvas,
    style: SlideStyle,
    rng: np.random.Generator,
    cells: list[tuple[Leukocyte, float, float, int]],
) -> None:
    """Compose background, leukocytes (x, y in um, label) and what touches them."""
    side = max(canvas.height, canvas.width)
    plasma = np.clip(smooth_noise(rng, side, canvas.scale, 4.0) * 0.5 + 1.0, 0, 2)
    plasma = plasma[: canvas.height, : canvas.width] * style.mottle
    canvas.dyes[..., EOSIN] += plasma
    canvas.dyes[..., CHROMATIN] += 0.3 * plasma
    keep_out = [(x, y, cell.radius) for cell, x, y, _ in cells]
    neighbours = [
        (*_beside(x, y, r, rng), on_top)
        for x, y, r in keep_out
        for on_top in (rng.random(rng.poisson(5 * style.crowding)) < _OVERLAP_CHANCE)
    ]
    taken = keep_out + [(x, y, r) for x, y, r, _ in neighbours]
    under = place_red_cells(canvas, style, rng, taken)
    for x, y, r in under + [(x, y, r) for x, y, r, top in neighbours if not top]:
        canvas.add(stamp_red_cell(style, rng, radius=r, scale=canvas.scale), x, y)
    for cell, x, y, label in cells:
        canvas.cover(cell.stamp, x, y, label)
    for x, y, r, top in neighbours:
        if top:
            red = stamp_red_cell(style, rng, radius=r, scale=canvas.scale)
            canvas.cover(red, x, y, 0)
    scatter_small_things(canvas, style, rng)


def _beside(
    x: float, y: float, radius: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """A red cell that touches a leukocyte: x, y and radius in um."""
    angle, red = rng.uniform(0, 2 * np.pi), rng.uniform(3.1, 4.1)
    away = radius + red * rng.uniform(0.72, 1.05)
    return x + away * np.cos(angle), y + away * np.sin(angle), red


def synthetic_cells(
    *, slides: int = 10, cells_per_class: int = 6, size: int = 256, seed: int = 0
) -> Iterator[PreparedCell]:
    """Yield the cells of a synthetic dataset, slide by slide.

    A cell depends on (seed, slide, class, number) alone: asking for more slides or
    more cells leaves the ones there were as they are.

    Args:
        slides: number of slides; all five classes share a slide and its style.
        cells_per_class: on each slide.
        size: pixels of the square crops.
        seed: 0 or more.

    Raises:
        ValueError: if a number is below 1 (``seed``: 0).

    Example:
        >>> cells = synthetic_cells(slides=1, cells_per_class=1, size=32)
        >>> [(cell.stem, cell.group) for cell in cells][:2]
        [('baso_1-1_0', 'slide_1'), ('eosi_1-1_0', 'slide_1')]
    """
    if slides < 1 or cells_per_class < 1:
        raise ValueError(
            f"slides and cells_per_class are {slides} and {cells_per_class}; "
            "expected at least 1 of each"
        )
    for slide in range(1, slides + 1):
        style = slide_style(seed, slide)
        for kind in CELL_CLASSES:
            for number in range(1, cells_per_class + 1):
                rng = np.random.default_rng([seed, slide, kind.id, number])
                image, mask = render_cell(kind.name, style, rng, size=size)
                yield PreparedCell(
                    stem=_stem(kind.name, slide, number),
                    class_name=kind.name,
                    group=f"slide_{slide}",
                    image=image,
                    mask=mask,
                )


def _stem(class_name: str, slide: int, number: int) -> str:
    """Name a cell as BCISC does: every cell stands alone in a field of its own."""
    return f"{class_name[:4]}_{slide}-{number}_0"


def prepare_synthetic(
    out: Path,
    *,
    slides: int = 10,
    cells_per_class: int = 6,
    size: int = 256,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Write the synthetic dataset as a prepared dataset with splits by slide.

    Args:
        out: the dataset's folder.
        slides: at least 2; ten give the five official folds.
        cells_per_class: on each slide.
        size: pixels of the square crops.
        seed: 0 or more.
        force: replace a dataset whose content differs.

    Returns:
        ``out``.
    """
    slide_of = {
        _stem(kind.name, slide, number): slide
        for slide in range(1, slides + 1)
        for kind in CELL_CLASSES
        for number in range(1, cells_per_class + 1)
    }
    write_prepared(
        Path(out),
        synthetic_cells(
            slides=slides, cells_per_class=cells_per_class, size=size, seed=seed
        ),
        name="synthetic",
        source=f"drawn by leuko_mm, seed {seed}",
        licence="CC0-1.0",
        citation="none needed: drawn by leuko_mm",
        splits=slide_folds(slide_of, folds=min(5, slides)),
        force=force,
    )
    return Path(out)
