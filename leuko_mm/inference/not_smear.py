"""What of an image is no smear: eyepiece, fill of a rotation, frame, banner, bar.

Searched on a small copy. Such an area is flat, and either a box or what is left outside
of a convex field. A nucleus, dirt and a saturated background are neither. Also what
makes the classes of a whole image's cells doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

SEARCHED = 2**20  # pixels of the copy, at most
BLACK = 28  # levels of the brightest channel
# Levels by which a flat area differs from its own colour at most, and from what is
# beside it at least: a saturated background fades into the smear.
FLAT, STEP = 4, 14
# Of the image: smaller areas are no field of smear, no box and no corner.
FIELD, BOX, CORNER = 0.02, 0.004, 0.0002
MOST = 0.35  # of the image: a larger box is a background with few cells
BAR = 0.03  # of the image's longer side
FULL = 0.92  # of its box that a rectangle fills
MARGIN = 2  # pixels of the copy around an area, where edges are soft
DIM = 0.6  # of the light of the field: the rest of a soft edge is smear
GREY = 230  # where no smear is seen
# Pixels of the copy on which the smear is continued, and how far each one looks.
CONTINUED, REACH = 2**18, 4
# Where red cells are as wide, edges are steeper by this factor with fine detail than
# without, at least: 2.4 times in images of five laboratories, 1.9 times where they are
# blurred by a sigma of 6 % of a red cell.
RED_CELL, FOCUS = 50.0, 2.0
COLOUR = 3.0  # levels between an image's brightest and darkest channel; 14 were met
COARSEST = 10.0  # pixels of a red cell: below, classes cannot be told apart
Part = tuple[slice, slice]


@dataclass(frozen=True)
class NotSmear:
    """The areas of an image that are no smear, on a small copy of it.

    Args:
        mask: (h, w) uint8, 1 in the areas and on their soft edges.
        share: of the image's pixels that the areas have, 0 to 1.
        filling: (h, w, 3) uint8, what surrounds the areas, continued into them.
    """

    mask: np.ndarray
    share: float
    filling: np.ndarray

    def inside(
        self, part: Part, grid: tuple[int, int], *, wider: int = 0
    ) -> np.ndarray:
        """Return which pixels of a part of a grid over the image are no smear.

        Args:
            part: rows and columns of the grid, whose height and width are ``grid``.
            wider: pixels of the copy by which the areas are widened.
        """
        rows, columns = (
            ((np.arange(s.start, s.stop) + 0.5) * side / size).astype(np.intp)
            for s, size, side in zip(part, grid, self.mask.shape, strict=True)
        )
        top, left = max(0, rows[0] - wider), max(0, columns[0] - wider)
        near = self.mask[top : rows[-1] + 1 + wider, left : columns[-1] + 1 + wider]
        return _wider(near, wider)[np.ix_(rows - top, columns - left)] > 0

    def cropped(self, shape: tuple[int, int]) -> tuple[Part, NotSmear]:
        """Return the part of an image (H, W) with all its smear, and its own areas."""
        x, y, w, h = cv2.boundingRect(1 - self.mask)
        if not w:
            y, x, (h, w) = 0, 0, self.mask.shape
        down, right = (a / b for a, b in zip(shape, self.mask.shape, strict=True))
        part = (
            slice(round(y * down), round((y + h) * down)),
            slice(round(x * right), round((x + w) * right)),
        )
        own = slice(y, y + h), slice(x, x + w)
        return part, NotSmear(self.mask[own], self.share, self.filling[own])

    def filled(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of the image in which the smear continues into the areas."""
        out = image.copy()
        fade = cv2.blur(_wider(self.mask, 1).astype(np.float32), (3, 3))
        fade[self.mask > 0] = 1
        (height, width), (h, w) = image.shape[:2], self.mask.shape
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for top in range(0, height, 512):
            part = out[top : top + 512]
            down, right = h / height, w / width
            matrix = np.float64(
                [[right, 0, right / 2 - 0.5], [0, down, (top + 0.5) * down - 0.5]]
            )
            weight, colours = (
                cv2.warpAffine(
                    plane,
                    matrix,
                    (width, len(part)),
                    flags=flags,
                    borderMode=cv2.BORDER_REPLICATE,
                )
                for plane in (fade, self.filling)
            )
            at = weight > 0
            new = part[at] + weight[at][:, None] * (colours[at] - np.float32(part[at]))
            part[at] = np.rint(new)
        return out


def find_not_smear(image: np.ndarray) -> NotSmear | None:
    """Return what of an image is no smear, None where all of it is.

    Args:
        image: RGB uint8 (H, W, 3).
    """
    height, width = image.shape[:2]
    factor = min(1.0, (SEARCHED / (height * width)) ** 0.5)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = image
    if factor < 1:
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if min(size) < 8:
        return None
    light = _brightest(cv2.medianBlur(small, 3))
    dark = np.zeros(light.shape, np.uint8)
    found = dark.copy()
    # What one area leaves may be the next one: a banner below an eyepiece's circle.
    for _ in range(3):
        before = int(found.sum())
        for piece in _pieces(np.uint8(light <= BLACK) & (1 - found), found):
            area = _area(piece, found, straight=False)
            dark |= area
            found |= area
        for piece in _flat_pieces(small, found):
            found |= _area(piece, found, straight=True)
        if int(found.sum()) == before:
            break
    if not found.any():
        return None
    if dark.any():
        found |= _dim(dark, found, light)
    share = float(found.mean())
    # A field that fills a box is cut out as it is: a frame has no soft edge.
    x, y, w, h = cv2.boundingRect(1 - (_wider(found, 1) if factor < 1 else found))
    box = slice(y, y + h), slice(x, x + w)
    inner, found = found[box], np.ones_like(found)
    if w:
        found[box] = _wider(inner, MARGIN)
    return NotSmear(found, share, _continued(small, found))


def find_doubts(image: np.ndarray, red_cell_px: float) -> tuple[str, ...]:
    """Return why the classes of an image's cells are doubtful, most often nothing.

    Only a band through the middle is looked at.

    Args:
        image: RGB uint8 (H, W, 3).
        red_cell_px: diameter of a red cell in pixels.
    """
    factor = min(1.0, RED_CELL / red_cell_px)
    height, width = image.shape[:2]
    rows, columns = (round(side / factor) for side in (128, 512))
    y, x = max(0, height // 2 - rows), max(0, width // 2 - columns)
    band = image[y : y + 2 * rows, x : x + 2 * columns]
    if factor < 1:
        band = cv2.resize(
            band, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
        )
    green = band[..., 1].astype(np.float32)
    doubts = ["out of focus"] * bool(_detail(green, 1) < FOCUS * _detail(green, 3))
    ends = _brightest(band).mean() - 255 + _brightest(255 - band).mean()
    doubts += ["without colour"] * bool(ends < COLOUR)
    return (*doubts, *["too coarse"] * (red_cell_px < COARSEST))


def _detail(light: np.ndarray, sigma: float) -> float:
    """Return how steep the steepest edges are after a blur."""
    edges = cv2.Laplacian(cv2.GaussianBlur(light, (0, 0), sigma), cv2.CV_32F)
    return float(np.percentile(np.abs(edges)[::2, ::2], 99))


def _brightest(image: np.ndarray) -> np.ndarray:
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)


def _wider(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((2 * pixels + 1,) * 2, np.uint8))


def _pieces(
    mask: np.ndarray, found: np.ndarray, share: float = CORNER
) -> Iterator[np.ndarray]:
    """Yield the connected pieces of a mask that may be an area, the largest first."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    outer = _outer(labels, found)
    least = max(60, share * mask.size)
    for number in 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable"):
        width, height, area = stats[number, 2:].tolist()
        if area < least:
            return
        if number in outer or (
            _of_a_box(width, height, mask.shape) and area >= 0.4 * width * height
        ):
            yield np.uint8(labels == number)


def _outer(labels: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the labels that reach the border of the image or an area."""
    edge = found.copy()
    edge[[0, -1]] = edge[:, [0, -1]] = 1
    return np.unique(labels[_wider(edge, 3) > 0])


def _flat_pieces(image: np.ndarray, found: np.ndarray) -> Iterator[np.ndarray]:
    """Yield flat pieces of one colour that end in a step."""
    uneven = cv2.morphologyEx(image, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    white = _brightest(255 - image) <= FLAT
    even = np.uint8((_brightest(uneven) <= 2) | white) & (1 - found)
    for core in _pieces(even, found, 10 * CORNER):
        colour = np.median(image[core > 0], axis=0)
        apart = _brightest(cv2.absdiff(image, np.float64([*colour, 0])))
        own = apart[core > 0]
        # Fill is grey, or of a colour that a stain and a camera do not make as even.
        least = 0.7 if np.ptp(colour) <= 4 else 0.95
        if colour.min() >= 255 - FLAT:
            least = 0.3
        if (own <= FLAT).mean() < 0.98 or (own <= 1).mean() < least:
            continue
        # Near an edge JPEG leaves waves, in a sharp corner far from the core; but cells
        # that touch the area may have its colour.
        near = np.uint8(apart <= STEP) & (1 - found)
        _, labels = cv2.connectedComponents(near)
        whole = np.uint8(np.isin(labels, labels[core & near > 0]) & (labels > 0))
        for piece in (whole, whole & _wider(core, 9)):
            beside = _wider(piece, 12) & (1 - _wider(piece, 3)) & (1 - found)
            steps = apart[beside > 0] >= 1.5 * STEP
            if piece.sum() <= 4 * core.sum() and len(steps) and steps.mean() > 0.7:
                yield piece


def _of_a_box(width: int, height: int, shape: tuple[int, int]) -> bool:
    """Return whether a box may be a bar, a banner or a label by its size."""
    thin, long = sorted((width, height))
    bar = long >= 3 * thin and long >= BAR * max(shape)
    share = width * height / (shape[0] * shape[1])
    return thin >= 3 and (bar or share >= BOX) and share <= MOST


def _area(piece: np.ndarray, found: np.ndarray, *, straight: bool) -> np.ndarray:
    """Return the area of a flat piece; nothing where it belongs to the smear.

    Args:
        piece: uint8 (h, w).
        found: what is known not to be smear.
        straight: as for ``_outside``.
    """
    piece = piece & (1 - found)
    x, y, w, h = cv2.boundingRect(piece)
    inner = piece[y : y + h, x : x + w]
    if not _of_a_box(w, h, piece.shape):
        return _outside(piece, found, straight=straight)
    # What is written on it belongs to it.
    holes = np.zeros_like(inner)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - inner, connectivity=4)
    for number in range(1, len(stats)):
        left, top, wide, tall, size = stats[number].tolist()
        ends = left == 0 or top == 0 or left + wide == w or top + tall == h
        if not ends and size < FIELD * piece.size:
            holes[labels == number] = 1
    # Text beside a bar may touch it.
    thick = np.ones((max(3, min(w, h) // 3) | 1,) * 2, np.uint8)
    inner = cv2.erode(
        inner | holes, thick, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    inner = cv2.dilate(inner, thick)
    left, top, w, h = cv2.boundingRect(inner)
    x, y = x + left, y + top
    full = inner.sum() >= FULL * w * h
    if not (_of_a_box(w, h, piece.shape) and full and _ends(piece, x, y, w, h)):
        return _outside(piece, found, straight=straight)
    area = np.zeros_like(piece)
    area[y : y + h, x : x + w] = 1
    return area & (1 - found)


def _ends(piece: np.ndarray, x: int, y: int, w: int, h: int) -> bool:
    """Return whether a piece ends at a box, but for text that touches a bar."""
    rows, columns = slice(y, y + h), slice(x, x + w)
    # Waves of JPEG may belong to the piece, but not to its box.
    around = (
        piece[max(0, y - 5) : max(0, y - 2), columns],
        piece[y + h + 2 : y + h + 5, columns],
        piece[rows, max(0, x - 5) : max(0, x - 2)],
        piece[rows, x + w + 2 : x + w + 5],
    )
    touching = sorted(float(side.mean()) for side in around if side.size)
    last = 0.6 if len(touching) == 4 else 0.05
    return not touching or (touching[-1] <= last and touching[:-1][-1:] <= [0.1])


def _outside(piece: np.ndarray, found: np.ndarray, *, straight: bool) -> np.ndarray:
    """Return what is outside of a convex field; nothing if that is not the piece.

    Args:
        piece: uint8 (h, w).
        found: what is known not to be smear.
        straight: whether the field must end in a straight line or a smooth curve, and
            be much of the image.
    """
    none = np.zeros_like(piece)
    rest = (1 - piece) & (1 - found)
    hulls = _hulls(rest)
    if not hulls.any():
        return 1 - found if rest.mean() < FIELD / 4 and not straight else none
    wrong = int((piece & hulls).sum())
    border = _wider(hulls, 1) & (1 - hulls) & piece
    allowed = (0.02 if straight else 0.15) * int(piece.sum()) + int(border.sum())
    if wrong > allowed or (straight and not _is_drawn(border, hulls)):
        return none
    return (1 - hulls) & (1 - found)


def _hulls(rest: np.ndarray) -> np.ndarray:
    """Return the convex hulls of the fields of smear."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=4)
    hulls = np.zeros_like(rest)
    for number in range(1, len(stats)):
        if stats[number, cv2.CC_STAT_AREA] >= FIELD * rest.size:
            own = np.uint8(labels == number)
            lines, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.fillConvexPoly(hulls, cv2.convexHull(np.concatenate(lines)), 1)
    return hulls


def _is_drawn(border: np.ndarray, field: np.ndarray) -> bool:
    """Return whether a border is that of a line, a large circle or a rectangle."""
    points = np.float32(np.argwhere(border)[:, ::-1])
    if len(points) < 8 or field.mean() < MOST:
        return False
    middle = points - points.mean(axis=0)
    residuals = [np.abs(middle @ np.linalg.svd(middle, full_matrices=False)[2][1])]
    # x^2 + y^2 = 2 a x + 2 b y + c
    system = np.c_[2 * middle, np.ones(len(points))]
    (a, b, c), *_ = np.linalg.lstsq(system, (middle**2).sum(axis=1), rcond=None)
    radius = (c + a * a + b * b) ** 0.5
    if radius >= 0.42 * min(field.shape):
        residuals.append(np.abs(np.hypot(*(middle - (a, b)).T) - radius))
    lines, _ = cv2.findContours(field, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = cv2.boxPoints(cv2.minAreaRect(np.concatenate(lines)))
    sides = [cv2.pointPolygonTest(corners, point.tolist(), True) for point in points]
    residuals.append(np.abs(sides))
    allowed = np.clip(0.02 * np.hypot(*np.ptp(points, axis=0)), 0.75, 2)
    return any(np.percentile(apart, 95) <= allowed for apart in residuals)


def _dim(dark: np.ndarray, found: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return what is outside of the field where its edge is soft, up to ``DIM``."""
    smear = found == 0
    beside = smear & (_wider(dark, 4) > 0)
    if not beside.any():
        return dark
    full = float(np.percentile(light[smear], 75))
    if np.percentile(light[beside], 80) >= 0.5 * full:
        return dark
    # Cells in the dim light are as dark, but inside of the hull.
    outside = 1 - _hulls(np.uint8(light > DIM * full) & (1 - found))
    _, labels = cv2.connectedComponents(outside | dark)
    return np.uint8(np.isin(labels, labels[dark > 0]))


def _continued(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the image, with what surrounds the areas continued into them."""
    if found.all():
        return np.full_like(image, GREY)
    factor = min(1.0, (CONTINUED / found.size) ** 0.5)
    size = [max(1, round(side * factor)) for side in found.shape[::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(255 * _wider(found, 1), size, interpolation=cv2.INTER_AREA)
    mask = np.uint8(mask > 0)
    if mask.all():
        return np.full_like(image, GREY)
    continued = cv2.inpaint(small, mask, REACH, cv2.INPAINT_TELEA)
    return cv2.resize(continued, found.shape[::-1], interpolation=cv2.INTER_LINEAR)
