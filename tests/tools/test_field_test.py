"""What the test of whole fields prints, and how it refuses."""

from __future__ import annotations

import pytest
from tiny_checkpoint import write_tiny
from tool_module import load_tool


@pytest.fixture
def tool():
    """Return the tool as a module."""
    return load_tool("field_test")


def cell(kind, predicted, iou=0.9):
    return {"class": kind, "predicted": predicted, "iou": iou, "confidence": 0.8}


def test_wrong_classes_misses_and_false_cells_are_told(tool):
    fields = [
        dict(
            field="a",
            found=[cell("basophil", "basophil"), cell("monocyte", "lymphocyte", 0.61)],
            missed=["neutrophil"],
            false=[{}, {}],
        ),
        dict(field="b", found=[], missed=[], false=[]),
    ]
    told = dict(fields=fields, cells=3, found=2, right_class=1, false=2)
    text = tool.as_table(told)
    assert (
        "| a | basophil 90.0, monocyte 61.0, as lymphocyte | neutrophil | 2 |" in text
    )
    assert "| b | - | - | 0 |" in text
    assert text.endswith(
        "2 of 3 cells found, 1 with their class; 2 false cells in 2 fields"
    )


def test_what_cannot_be_tested_is_one_message(
    tool, tmp_path, tiny_config, tiny_dataset, capsys
):
    write_tiny(tmp_path / "net.pth", tiny_config)
    words = [str(tmp_path / "net.pth"), "--data", str(tiny_dataset)]
    assert tool.main(words) == 2
    assert "no whole field of a slide that fold1 tests" in capsys.readouterr().err
