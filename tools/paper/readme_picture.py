"""Draw README's first picture: fields of BCISC as the shipped networks see them.

    python tools/paper/readme_picture.py BCISC/ docs/images/counted_cells.jpg

BCISC (https://github.com/fpklipic/BCISC, Apache-2.0) is due to Fan et al.,
J. Biophotonics 12(7), e201800488 (2019).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leuko_mm.datasets.images import read_image
from leuko_mm.inference import Predictor
from leuko_mm.report.overlay import DrawnCell, cell_overlay

WIDE = "neut/2-1.jpg"
OTHERS = ("baso/1-1.jpg", "eosi/1-1.jpg", "lymp/2-1.jpg", "mono/2-1.jpg")
FIELD, TILE, GAP, TEXT = (800, 440), 255, 6, 36  # px
JPEG_QUALITY = 85


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("bcisc", type=Path, metavar="BCISC", help="a copy of BCISC")
    words.add_argument("out", type=Path, metavar="OUT.jpg", help="the picture")
    return words


def draw(folder: Path) -> np.ndarray:
    """Return the picture of the fields in a folder of BCISC, RGB uint8."""
    predictor = Predictor.from_zoo()
    fields = folder / "original-images"
    # As `leuko predict` does it for all ten.
    scale = predictor.common_scale(sorted(fields.glob("*/*.jpg")))
    paths = [fields / name for name in (WIDE, *OTHERS)]
    pixels = [read_image(path) for path in paths]
    first, *others = [predictor.predict(image, scale=scale) for image in pixels]
    height, width = FIELD[1], FIELD[0] + GAP + 2 * (TILE + GAP) - GAP
    picture = np.full((height + TEXT, width, 3), 255, np.uint8)
    field = _overlay(pixels[0], first)
    field = field[: round(field.shape[1] * FIELD[1] / FIELD[0])]  # its upper part
    field = cv2.resize(field, FIELD, interpolation=cv2.INTER_AREA)
    picture[: FIELD[1], : FIELD[0]] = field
    captions = [(_line(first), 0, height)]
    tall = (height - TEXT - GAP) // 2
    for number, (image, found) in enumerate(zip(pixels[1:], others, strict=True)):
        tile = _around(_overlay(image, found), found.cells[0], tall / TILE)
        left = FIELD[0] + GAP + number % 2 * (TILE + GAP)
        top = number // 2 * (tall + TEXT + GAP)
        tile = cv2.resize(tile, (TILE, tall), interpolation=cv2.INTER_AREA)
        picture[top : top + tall, left : left + TILE] = tile
        captions.append((_line(found), left, top + tall))
    return _written(picture, captions)


def _overlay(image: np.ndarray, found) -> np.ndarray:
    cells = [
        DrawnCell(
            cell.id,
            found.colours[cell.class_id],
            cell.box,
            unsure=found.answer(cell) == "unsure",
        )
        for cell in found.cells
    ]
    return cell_overlay(image, found.instances, cells)


def _around(image: np.ndarray, cell, proportion: float) -> np.ndarray:
    """Return a part of an image with a cell in its middle, 2.2 cells wide."""
    x0, y0, x1, y1 = cell.box
    width = round(2.2 * max(x1 - x0, y1 - y0))
    height = round(width * proportion)
    left = int(np.clip((x0 + x1 - width) // 2, 0, image.shape[1] - width))
    top = int(np.clip((y0 + y1 - height) // 2, 0, image.shape[0] - height))
    return image[top : top + height, left : left + width]


def _line(found) -> str:
    lines = (f"{found.answer(cell)}, {cell.confidence:.0%}" for cell in found.cells)
    return "; ".join(lines)


def _written(picture: np.ndarray, captions: list[tuple[str, int, int]]) -> np.ndarray:
    image = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(20)
    for text, left, top in captions:
        pen.text((left + 4, top + 5), text, (30, 30, 30), font)
    return np.asarray(image)


def main() -> None:
    """Draw and write the picture."""
    words = parser().parse_args()
    image = Image.fromarray(draw(words.bcisc))
    image.save(words.out, quality=JPEG_QUALITY, optimize=True)


if __name__ == "__main__":
    main()
