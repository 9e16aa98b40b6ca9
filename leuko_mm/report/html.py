"""Self-contained HTML pages, Markdown tables and numbers."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image


@dataclass(frozen=True)
class Measured:
    """A figure with the ends of its interval; None where there is none.

    Args:
        value: in the unit of its column or axis.
        low, high: ends of the interval.
        digits: behind the point.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 2


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right.

    Example:
        >>> print(table(["a", "b"], [["x", "1"]]))
        | a | b |
        |---|---:|
        | x | 1 |
    """
    rule = "|---|" + "---:|" * (len(header) - 1)
    lines = [f"| {' | '.join(line)} |" for line in (header, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def number(value: float | None, digits: int = 1) -> str:
    """Format a number; a hyphen stands for None and NaN.

    Example:
        >>> number(2.345), number(2.345, 2), number(None)
        ('2.3', '2.35', '-')
    """
    # NaN is the only number that differs from itself.
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def change(new: float | None, old: float | None) -> str:
    """Say a change in percent; a hyphen stands for one that has none.

    Example:
        >>> change(5, 10), change(12, 10), change(10, 10), change(1, 0)
        ('-50 %', '+20 %', '+0 %', '-')
    """
    return f"{100 * (new / old - 1):+.0f} %" if old and new is not None else "-"


TEMPLATES = Path(__file__).parent / "templates"
MISSING = Markup('<span class="missing" title="not defined">&ndash;</span>')

# What a browser shows everywhere, by the ending of the file.
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".svg": "image/svg+xml",
}


def render(template: str, data: Mapping) -> str:
    """Fill a template; the page needs no other file and no network.

    Everything that ``data`` names is escaped, a name that the template uses and
    ``data`` lacks is an error, and the page's own policy forbids the browser to
    fetch anything or to run another script than the page's.

    Args:
        template: file name in ``templates/``, ending in .html.
        data: what the template names.

    Raises:
        jinja2.UndefinedError: if ``data`` lacks a name.

    Example:
        >>> page = render("page.html", {"title": "<run>", "script": ""})
        >>> "<title>&lt;run&gt;</title>" in page
        True
    """
    return environment().get_template(template).render(**data)


@functools.cache
def environment() -> Environment:
    """Return the templates' environment: everything escaped, nothing undefined.

    One a process, which then compiles each template once.
    """
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, count=count, rgb=rgb)
    made.globals.update(asset=asset, source_hash=source_hash)
    return made


def asset(name: str) -> Markup:
    """Return a stylesheet or a script of the templates' folder, to be inlined.

    Raises:
        ValueError: if it holds ``</``, which could end the element around it.
    """
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    if "</" in text:
        raise ValueError(f"{name} holds '</', which may end its element; write '<\\/'")
    return Markup(text)


def source_hash(text: str) -> Markup:
    """Return a text's source expression for a Content-Security-Policy.

    Example:
        >>> print(source_hash(""))
        'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    digest = hashlib.sha256(str(text).encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")


def image_uri(image: np.ndarray | str | Path, *, quality: int | None = None) -> str:
    """Return an image as a ``data:`` URI.

    Args:
        image: RGB uint8 array, or a .png, .jpg or .svg file, taken as it is.
        quality: 0-100 writes an array as JPEG; None as PNG, without loss.

    Shape:
        (H, W, 3).

    Raises:
        ValueError: if the array is no RGB image or the file of another kind.

    Example:
        >>> image_uri(np.zeros((2, 2, 3), np.uint8))[:30]
        'data:image/png;base64,iVBORw0K'
    """
    if not isinstance(image, np.ndarray):
        path = Path(image)
        if path.suffix.lower() not in MEDIA_TYPES:
            raise ValueError(f"{path} must be one of {', '.join(MEDIA_TYPES)}")
        return data_uri(path.read_bytes(), MEDIA_TYPES[path.suffix.lower()])
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"the image has shape {image.shape} and dtype {image.dtype}; expected "
            "(H, W, 3) uint8 RGB"
        )
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    if quality is None:
        picture.save(buffer, "PNG", optimize=True)
        return data_uri(buffer.getvalue(), "image/png")
    # Full chroma: halved, it blurs the coloured outlines of cells. Not optimised:
    # Pillow's room for that is too small for pictures that are mostly noise.
    picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` URI.

    Example:
        >>> data_uri(b"abc", "text/plain")
        'data:text/plain;base64,YWJj'
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def percent(value: float | None, digits: int = 2) -> str:
    """Format a percentage without its sign; a dash stands for None and NaN.

    Example:
        >>> percent(91.888), str(percent(None))[-14:]
        ('91.89', '&ndash;</span>')
    """
    # NaN is the only number that differs from itself.
    return MISSING if value is None or value != value else f"{value:.{digits}f}"


def count(value: int | None) -> str:
    """Format a count with a narrow space at every thousand; a dash stands for None.

    Example:
        >>> count(1234567)
        '1\\u202f234\\u202f567'
    """
    return MISSING if value is None else f"{value:,}".replace(",", "\u202f")


def rgb(colour: tuple[int, int, int]) -> str:
    """Format a colour for an SVG attribute.

    Example:
        >>> rgb((255, 0, 128))
        '#ff0080'
    """
    return "#" + "".join(f"{int(part):02x}" for part in colour)
