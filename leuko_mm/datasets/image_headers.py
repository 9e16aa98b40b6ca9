"""What the header of an image file says (rules: ``datasets.image_files``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from leuko_mm.datasets.prepared import DatasetError

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
