"""Read image and mask files of any origin safely, and find them in folders.

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
is a PNM                    read with its values scaled, so that its maxval becomes
                            255 or 65535, masks too
has several frames or pages refused; of a phone's JPEG with previews (MPO) the
                            first frame is read
is turned by its EXIF tag   turned upright, image and mask alike; refused with
                            16 bits a channel
has transparent pixels      refused: the colour behind them is not known
has an opaque alpha         read without it
is grey, or 1-bit           an image: repeated on three channels; a mask: its
                            values, scaled to 0 to 255 where 1, 2 or 4 bits hold one
has a palette               an image: its colours; a mask: its indices
has 16 bits a channel       an image: divided by 257 and rounded, refused where
                            hardly a value is above 4095 (10 or 12 bits would look
                            black); a grey mask: its values; a colour mask: refused
is a TIFF                   read in planes, tiles and strips alike, as libtiff does,
                            but for planes of 16 bits, which are refused;
                            inverted where white is zero; refused where its numbers
                            are signed, or its layout is none that Pillow knows
is CMYK, Lab, HSV, YCbCr,   refused: its colours depend on an unknown profile or
float or 32-bit             scale; 32-bit masks are read
has an ICC profile          read as if it had none
=========================== ====================================================
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.files import printable, real_path
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
MOST_LEVELS = 32  # of a pyramid in a TIFF
BAND = 256  # rows converted at a time, so that a large image is not there twice
ORIENTATION = 0x0112  # EXIF tag
# TIFF tags
KIND, BITS, PHOTOMETRIC, SAMPLES = 254, 258, 262, 277
PLANAR, SAMPLE_FORMAT = 284, 339
PHOTOMETRIC_NAMES = {
    0: "white is zero",
    1: "black is zero",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
}
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
    frames: int  # above 1 in animations and files of several pages; smaller copies
    # of the first page do not count
    orientation: int  # EXIF: 1 upright, 2 to 8 turned or mirrored
    alpha: bool  # whether it has an alpha channel or a transparent colour
    signed: bool = False  # whether a TIFF says that its numbers are
    planes: bool = False  # whether a TIFF stores each channel apart
    inverted: bool = False  # whether white is zero in a TIFF

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
            tags = image.tag_v2 if image.format == "TIFF" else {}
            if tags:
                _check_layout(path, image)
            return ImageFacts(
                path=path,
                format=image.format,
                mode=image.mode,
                width=image.width,
                height=image.height,
                bits=_bits(image, path),
                frames=_frames(image),
                orientation=_orientation(image, path),
                alpha=image.mode in ALPHA_MODES or "transparency" in image.info,
                signed=2 in tags.get(SAMPLE_FORMAT, ()),
                planes=tags.get(PLANAR) == 2 and tags.get(SAMPLES, 1) > 1,
                inverted=tags.get(PHOTOMETRIC) == 0,
            )
    except ImageFileError:
        raise
    except Exception as error:  # decoders raise anything on a broken file
        raise _unreadable(path, error) from None


def _frames(image: Image.Image) -> int:
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or not 1 < count <= MOST_LEVELS:
        return count
    copies = 0
    for number in range(1, count):
        image.seek(number)
        copies += image.tag_v2.get(KIND, 0) & 1
    image.seek(0)
    return count - copies


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
    # What Pillow says of a TIFF whose layout it does not know.
    layout = ""
    if isinstance(error, UnidentifiedImageError) or "unknown raw mode" in str(error):
        layout = _tiff_layout(path)
    if layout:
        return _not_read(path, layout)
    return ImageFileError(f"{path}: cannot be read as an image ({kind}: {error})")


def _not_read(path: Path, layout: str) -> ImageFileError:
    instead = "export it as RGB or grey with 8 bits a channel"
    if "1 x 64 bits" in layout:
        instead = "napari saves labels so: save them with 16, labels.astype('uint16')"
    return ImageFileError(f"{path}: a TIFF of {layout}, which is not read; {instead}")


def _check_layout(path: Path, image: Image.Image) -> None:
    """Refuse what Pillow reads to other pixels than libtiff."""
    tags = image.tag_v2
    if tags.get(PLANAR) == 2 and image.mode in ("LA", "La", "PA"):
        raise _not_read(path, "grey with alpha, in separate planes")
    compressed = image.info.get("compression") != "raw"
    if image.mode == "I" and tags.prefix == b"MM" and compressed:
        raise _not_read(path, "compressed whole numbers, signed, big-endian")


def _tiff_layout(path: Path) -> str:
    """Say what a TIFF that Pillow does not know holds; "" if it is none, or broken."""
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = file.read(8)
            if header[:4] == b"MM\0+":
                return "64-bit offsets in big-endian order (BigTIFF)"
            if header[:4] == b"II+\0":
                header += file.read(8)
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
        kind = tags.get(SAMPLE_FORMAT, (1,))[0]
        kind = {1: "unsigned", 2: "signed", 3: "float"}.get(kind, "odd numbers")
        names = (
            f"{tags.get(SAMPLES, 1)} x {tags.get(BITS, (1,))[0]} bits a pixel",
            kind,
            PHOTOMETRIC_NAMES.get(tags.get(PHOTOMETRIC), "colours of no known kind"),
            "in separate planes" if tags.get(PLANAR) == 2 else "",
            "big-endian" if tags.prefix == b"MM" else "",
        )
    except Exception:  # decoders raise anything on a broken file
        return ""
    return ", ".join(name for name in names if name)


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
    deep = facts.bits == 16
    known = GREY_MODES if deep else ("1", "L", "P")
    if facts.mode not in (*known, "RGB", *ALPHA_MODES):
        raise ImageFileError(
            f"{path}: colours of type {facts.mode}; expected RGB or grey; export it "
            "as RGB with 8 bits a channel"
        )
    if facts.signed:
        raise ImageFileError(
            f"{path}: a TIFF of signed numbers, whose 0 need not be black; expected "
            "unsigned ones; export it with 8 bits a channel"
        )
    if deep:
        return _sixteen_bits(facts)
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
            if facts.format == "TIFF":
                # Or Pillow maps the file, and swaps the sides of one that is turned.
                image.filename = ""
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
    try:
        array = _sixteen_bit_samples(facts)
        if array is None or array.dtype != np.uint16:
            raise ValueError(
                "16-bit pixels of a kind that is not read; save it with 8 bits"
            )
        return as_rgb_uint8(array)
    except ImageFileError:
        raise
    except ValueError as error:
        raise ImageFileError(f"{path}: {error}") from None


def _sixteen_bit_samples(facts: ImageFacts) -> np.ndarray | None:
    if facts.planes and facts.mode in ("RGB", "RGBA"):
        # Pillow drops the low bytes, OpenCV mixes the planes up.
        raise _not_read(facts.path, "16 bits a channel, in separate planes")
    # Pillow notices a file that is cut short, OpenCV fills it up.
    image = _decoded(facts)
    if facts.format == "TIFF" and facts.mode in GREY_MODES:
        return _grey_samples(facts, image)
    array = cv2.imdecode(np.fromfile(facts.path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is not None and array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]  # BGR to RGB
        high = array[..., :3] >> 8  # which is what Pillow reads
        if facts.format == "TIFF" and (high != np.asarray(image)[..., :3]).any():
            return None
    return array


def _grey_samples(facts: ImageFacts, image: Image.Image) -> np.ndarray:
    values = np.array(image)
    if facts.format != "TIFF" or values.dtype.itemsize != 2:
        return values
    values = values.astype(np.uint16)
    return 65535 - values if facts.inverted else values  # Pillow inverts 8 bits only


def check_frames(facts: ImageFacts) -> None:
    """Refuse animations and files of several pages."""
    if facts.frames > 1 and facts.format != "MPO":
        raise ImageFileError(
            f"{facts.path}: {facts.frames} frames or pages; expected one image a "
            "file; save the one that you mean"
        )


def _without_alpha(facts: ImageFacts, image: Image.Image) -> Image.Image:
    if facts.mode == "La":  # which Pillow converts in two steps only
        image = image.convert("LA")
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
    values = _grey_samples(facts, image)
    # Pillow takes the signed 8 bits for unsigned, and the unsigned 32 for signed.
    wrapped = values > 127 if facts.signed else values < 0
    if facts.bits == (8 if facts.signed else 32) and wrapped.any():
        raise ImageFileError(
            f"{path}: values below 0 or above 2147483647; expected class or instance "
            "numbers"
        )
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    palette = image.getpalette("RGB") if image.mode == "P" else None
    colours = None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)
    return MaskFile(values, colours)


# Files that only one folder of results holds together: of a prediction and of each of
# its images, a training, a check, contact sheets.
OWN_RESULTS = (
    ("predict.json",),
    ("record.json", "labels.png"),
    ("metrics.json", "cells.npz"),
    ("check.html", "check.json"),
    ("browse.html",),
)
PREPARED = ("dataset.json", "index.csv")
# In the PNG files that `leuko enhance` writes, before the pixels.
ENHANCED_BY = "leuko enhance"
SHOWN = 3  # names of each kind in one line
# What is left out, one and many.
LINKED = ("linked folder", "linked folders")
CLOSED = ("folder that cannot be opened", "folders that cannot be opened")
OURS = ("folder of leuko's own results", "folders of leuko's own results")
ENHANCED = ("image that leuko enhance made", "images that leuko enhance made")
HIDDEN = ("hidden image", "hidden images")
OTHER = ("file of another kind", "files of other kinds")
SPECIAL = ("pipe or device", "pipes or devices")  # which could be read for ever
Kind = tuple[str, str]


def _has(folder: Path, names: Iterable[str]) -> bool:
    return all(os.path.isfile(folder / name) for name in names)


class ImageSearch:
    """Searches folders for images, and keeps what it leaves out.

    Args:
        suffixes: of the files that are read, in small letters.
        avoid: a folder that is not searched and not named, as that of the results.
        own_results: they are read too, as where they are annotations.
        prepared: prepared datasets below the folder are searched.
    """

    def __init__(
        self,
        suffixes: Iterable[str] = IMAGE_SUFFIXES,
        *,
        avoid: Path | None = None,
        own_results: bool = False,
        prepared: bool = True,
    ):
        self.suffixes = frozenset(suffixes)
        self.own_results, self.prepared = own_results, prepared
        self.avoided = real_path(avoid) if avoid else None
        self._left_out: dict[Path, Kind] = {}
        self._ours: dict[Path, bool] = {}

    def below(self, folder: Path) -> Iterator[Path]:
        """Yield the images of a folder; a folder of our own results has none."""
        if self.in_own_results(folder):
            return
        for place, folders, names in os.walk(folder, onerror=self._closed):
            here = Path(place)
            folders[:] = [name for name in folders if self._enters(here / name)]
            yield from (here / name for name in names if self._is_image(here / name))

    def in_own_results(self, path: Path) -> bool:
        """Return whether a folder, or one above the path, holds our own results."""
        path = Path(os.path.abspath(path))
        for folder in reversed((path, *path.parents)):
            if folder not in self._ours:
                self._ours[folder] = self._is_ours(folder)
            if self._ours[folder]:
                self._leave(folder, OURS)
                return True
        return False

    def left_out(self, kind: Kind) -> list[Path]:
        """Return what was left out of one kind, as ``CLOSED``."""
        return sorted(path for path, found in self._left_out.items() if found == kind)

    def line(self, root: Path) -> str:
        """Return in one line what was left out, '' if nothing; names are below root."""
        clauses = []
        for kind in (LINKED, CLOSED, OURS, ENHANCED, HIDDEN, SPECIAL, OTHER):
            if paths := self.left_out(kind):
                names = [str(p).removeprefix(f"{root}{os.sep}") for p in paths]
                if kind == OTHER:  # the most frequent suffixes first
                    counts = Counter(path.suffix for path in paths)
                    names = [name for name, _ in counts.most_common() if name] or names
                shown = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
                clauses.append(f"{len(paths)} {kind[len(paths) > 1]} ({shown})")
        return printable(f"left out: {', '.join(clauses)}") if clauses else ""

    def _leave(self, path: Path, kind: Kind) -> None:
        self._left_out[Path(os.path.abspath(path))] = kind

    def _closed(self, error: OSError) -> None:
        self._leave(error.filename, CLOSED)

    def _is_ours(self, folder: Path) -> bool:
        if self.own_results:
            return False
        masks = folder.name == "masks" and _has(folder.parent, PREPARED)
        return masks or any(_has(folder, names) for names in OWN_RESULTS)

    def _enters(self, folder: Path) -> bool:
        hidden = folder.name.startswith(".")
        if hidden or (self.avoided and real_path(folder) == self.avoided):
            return False
        if folder.is_symlink():
            self._leave(folder, LINKED)
            return False
        if not self.prepared and _has(folder, PREPARED):
            return False
        return not self.in_own_results(folder)

    def _is_image(self, path: Path) -> bool:
        wanted = path.suffix.lower() in self.suffixes
        if path.name.startswith("."):
            # The system's own files are no news; `._a.jpg` is a Mac's note on a.jpg.
            if wanted and not path.name.startswith("._"):
                self._leave(path, HIDDEN)
        elif not wanted:
            self._leave(path, OTHER)
        else:
            return not self.is_special(path) and not self.is_enhanced(path)
        return False

    def is_special(self, path: Path) -> bool:
        """Return whether a path is a pipe, a socket or a device."""
        special = os.path.exists(path) and not os.path.isfile(path)
        if special:
            self._leave(path, SPECIAL)
        return special

    def is_enhanced(self, path: Path) -> bool:
        """Return whether a file is one that ``leuko enhance`` wrote."""
        if path.suffix.lower() != ".png":
            return False
        try:
            with open(path, "rb") as file:
                ours = ENHANCED_BY.encode() in file.read(128)
        except OSError:  # named where it is read
            return False
        if ours:
            self._leave(path, ENHANCED)
        return ours
