"""Read image and mask files of any origin safely.

The content of a file decides its format, not its extension. Only the decoders of the
formats below are used, none of which starts another program.

=========================== ====================================================
a file that ...             is ...
=========================== ====================================================
is no PNG, JPEG, TIFF, BMP, refused; so is a file that is empty, cut short or
WebP, GIF or PNM            broken anywhere
has over 89 million pixels  refused from its header, nothing is decoded; a caller
                            may allow more (``max_pixels``)
is under 8 pixels high or   refused: it holds no cell
wide
has several frames or pages refused; of a phone's JPEG with previews (MPO) the
                            first frame is read
is turned by its EXIF tag   turned upright, image and mask alike; refused with
                            16 bits a channel
has transparent pixels      refused: the colour behind them is not known
has an opaque alpha         read without it
is grey, or 1-bit           an image: repeated on three channels; a mask: its
                            values, and 0 and 255 for 1 bit
has a palette               an image: its colours; a mask: its indices
has 16 bits a channel       an image: divided by 257 and rounded, refused where no
                            value is above 4095 (10 or 12 bits would look black);
                            a grey mask: its values; a colour mask: refused
is CMYK, Lab, HSV, YCbCr,   refused: its colours depend on an unknown profile or
float or 32-bit             scale; 32-bit masks are read
has an ICC profile          read as if it had none
=========================== ====================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.transforms.ahe_retinex import as_rgb_uint8

# Format -> its suffixes, the usual one first.
SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
IMAGE_SUFFIXES = tuple(sorted({s for known in SUFFIXES.values() for s in known}))
# Without this, Pillow knows only some formats. MPO files are opened as JPEG.
Image.init()
DECODERS = [name for name in SUFFIXES if name in Image.OPEN]
# Just below the limit at which Pillow warns: a small file can decode to more pixels
# than the memory holds.
MAX_PIXELS = 89_000_000
MIN_SIDE = 8
BAND = 256  # rows converted at a time, so that a large image is not there twice
ORIENTATION = 0x0112  # EXIF tag
GREY_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


class ImageFileError(DatasetError):
    """An image file cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image file says."""

    path: Path
    format: str  # Pillow's name, such as PNG
    mode: str  # Pillow's name, such as CMYK
    width: int  # pixels, before the EXIF tag turns the image
    height: int
    bits: int  # of one channel
    frames: int  # above 1 in animations and files of several pages
    orientation: int  # EXIF: 1 upright, 2 to 8 turned or mirrored
    alpha: bool  # whether it has an alpha channel or a transparent colour

    @property
    def turned(self) -> bool:
        """Whether its EXIF tag turns or mirrors it."""
        return self.orientation != 1

    @property
    def suffix_fits(self) -> bool:
        """Whether the extension is one of the format's."""
        return self.path.suffix.lower() in SUFFIXES[self.format]

    @property
    def plain(self) -> bool:
        """Whether every program reads the same 8-bit grey or RGB pixels."""
        usual = self.format in ("PNG", "JPEG") and self.mode in ("L", "RGB")
        odd = self.turned or self.alpha or self.bits != 8 or self.frames > 1
        return usual and not odd and self.suffix_fits


def image_facts(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Read the header of an image.

    Raises:
        ImageFileError: if it is missing, no image of a known format, too large
            (``max_pixels``) or too small.
    """
    path = Path(path)
    try:
        with _opened(path) as image:
            _check_size(path, *image.size, max_pixels)
            return ImageFacts(
                path=path,
                format=image.format,
                mode=image.mode,
                width=image.width,
                height=image.height,
                bits=_bits(image, path),
                frames=getattr(image, "n_frames", 1),
                orientation=_orientation(image, path),
                alpha=image.mode in ALPHA_MODES or "transparency" in image.info,
            )
    except ImageFileError:
        raise
    except Exception as error:  # decoders raise anything on a broken file
        raise _unreadable(path, error) from None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Pillow warns of what it corrects, and of what is refused here.
        warnings.simplefilter("ignore")
        # Opening reads the header only; `_check_size` comes before any pixel.
        pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=DECODERS)
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit
        with image:
            yield image


def _check_size(path: Path, width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise ImageFileError(
            f"{path}: {width}x{height} pixels; expected at most {limit / 1e6:.0f} "
            "million, as a small file can decode to more than the memory holds; cut it "
            "into fields, or let `leuko predict` take it with --max-megapixels "
            f"{-(-width * height // 1_000_000)}"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageFileError(
            f"{path}: {width}x{height} pixels; expected {MIN_SIDE} or more a side"
        )


def _orientation(image: Image.Image, path: Path) -> int:
    # Pillow decodes all of a PNG to look for a tag behind the pixels; this is faster.
    marks = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
    if image.format == "PNG":
        content = path.read_bytes()
        if not any(mark in content for mark in marks):
            return 1
    return image.getexif().get(ORIENTATION, 1) or 1


def _bits(image: Image.Image, path: Path) -> int:
    if image.format == "PNG":
        with open(path, "rb") as file:
            depth = file.read(25)[24]
        return 16 if depth == 16 else 8
    if image.format == "TIFF":
        return max(8, *image.tag_v2.get(258, (8,)))
    if image.format == "PPM" and image.mode == "I":
        return 16
    return {"I": 32, "F": 32}.get(image.mode, 16 if ";16" in image.mode else 8)


def _unreadable(path: Path, error: Exception) -> ImageFileError:
    if isinstance(error, FileNotFoundError):
        return ImageFileError(f"{path} is missing")
    if path.is_file() and path.stat().st_size == 0:
        return ImageFileError(f"{path}: empty, 0 bytes")
    kind = type(error).__name__
    return ImageFileError(f"{path}: cannot be read as an image ({kind}: {error})")


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image as RGB, upright.

    Args:
        path: image file.
        max_pixels: a larger image is refused before anything is decoded.

    Shape:
        (H, W, 3) uint8.

    Raises:
        ImageFileError: for what the table of this module says is refused.
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
    image = _decoded(facts)
    if facts.alpha:
        image = _without_alpha(facts, image)
    width, height = image.size
    array = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND):
        rows = image.crop((0, top, width, min(height, top + BAND)))
        array[top : top + BAND] = np.asarray(rows.convert("RGB"))
    return array


def _decoded(facts: ImageFacts) -> Image.Image:
    try:
        with _opened(facts.path) as image:
            image.load()
            # exif_transpose would copy an image that is upright already.
            return ImageOps.exif_transpose(image) if facts.turned else image
    except Exception as error:  # decoders raise anything on a broken file
        raise _unreadable(facts.path, error) from None


def _sixteen_bits(facts: ImageFacts) -> np.ndarray:
    path = facts.path
    if facts.turned:
        raise ImageFileError(
            f"{path}: 16 bits a channel, and turned by an EXIF tag; save it upright"
        )
    _decoded(facts)  # Pillow notices a file that is cut short, OpenCV fills it up
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise ImageFileError(
            f"{path}: 16-bit pixels of a kind that is not read; save it with 8 bits"
        )
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]  # BGR to RGB
    try:
        return as_rgb_uint8(array)
    except ValueError as error:
        raise ImageFileError(f"{path}: {error}") from None


def check_frames(facts: ImageFacts) -> None:
    """Refuse animations and files of several pages."""
    if facts.frames > 1 and facts.format != "MPO":
        raise ImageFileError(
            f"{facts.path}: {facts.frames} frames or pages; expected one image a "
            "file; save the one that you mean"
        )


def _without_alpha(facts: ImageFacts, image: Image.Image) -> Image.Image:
    full = image.convert("RGBA")
    if full.getextrema()[3][0] < 255:
        raise ImageFileError(
            f"{facts.path}: has transparent pixels; put it on its background and save "
            "it without alpha"
        )
    return full.convert("L" if facts.mode in ("LA", "La") else "RGB")


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask file."""

    values: np.ndarray  # whole numbers (H, W), or colours (H, W, 3) uint8
    palette: np.ndarray | None = None  # colours (N, 3) uint8 of the values, if any


def read_mask_file(path: Path) -> MaskFile:
    """Read the values or colours of a mask file, upright.

    Raises:
        ImageFileError: for what the table of this module says is refused.
    """
    facts = image_facts(path)
    check_frames(facts)
    grey = facts.mode in GREY_MODES
    if not grey and (facts.bits > 8 or facts.mode not in (*ALPHA_MODES, "RGB")):
        raise ImageFileError(
            f"{path}: {facts.bits} bits of type {facts.mode} a channel; expected a "
            "mask of whole numbers, of a palette or of 8-bit RGB colours"
        )
    image = _decoded(facts)
    if facts.alpha and facts.mode != "P":
        image = _without_alpha(facts, image)
        grey = facts.mode in ("LA", "La")
    if not grey:
        return MaskFile(np.array(image.convert("RGB")))
    values = np.array(image)
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    palette = image.getpalette("RGB") if image.mode == "P" else None
    colours = None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)
    return MaskFile(values, colours)
