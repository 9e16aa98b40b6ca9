"""Self-contained HTML pages, and the numbers and images on them."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
MISSING = Markup('<span class="missing" title="not defined">&ndash;</span>')


@dataclass(frozen=True)
class Measured:
    """A number in the unit of its column, and the ends of its interval; None: none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 2


def render(template: str, data: Mapping) -> str:
    """Fill a template; the page needs no other file and no network.

    Every value of ``data`` is escaped. The page's Content-Security-Policy forbids the
    browser to fetch anything, and to run any script but the page's own.

    Args:
        template: file name in ``templates/``, ending in .html.
        data: the names that the template uses.

    Raises:
        jinja2.UndefinedError: if ``data`` lacks a name.
    """
    return environment().get_template(template).render(**data)


@functools.cache
def environment() -> Environment:
    """Return the environment of the templates, which compiles each of them once."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, count=count, rgb=rgb, urlencode=link)
    made.globals.update(asset=asset, source_hash=source_hash)
    return made


def asset(name: str) -> Markup:
    """Return a stylesheet or scripts of the templates' folder, to be inlined.

    Args:
        name: of a file, or of several with spaces between.

    Raises:
        ValueError: if it contains ``</``, which could end the element around it.
    """
    files = [TEMPLATES / part for part in name.split()]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    if "</" in text:
        raise ValueError(f"{name} holds '</', which may end its element; write '<\\/'")
    return Markup(text)


def link(path: str) -> str:
    """Return a path as a link has it; of a name that is no text, its bytes."""
    return quote(os.fsencode(path))


def source_hash(text: str) -> Markup:
    """Return a text's source expression for a Content-Security-Policy."""
    digest = hashlib.sha256(str(text).encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def picture(image: np.ndarray, *, quality: int) -> dict:
    """Return a uint8 RGB image (H, W, 3) as a template shows it: URI, width, height.

    Raises:
        ValueError: if the array is not an RGB image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"the image has shape {image.shape} and dtype {image.dtype}; expected "
            "(H, W, 3) uint8 RGB"
        )
    buffer = io.BytesIO()
    # Halved chroma would blur the coloured outlines of cells. With optimize=True,
    # Pillow's buffer is too small for images that are mostly noise.
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    height, width = image.shape[:2]
    uri = data_uri(buffer.getvalue(), "image/jpeg")
    return dict(uri=uri, width=width, height=height)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = "|---|" + "---:|" * (len(header) - 1)
    lines = [f"| {' | '.join(line)} |" for line in (header, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def put_into(page: str, name: str, text: str) -> str:
    """Return a Markdown page with the text after ``<!-- name -->`` replaced.

    Raises:
        ValueError: if the page has no such mark with ``<!-- end of name -->`` below it.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, mark, rest = page.partition(begin)
    _, close, after = rest.partition(end)
    if not mark or not close:
        raise ValueError(
            f"the page has no '{begin.strip()}' with '{end}' below it; put both where "
            "the text belongs"
        )
    return f"{before}{begin}{text}{end}{after}"


def number(value: float | None, digits: int = 1) -> str:
    """Format a number; a hyphen stands for None and NaN."""
    return "-" if _is_missing(value) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 2) -> str:
    """Format a percentage without its sign; a dash stands for None and NaN."""
    return MISSING if _is_missing(value) else f"{value:.{digits}f}"


def _is_missing(value: float | None) -> bool:
    return value is None or value != value  # only NaN differs from itself


def count(value: int | None) -> str:
    """Format a count with a narrow space at every thousand; a dash stands for None."""
    return MISSING if value is None else f"{value:,}".replace(",", "\u202f")


def rgb(colour: tuple[int, int, int]) -> str:
    """Format a colour for an SVG attribute: ``#ff0080``."""
    return "#" + "".join(f"{int(part):02x}" for part in colour)
