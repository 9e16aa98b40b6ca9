"""Drawn smears as a prepared dataset, to try things out without real images.

Red cells, platelets, stain deposit and the five leukocytes have the nuclei, granules
and cytoplasm that textbooks give them. Stain, light and camera change from slide to
slide, as much as between laboratories, so that colour alone does not tell the classes
apart on a slide not seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from leuko_mm.classes import CELL_CLASSES
from leuko_mm.datasets.converters.synthetic.scene import render_cell
from leuko_mm.datasets.converters.synthetic.stain import slide_style
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.datasets.splits import slide_folds


def synthetic_cells(
    *, slides: int = 30, cells_per_class: int = 3, size: int = 256, seed: int = 0
) -> Iterator[PreparedCell]:
    """Yield the cells of a synthetic dataset, slide by slide.

    A cell depends on (seed, slide, class, number) alone: asking for more slides or
    more cells does not change the others.

    Args:
        slides: number of slides; all five classes share a slide and its style.
        cells_per_class: on each slide.
        size: pixels of the square crops.
        seed: 0 or more.
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
    return f"{class_name[:4]}_{slide}-{number}_0"


def prepare_synthetic(
    out: Path,
    *,
    slides: int = 30,
    cells_per_class: int = 3,
    size: int = 256,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Write the synthetic dataset as a prepared dataset with splits by slide.

    The arguments are those of ``synthetic_cells``; ``progress`` is called with the
    cells drawn and their number. Five slides or more give five folds.
    """
    slide_of = {
        _stem(kind.name, slide, number): slide
        for slide in range(1, slides + 1)
        for kind in CELL_CLASSES
        for number in range(1, cells_per_class + 1)
    }

    def drawn() -> Iterator[PreparedCell]:
        cells = synthetic_cells(
            slides=slides, cells_per_class=cells_per_class, size=size, seed=seed
        )
        for done, cell in enumerate(cells, 1):
            if progress:
                progress(done, len(slide_of))
            yield cell

    return write_prepared(
        Path(out),
        drawn(),
        name="synthetic",
        source=f"drawn by leuko_mm, seed {seed}",
        licence="CC0-1.0",
        citation="none needed: drawn by leuko_mm",
        splits=slide_folds(slide_of, folds=min(5, slides)),
        force=force,
    )
