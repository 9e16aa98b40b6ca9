"""Read image and mask files of any origin safely: the one home of that.

Files are read by their content, never by their extension, and only by the decoders
of the formats below: no file can call another program. What is done with the odd
ones is the same everywhere:

=========================== ====================================================
a file that ...             is ...
=========================== ====================================================
is no PNG, JPEG, TIFF, BMP, refused: empty, cut short, of another format, or
WebP, GIF or PNM, or broken  broken anywhere
has over 89 million pixels  refused from its header, nothing is decoded; a caller
                            may allow more (``max_pixels``)
is under 8 pixels high or   refused: it holds no cell
wide
has several frames or pages refused; but of a phone's JPEG with previews (MPO)
                            the first frame is the picture
is turned by its EXIF tag   turned upright, image and mask alike; with 16 bits
                            a channel refused
has transparent pixels      refused: what lies behind is not known
has an opaque alpha         read without it
is grey, or 1-bit           repeated on three channels (as a mask: values; 1 bit
                            gives 0 and 255)
has a palette               an image: its colours; a mask: its indices
has 16 bits a channel       an image: divided by 257 and rounded, refused where no
                            value is above 4095 (10 or 12 bits, it would be black);
                            a grey mask: its values; a colour mask: refused
is CMYK, Lab, HSV, YCbCr,   refused: its colours depend on a profile or a scale
float or 32-bit             that is not known; 32-bit masks are read
has an ICC profile          read as if it had none
=========================== ====================================================
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from leuko_mm.datasets.image_headers import (
    ALPHA_MODES,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    ImageFacts,
    ImageFileError,
    image_facts,
    opened,
    unreadable,
)
from leuko_mm.transforms.image_input import as_rgb_uint8

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFacts",
    "ImageFileError",
    "check_frames",
    "decoded",
    "image_facts",
    "read_image",
    "without_alpha",
]


# Rows that are copied at a time: a large image is never there twice.
BAND = 256


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return an image as RGB uint8 (H, W, 3), upright.

    Args:
        path: the file.
        max_pixels: more of them are refused before anything is decoded. Decoding takes
            about seven bytes a pixel of 8 bits a channel.

    Raises:
        ImageFileError: where the table of this module says refused.
    """
    facts = image_facts(path, max_pixels=max_pixels)
    check_frames(facts)
    if facts.bits == 16:
        return _sixteen_bits(facts)
    if facts.mode not in ("1", "L", "P", "RGB", *ALPHA_MODES):
        raise ImageFileError(
            f"{path}: colours of type {facts.mode}; expected RGB or grey; export it "
            "as RGB with 8 bits a channel"
        )
    image = decoded(facts)
    if facts.alpha:
        image = without_alpha(facts, image)
    return _as_array(image)


def _as_array(image: Image.Image) -> np.ndarray:
    """Return RGB uint8 (H, W, 3), converted a few rows at a time."""
    width, height = image.size
    array = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND):
        rows = image.crop((0, top, width, min(height, top + BAND)))
        array[top : top + BAND] = np.asarray(rows.convert("RGB"))
    return array


def decoded(facts: ImageFacts) -> Image.Image:
    """Return the image decoded to its end and upright.

    Raises:
        ImageFileError: if it is cut short or broken.
    """
    try:
        with opened(facts.path) as image:
            image.load()
            # It copies an image that stands upright already.
            return ImageOps.exif_transpose(image) if facts.turned else image
    except Exception as error:  # as above
        raise unreadable(facts.path, error) from None


def _sixteen_bits(facts: ImageFacts) -> np.ndarray:
    path = facts.path
    if facts.turned:
        raise ImageFileError(
            f"{path}: 16 bits a channel, and turned by an EXIF tag; save it upright"
        )
    decoded(facts)  # Pillow notices a file that is cut short, OpenCV fills it up
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise ImageFileError(
            f"{path}: 16-bit pixels of a kind that is not read; save it with 8 bits"
        )
    order = [2, 1, 0, 3]
    try:
        return as_rgb_uint8(
            array if array.ndim == 2 else array[..., order[: array.shape[2]]]
        )
    except ValueError as error:
        raise ImageFileError(f"{path}: {error}") from None


def check_frames(facts: ImageFacts) -> None:
    """Refuse animations and files of several pages."""
    if facts.frames > 1 and facts.format != "MPO":
        raise ImageFileError(
            f"{facts.path}: {facts.frames} frames or pages; expected one image a "
            "file; save the one that is meant"
        )


def without_alpha(facts: ImageFacts, image: Image.Image) -> Image.Image:
    """Return an image without its alpha, or refuse it where that is not opaque."""
    full = image.convert("RGBA")
    if full.getextrema()[3][0] < 255:
        raise ImageFileError(
            f"{facts.path}: has transparent pixels; lay it on its background and save "
            "it without alpha"
        )
    return full.convert("L" if facts.mode in ("LA", "La") else "RGB")
