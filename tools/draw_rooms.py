"""Draw the rooms of the package and what imports what, read off the source.

    python tools/draw_rooms.py docs/images/rooms.svg

Nothing is imported; a test redraws the picture and compares it with the committed one.
"""

from __future__ import annotations

import argparse
import ast
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "leuko_mm"
FLOORS = {
    "commands": ("cli",),
    "jobs": ("workflows", "inference"),
    "rooms": (
        "datasets",
        "transforms",
        "models",
        "losses",
        "engine",
        "evaluation",
        "report",
    ),
    "ground": ("registry", "plugins", "classes", "stack", "nearest"),
}
WIDTH, MARGIN, LABEL = 1000, 16, 112
GAP, RISE, PAD = 18, 46, 14
LINE, LETTER = 16, 6.6
INK, FAINT, BLUE = "#16233f", "#5b6577", "#3b5bab"


def rooms_on_disk() -> dict[str, list[str]]:
    """Return the rooms that hold code, floor by floor from the top."""
    there = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    }
    return {
        floor: [room for room in rooms if room in there]
        for floor, rooms in FLOORS.items()
    }


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


@dataclass(frozen=True)
class RoomBox:
    """A room in the picture: where it stands, and what it says of its imports."""

    room: str
    x: float
    y: float
    width: float
    height: float
    uses: tuple[str, ...]

    @property
    def middle(self) -> float:
        """The middle of its width."""
        return self.x + self.width / 2


def draw() -> str:
    """Return the picture as SVG text.

    Each box names what it imports. An arrow to the floor below it, or to a room beside
    it, shows the direction; more of them would hide one another.
    """
    floors = rooms_on_disk()
    level = {room: name for name, rooms in floors.items() for room in rooms}
    imports = {room: imports_of(room) & set(level) for room in level}
    lines, top = [], float(MARGIN)
    edges: dict[str, float] = {}
    boxes: dict[str, RoomBox] = {}
    for name, rooms in floors.items():
        row = _row(rooms, top + PAD, imports)
        height = max(box.height for box in row) + 2 * PAD
        edges[name] = top
        lines.append(_floor(name, top, height))
        boxes |= {box.room: box for box in row}
        top += height + RISE
    below = dict(zip(floors, [*list(floors)[1:], None], strict=True))
    for room, box in boxes.items():
        under = below[level[room]]
        if under and any(level[target] == under for target in imports[room]):
            lines.append(_arrow(box.middle, box.y + box.height, edges[under]))
        lines += _to_neighbours(box, boxes, imports[room])
    lines += [part for box in boxes.values() for part in _drawn(box)]
    height = top - RISE + MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}" font-family="sans-serif">'
    )
    title = "<title>Rooms of leuko_mm and what imports what</title>"
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([opening, title, paper, *lines, "</svg>", ""])


def _row(rooms: Sequence[str], y: float, imports: Mapping) -> list[RoomBox]:
    """Return the boxes of a floor, which share its width."""
    space = WIDTH - LABEL - MARGIN - PAD
    width = (space - GAP * (len(rooms) - 1)) / len(rooms)
    letters = int((width - 12) / LETTER)
    uses = {room: _uses(imports[room], letters) for room in rooms}
    height = 32 + LINE * max(len(lines) for lines in uses.values())
    return [
        RoomBox(room, LABEL + i * (width + GAP), y, width, height, uses[room])
        for i, room in enumerate(rooms)
    ]


def _uses(targets: Collection[str], letters: int) -> tuple[str, ...]:
    """Return what a room imports, from the top floor to the ground, in lines."""
    order = [room for rooms in FLOORS.values() for room in rooms if room in targets]
    return tuple(textwrap.wrap("uses " + ", ".join(order), letters)) if order else ()


def _floor(name: str, y: float, height: float) -> str:
    return (
        f'<rect x="{MARGIN}" y="{y:g}" width="{WIDTH - 2 * MARGIN}" '
        f'height="{height:g}" rx="10" fill="#f4f6fa"/>'
        f'<text class="floor" x="{MARGIN + 10}" y="{y + height / 2 + 5:g}" '
        f'font-size="14" fill="{FAINT}">{name}</text>'
    )


def _to_neighbours(
    box: RoomBox, boxes: Mapping[str, RoomBox], targets: set
) -> Iterator[str]:
    for target in sorted(targets):
        other = boxes[target]
        if other.y == box.y and abs(other.x - box.x - box.width - GAP) < 1:
            yield _arrow(other.x - GAP, box.y + 20, other.x, sideways=True)
        elif other.y == box.y and abs(box.x - other.x - other.width - GAP) < 1:
            yield _arrow(box.x, box.y + 20, box.x - GAP, sideways=True)


def _arrow(x: float, y: float, end: float, *, sideways: bool = False) -> str:
    """Return a straight arrow from a point, down to a height or across to a side."""
    if sideways:
        step = 7 if end > x else -7
        way = f"M{x:g} {y:g} H{end - step:g}"
        head = f"M{end - step:g} {y - 5:g} L{end:g} {y:g} L{end - step:g} {y + 5:g} Z"
    else:
        way = f"M{x:g} {y:g} V{end - 8:g}"
        head = f"M{x - 5:g} {end - 9:g} L{x:g} {end:g} L{x + 5:g} {end - 9:g} Z"
    return (
        f'<path d="{way}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
        f'<path d="{head}" fill="{BLUE}"/>'
    )


def _drawn(box: RoomBox) -> Iterator[str]:
    yield (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" '
        f'height="{box.height:g}" rx="7" fill="#ffffff" stroke="{BLUE}"/>'
        f'<text class="room" x="{box.middle:g}" y="{box.y + 21:g}" font-size="16" '
        f'font-weight="bold" fill="{INK}" text-anchor="middle">{box.room}</text>'
    )
    for number, line in enumerate(box.uses):
        yield (
            f'<text class="uses" x="{box.middle:g}" y="{box.y + 40 + LINE * number:g}" '
            f'font-size="12" fill="{FAINT}" text-anchor="middle">{line}</text>'
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the rooms of the package.")
    parser.add_argument("out", type=Path, help="SVG file to write")
    parser.parse_args().out.write_text(draw(), encoding="utf-8")
