"""Fields of drawn cells, and a stand-in for a network that finds them by colour."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.inference.cells import Cell, ImageScale, Prediction, touches_border
from leuko_mm.inference.folder_run import PredictRequest, predict_files

PAPER = 230
HOSTILE_NAMES = (
    "plain.png",
    "with space.png",
    "größe µm 白血球.png",
    "quote\"s and 's.png",
    "<img src=x onerror=alert(1)>.png",
    "<script>alert(2)<\u2044script>.png",
    "&amp; {{ 7 * 7 }}.png",
    "=cmd|calc.png",
    "+1.png",
    "-1.png",
    "@sum.png",
    "\ttab.png",
)


def draw_field(kinds, *, side: int = 64, radius: int = 9) -> np.ndarray:
    """Return a pale image with one disc a class id, from left to right.

    The red of a disc tells its class: 20 times the id.
    """
    width = max(side, (2 * radius + 6) * len(kinds))
    image = np.full((side, width, 3), PAPER, np.uint8)
    rows, columns = np.mgrid[:side, :width]
    for place, kind in enumerate(kinds):
        x = radius + 3 + place * (2 * radius + 6)
        y = radius + 2 + 7 * place % max(1, side - 2 * radius - 4)
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        image[disc] = (20 * kind, 60, 160)
    return image


def write_fields(folder: Path, names, *, kinds=(1, 5, 5)) -> None:
    """Write a field a name; classes move on by one from image to image."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        own = [(kind + number - 1) % 5 + 1 for kind in kinds]
        Image.fromarray(draw_field(own)).save(path)


def write_broken(folder: Path, count: int) -> list[str]:
    """Write files that are no images, each broken differently; return their names."""
    whole = folder / "whole.png"
    Image.fromarray(draw_field([1, 2])).save(whole)
    content = whole.read_bytes()
    whole.unlink()
    kinds = (b"", b"<script>alert(3)</script>", content[:60], content[:-40], b"\0" * 99)
    names = [f"broken {i:02}.png" for i in range(count)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(kinds[i % len(kinds)])
    return names


class ColourPredictor:
    """Finds the discs of ``draw_field``; less sure the further right they are."""

    classes = CLASS_NAMES

    def __init__(self, seconds: float = 0.0, *, accept: float = 0.0, others=()):
        self.seconds, self.seen = seconds, 0
        self.accept, self.others = accept, others  # ids of cells of no class

    def common_scale(self, images, *, progress=None):
        """Return none: every image finds its own scale."""

    def predict(self, image: np.ndarray, *, scale=None) -> Prediction:
        self.seen += 1
        time.sleep(self.seconds)
        red = image[..., 0].astype(int)
        inside = (red < PAPER - 60).astype(np.uint8)
        number, found = cv2.connectedComponents(inside)
        labels = np.zeros(found.shape, np.uint8)
        cells = []
        for identity in range(1, number):
            where = found == identity
            kind = round(float(red[where].mean()) / 20)
            other = 0.8 * (identity in self.others)
            labels[where] = 255 if other else kind
            cells.append(_cell(identity, kind, where, other))
        return Prediction(
            labels=labels,
            instances=found.astype(np.int32),
            cells=tuple(cells),
            classes=CLASS_NAMES,
            colours=CLASS_COLOURS,
            scale=ImageScale(1.0, "factor", 1.0, note="as given"),
            accept=self.accept,
            names_other=bool(self.others),
        )


def _cell(identity: int, kind: int, where: np.ndarray, other: float) -> Cell:
    rows, columns = np.nonzero(where)
    x, y, w, h = cv2.boundingRect(where.astype(np.uint8))
    sure = round(0.99 - 0.05 * identity, 3)
    shares = [0.0] + [(1 - sure) / 4] * 5
    shares[kind] = sure
    return Cell(
        id=identity,
        class_id=kind,
        confidence=sure,
        probabilities=tuple(shares),
        background=0.01,
        area=int(where.sum()),
        centroid=(float(columns.mean()) + 0.5, float(rows.mean()) + 0.5),
        box=(x, y, x + w, y + h),
        touches_border=touches_border((x, y, x + w, y + h), where.shape),
        eccentricity=0.1,
        solidity=0.98,
        circularity=0.9,
        other=other,
    )


def predicted(place, *paths, predictor=None, out="out", progress=None, **more):
    """Predict below a folder, ``in`` by default, with a file for a checkpoint."""
    (place / "net.pth").write_bytes(b"tensors")
    request = PredictRequest(
        paths=[str(place / path) for path in (paths or ("in",))],
        out=place / out,
        checkpoint=place / more.pop("checkpoint", "net.pth"),
        **more,
    )
    made = predictor or ColourPredictor()
    return predict_files(request, predictor_of=lambda *_: made, progress=progress)


def content_of(out: Path) -> dict[str, bytes]:
    """Return every file below a folder, recorded times taken out."""
    files = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if not path.is_file() or name == ".lock":
            continue
        content = path.read_bytes()
        if path.name == "record.json":
            lines = content.splitlines()
            content = b"\n".join(x for x in lines if b'"seconds"' not in x)
        files[name] = content
    return files
