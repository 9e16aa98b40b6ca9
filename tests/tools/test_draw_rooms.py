"""The committed drawing of the rooms shows the code as it is."""

import xml.etree.ElementTree as ElementTree

import pytest
from tool_module import load_tool


@pytest.fixture
def drawer():
    return load_tool("draw_rooms")


def test_the_committed_drawing_is_that_of_the_code(drawer, project_root):
    committed = (project_root / "docs" / "images" / "rooms.svg").read_text()
    assert committed == drawer.draw(), (
        "redraw it: python tools/draw_rooms.py docs/images/rooms.svg"
    )


def texts(drawer, kind):
    drawn = ElementTree.fromstring(drawer.draw()).iter()
    return [element.text for element in drawn if element.get("class") == kind]


def test_every_room_with_code_is_drawn(drawer, project_root):
    # A folder without code, such as that of the shipped models, is no room.
    package = project_root / "leuko_mm"
    rooms = {p.stem for p in package.iterdir() if p.suffix or any(p.glob("*.py"))}
    drawn = texts(drawer, "room")
    assert rooms - {"__init__", "__pycache__", "configs"} == set(drawn)
    assert len(drawn) == len(set(drawn))


def test_every_import_is_written_in_its_room(drawer):
    named = " ".join(texts(drawer, "uses")).split("uses ")[1:]
    said = [set(names.strip().split(", ")) for names in named]
    rooms = [room for rooms in drawer.FLOORS.values() for room in rooms]
    there = [drawer.imports_of(room) & set(rooms) for room in rooms]
    assert said == [imports for imports in there if imports]


def test_what_a_room_imports_is_read_off_its_files(drawer):
    assert "evaluation" in drawer.imports_of("comparison")
    assert "comparison" not in drawer.imports_of("evaluation")
    assert drawer.imports_of("classes") == set()
