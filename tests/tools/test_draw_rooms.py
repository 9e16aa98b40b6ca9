"""The drawing of the rooms is the code's, not a memory of it."""

import importlib.util
import xml.etree.ElementTree as ElementTree

import pytest


@pytest.fixture
def drawer(project_root):
    place = project_root / "tools" / "draw_rooms.py"
    spec = importlib.util.spec_from_file_location("draw_rooms", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_drawing_is_that_of_the_code(drawer, project_root):
    committed = (project_root / "docs" / "images" / "rooms.svg").read_text()
    assert committed == drawer.draw(), (
        "redraw it: python tools/draw_rooms.py docs/images/rooms.svg"
    )


def test_every_room_with_code_is_drawn(drawer, project_root):
    rooms = {p.stem for p in (project_root / "leuko_mm").iterdir()}
    texts = {
        element.text
        for element in ElementTree.fromstring(drawer.draw()).iter()
        if element.tag.endswith("text")
    }
    assert rooms - {"__init__", "__pycache__", "configs"} == texts


def test_what_a_room_imports_is_read_off_its_files(drawer):
    assert "evaluation" in drawer.imports_of("workflows")
    assert "workflows" not in drawer.imports_of("evaluation")
    assert drawer.imports_of("classes") == set()
