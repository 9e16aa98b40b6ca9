"""Draw the rooms of the package and what imports what, read off the source.

    python tools/draw_rooms.py docs/images/rooms.svg

Nothing is imported; a test redraws the picture and compares it with the committed one.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "leuko_mm"
FLOORS = (
    ("cli",),
    ("workflows", "inference"),
    ("datasets", "transforms", "models", "losses", "engine", "evaluation", "report"),
    ("registry", "plugins", "classes", "stack"),
)
BOX, GAP, RISE, MARGIN = (112, 40), 22, 118, 24


def rooms_on_disk() -> list[list[str]]:
    """Return the rooms that hold code, floor by floor from the top."""
    there = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    }
    return [[room for room in floor if room in there] for floor in FLOORS]


def imports_of(room: str) -> set[str]:
    """Return the rooms that a room imports."""
    folder = PACKAGE / room
    files = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    return {name for file in files for name in _imported_rooms(file)} - {room}


def _imported_rooms(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name and len(parts) > 1:
                yield parts[1]


def draw() -> str:
    """Return the picture as SVG text."""
    floors = rooms_on_disk()
    width = max(len(floor) for floor in floors) * (BOX[0] + GAP) - GAP + 2 * MARGIN
    height = (len(floors) - 1) * RISE + BOX[1] + 2 * MARGIN
    places = {}
    for level, floor in enumerate(floors):
        row = len(floor) * (BOX[0] + GAP) - GAP
        for index, room in enumerate(floor):
            x = (width - row) / 2 + index * (BOX[0] + GAP)
            places[room] = (x, MARGIN + level * RISE)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="15">',
        "<title>Rooms of leuko_mm and what imports what</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for room in places:
        lines += [
            _arrow(places[room], places[target])
            for target in sorted(imports_of(room))
            if target in places
        ]
    lines += [_box(room, place) for room, place in places.items()]
    return "\n".join([*lines, "</svg>", ""])


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a line from the foot of one box to the head of another.

    Neighbours of one floor are joined by an arc below both.
    """
    x0, y0 = start[0] + BOX[0] / 2, start[1] + BOX[1]
    x1, y1 = end[0] + BOX[0] / 2, end[1]
    style = 'fill="none" stroke="#8a94a6" stroke-width="1.2"'
    if start[1] == end[1]:
        low = y0 + 26
        path = f"M{x0:g} {y0:g} C{x0:g} {low:g} {x1:g} {low:g} {x1:g} {y0:g}"
        return f'<path d="{path}" {style}/>'
    middle = (y0 + y1) / 2
    path = f"M{x0:g} {y0:g} C{x0:g} {middle:g} {x1:g} {middle:g} {x1:g} {y1 - 5:g}"
    head = f"M{x1 - 4:g} {y1 - 6:g} L{x1:g} {y1:g} L{x1 + 4:g} {y1 - 6:g} Z"
    return f'<path d="{path}" {style}/><path d="{head}" fill="#8a94a6"/>'


def _box(room: str, place: tuple[float, float]) -> str:
    x, y = place
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{BOX[0]}" height="{BOX[1]}" rx="7" '
        'fill="#eef2fb" stroke="#3b5bab"/>'
        f'<text x="{x + BOX[0] / 2:g}" y="{y + BOX[1] / 2 + 5:g}" fill="#16233f" '
        f'text-anchor="middle">{room}</text>'
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the rooms of the package.")
    parser.add_argument("out", type=Path, help="SVG file to write")
    parser.parse_args().out.write_text(draw(), encoding="utf-8")
