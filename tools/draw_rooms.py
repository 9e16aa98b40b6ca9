"""Draw the rooms of the package and what imports what, read off the source.

    python tools/draw_rooms.py docs/images/rooms.svg

Nothing is imported; a test redraws the picture and compares it with the committed one.
"""

from __future__ import annotations

import argparse
import ast
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "leuko_mm"
FLOORS = {
    name: rooms.split()
    for name, rooms in (
        ("commands", "cli"),
        (
            "jobs",
            "app training comparison inference zoo "
            "browse check doctor enhance parts split",
        ),
        ("rooms", "datasets transforms models losses engine evaluation report"),
        (
            "ground",
            "classes errors files lazy plugins processes progress registry stack",
        ),
    )
}
MOST_IN_A_ROW = 7
# Pixels.
WIDTH, MARGIN, LABEL = 1000, 16, 112
GAP, RISE, PAD = 14, 30, 12
LINE, LETTER = 16, 6.4
INK, GREY, BLUE = "#16233f", "#5b6577", "#3b5bab"


def imports_of(room: str) -> set[str]:
    """Return the rooms that a room imports."""
    folder = PACKAGE / room
    files = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    names = [name.split(".") for file in files for name in _imported_names(file)]
    return {name[1] for name in names if name[0] == PACKAGE.name and name[1:]} - {room}


def _imported_names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def draw() -> str:
    """Return the picture as SVG text."""
    drawn, top = [], MARGIN
    for floor, rooms in FLOORS.items():
        if top > MARGIN:
            drawn.append(_arrow(top - RISE, top))
        boxes, bottom = [], top + PAD
        rows = -(-len(rooms) // MOST_IN_A_ROW)
        in_a_row = -(-len(rooms) // rows)
        for start in range(0, len(rooms), in_a_row):
            row, height = _row(rooms[start : start + in_a_row], in_a_row, bottom)
            boxes += row
            bottom += height + PAD
        drawn += [_floor(floor, top, bottom - top), *boxes]
        top = bottom + RISE
    height = top - RISE + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif">',
            "<title>Rooms of leuko_mm and what imports what</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _row(rooms: Sequence[str], columns: int, y: int) -> tuple[list[str], int]:
    """Return the boxes of a row and its height."""
    space = WIDTH - LABEL - MARGIN - PAD
    width = (space - GAP * (columns - 1)) // columns
    uses = [_uses(room, int((width - 12) / LETTER)) for room in rooms]
    height = 32 + LINE * max(map(len, uses))
    lefts = (LABEL + i * (width + GAP) for i in range(columns))
    return [
        _box(room, lines, x, y, width, height)
        for room, lines, x in zip(rooms, uses, lefts, strict=False)
    ], height


def _uses(room: str, letters: int) -> list[str]:
    """Return what a room imports, from the top floor to the ground, in lines."""
    imports = imports_of(room)
    names = [name for rooms in FLOORS.values() for name in rooms if name in imports]
    return textwrap.wrap("uses " + ", ".join(names), letters) if names else []


def _floor(name: str, y: int, height: int) -> str:
    return (
        f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" '
        f'rx="10" fill="#f4f6fa"/><text class="floor" x="{MARGIN + 10}" '
        f'y="{y + height // 2 + 5}" font-size="14" fill="{GREY}">{name}</text>'
    )


def _arrow(start: int, end: int) -> str:
    x = WIDTH // 2
    return (
        f'<path d="M{x} {start + 3} V{end - 9}" stroke="{BLUE}" stroke-width="2"/>'
        f'<path d="M{x - 6} {end - 11} h12 l-6 9 Z" fill="{BLUE}"/>'
    )


def _box(
    room: str, lines: Sequence[str], x: int, y: int, width: int, height: int
) -> str:
    middle = x + width // 2
    text = [
        f'<text class="uses" x="{middle}" y="{y + 40 + LINE * i}" font-size="12" '
        f'fill="{GREY}" text-anchor="middle">{line}</text>'
        for i, line in enumerate(lines)
    ]
    return "".join(
        [
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" '
            f'fill="#ffffff" stroke="{BLUE}"/><text class="room" x="{middle}" '
            f'y="{y + 21}" font-size="16" font-weight="bold" fill="{INK}" '
            f'text-anchor="middle">{room}</text>',
            *text,
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the rooms of the package.")
    parser.add_argument("out", type=Path, help="SVG file to write")
    parser.parse_args().out.write_text(draw(), encoding="utf-8")
