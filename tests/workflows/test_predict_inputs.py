"""Which images paths name, and what they are called."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.predict_inputs import plan_inputs, printable
from leuko_mm.workflows.usage_error import UsageError


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "b/a.JPG", "b/c/d.tif", "b/notes.txt", ".hid/x.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "in" / "b" / ".x.png").write_bytes(b"x")
    return tmp_path / "in"


def names(*paths, **more):
    return [image.name for image in plan_inputs(list(map(str, paths)), **more).images]


def test_a_folder_is_searched_to_any_depth(tree):
    assert names(tree) == ["a.png", "b/a.JPG", "b/c/d.tif"]
    assert names(tree, leave_out=tree / "b") == ["a.png"]


def test_names_are_below_what_all_paths_share(tree):
    assert names(tree / "a.png") == ["a.png"]
    assert names(tree / "b" / "c", tree / "a.png") == ["a.png", "b/c/d.tif"]


def test_patterns_and_files_of_any_suffix(tree):
    assert names(tree / "**" / "*.tif") == ["d.tif"]
    assert names(tree / "b" / "*.txt") == ["notes.txt"]
    assert names(tree / "*") == ["a.png"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tree):
    (tree / "[a].png").write_bytes(b"x")
    assert names(tree / "[a].png") == ["[a].png"]


def test_each_image_once(tree):
    assert names(tree, tree / "b", tree / "a.png") == names(tree)


def test_nothing_found(tree):
    with pytest.raises(UsageError, match="matches nothing"):
        names(tree / "none.png")
    (tree / "empty").mkdir()
    with pytest.raises(UsageError, match="no image in"):
        names(tree / "empty")


def test_printable_keeps_every_writing_and_no_control():
    assert printable("größe 白血球 \u202f.png") == "größe 白血球 \u202f.png"
    assert printable("a\x1b\n\u202e.png") == "a\ufffd\ufffd\ufffd.png"
