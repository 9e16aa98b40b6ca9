"""Read image and mask files of any origin safely.

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

# Suffixes that a format goes by; the first is the usual one.
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
# Pillow knows only some before this. A JPEG with previews is opened as a JPEG.
Image.init()
DECODERS = [name for name in SUFFIXES if name in Image.OPEN]
# Below Pillow's own limit, from which on it warns. A small file may promise more than
# the memory holds, so a higher one is the user's to allow.
MAX_PIXELS = 89_000_000
MIN_SIDE = 8
ORIENTATION = 0x0112
GREY_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


class ImageFileError(DatasetError):
    """A file is no image that can be used; the message names it and says why."""


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image file says.

    Attributes:
        path: the file.
        format, mode: Pillow's names, such as PNG and CMYK.
        width, height: pixels, before the EXIF tag turns them.
        bits: of one channel.
        frames: 1, but for animations and files of several pages.
        turned: whether its EXIF tag turns or mirrors it.
        alpha: whether it has an alpha channel or a transparent colour.
    """

    path: Path
    format: str
    mode: str
    width: int
    height: int
    bits: int
    frames: int
    turned: bool
    alpha: bool

    @property
    def suffix_fits(self) -> bool:
        """Whether the extension is one of the format's."""
        return self.path.suffix.lower() in SUFFIXES[self.format]

    @property
    def plain(self) -> bool:
        """Whether every reader sees the same 8-bit grey or RGB pixels in the file."""
        usual = self.format in ("PNG", "JPEG") and self.mode in ("L", "RGB")
        odd = self.turned or self.alpha or self.bits != 8 or self.frames > 1
        return usual and not odd and self.suffix_fits


def image_facts(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Return what the header of an image says.

    Args:
        path: the file.
        max_pixels: more of them are refused.

    Raises:
        ImageFileError: if it is missing, no image of a known format, too large or
            too small.
    """
    path = Path(path)
    try:
        with opened(path) as image:
            _check_size(path, *image.size, max_pixels)
            return ImageFacts(
                path=path,
                format=image.format,
                mode=image.mode,
                width=image.width,
                height=image.height,
                bits=_bits(image, path),
                frames=getattr(image, "n_frames", 1),
                turned=_is_turned(image, path),
                alpha=image.mode in ALPHA_MODES or "transparency" in image.info,
            )
    except ImageFileError:
        raise
    except Exception as error:  # decoders raise anything on a broken file
        raise unreadable(path, error) from None


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image by its content, quietly."""
    with warnings.catch_warnings():
        # What Pillow warns of is refused, or mended by it.
        warnings.simplefilter("ignore")
        with _opened_at_any_size(path) as image:
            yield image


def _opened_at_any_size(path: Path) -> Image.Image:
    """Open an image whose header is read, and no pixel; its size is checked next."""
    former, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path, formats=DECODERS)
    finally:
        Image.MAX_IMAGE_PIXELS = former


def _check_size(path: Path, width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise ImageFileError(
            f"{path}: {width}x{height} pixels; expected at most {limit / 1e6:.0f} "
            "million, as a small file may promise more than the memory holds; cut it "
            "into fields, or let `leuko predict` take it with --max-megapixels "
            f"{-(-width * height // 1_000_000)}"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageFileError(
            f"{path}: {width}x{height} pixels; expected {MIN_SIDE} or more a side"
        )


def _is_turned(image: Image.Image, path: Path) -> bool:
    # Of a PNG, Pillow decodes every pixel to be sure that no tag stands behind them.
    marks = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
    if image.format == "PNG":
        content = path.read_bytes()
        if not any(mark in content for mark in marks):
            return False
    return image.getexif().get(ORIENTATION, 1) not in (0, 1)


def _bits(image: Image.Image, path: Path) -> int:
    """Return the bits of a channel as stored; Pillow shows 16-bit colours as 8."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            depth = file.read(25)[24]
        return 16 if depth == 16 else 8
    if image.format == "TIFF":
        return max(8, *image.tag_v2.get(258, (8,)))
    if image.format == "PPM" and image.mode == "I":
        return 16
    return {"I": 32, "F": 32}.get(image.mode, 16 if ";16" in image.mode else 8)


def unreadable(path: Path, error: Exception) -> ImageFileError:
    """Return an error that says what a decoder stumbled over."""
    if isinstance(error, FileNotFoundError):
        return ImageFileError(f"{path} is missing")
    if path.is_file() and path.stat().st_size == 0:
        return ImageFileError(f"{path}: empty, 0 bytes")
    kind = type(error).__name__
    return ImageFileError(f"{path}: cannot be read as an image ({kind}: {error})")


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


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask file.

    Attributes:
        values: whole numbers (H, W), or colours (H, W, 3) uint8.
        palette: (N, 3) uint8 colours of the values, None where the file has none.
    """

    values: np.ndarray
    palette: np.ndarray | None = None


def read_mask_file(path: Path) -> MaskFile:
    """Return the values or colours of a mask file, upright.

    Raises:
        ImageFileError: where the table of this module says refused.
    """
    facts = image_facts(path)
    check_frames(facts)
    grey = facts.mode in GREY_MODES
    if not grey and (facts.bits > 8 or facts.mode not in (*ALPHA_MODES, "RGB")):
        raise ImageFileError(
            f"{path}: {facts.bits} bits of type {facts.mode} a channel; expected a "
            "mask of whole numbers, of a palette or of 8-bit RGB colours"
        )
    image = decoded(facts)
    if facts.alpha and facts.mode != "P":
        image = without_alpha(facts, image)
        grey = facts.mode in ("LA", "La")
    if not grey:
        return MaskFile(np.array(image.convert("RGB")))
    values = np.array(image)
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    palette = image.getpalette("RGB") if image.mode == "P" else None
    colours = None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)
    return MaskFile(values, colours)
