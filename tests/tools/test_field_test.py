"""A checkpoint on whole fields: which fields, which cells, and what was found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.prepared import Place, read_about, read_index
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.errors import UsageError

tool = load_tool("paper/field_test")
SIDE, FIELD = 16, (60, 80)
# Upper left corners of the cells that are cut out, in field pixels; they show their
# field at half size.
PLACES = {"a": [(4, 2), (44, 20)], "b": [(20, 10)]}
KINDS = ("eosinophil", "monocyte")


def labels_of(field: str) -> np.ndarray:
    """Return a field's labels: a square in every place, specks, 255 elsewhere."""
    labels = np.full(FIELD, 255, np.uint8)
    for (x, y), kind in zip(PLACES[field], KINDS, strict=False):
        labels[y : y + 2 * SIDE, x : x + 2 * SIDE] = 0
        labels[y + 6 : y + 26, x + 6 : x + 26] = CLASS_NAMES.index(kind)
        labels[y + 1, x + 1] = CLASS_NAMES.index(kind)
    return labels


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    parts, cells = {}, []
    for field, part in (("a", "test"), ("b", "train")):
        shared = dict(group=f"slide_{field}")
        cells.append(
            PreparedCell(
                stem=field,
                kind="field",
                class_name="",
                image=np.full((*FIELD, 3), 200, np.uint8),
                mask=labels_of(field),
                **shared,
            )
        )
        for i, ((x, y), kind) in enumerate(zip(PLACES[field], KINDS, strict=False)):
            stem = f"{field}_{i}"
            parts[stem] = part
            cells.append(
                PreparedCell(
                    stem=stem,
                    class_name=kind,
                    image=np.full((SIDE, SIDE, 3), 200, np.uint8),
                    mask=np.zeros((SIDE, SIDE), np.uint8),
                    place=Place(field, x, y, scale=0.5),
                    **shared,
                )
            )
    other = dict(train="test", test="train")
    turned = {stem: other[part] for stem, part in parts.items()}
    where = tmp_path_factory.mktemp("fields") / "two"
    write_prepared(
        where,
        cells,
        name="two",
        source="numbers",
        licence="CC0-1.0",
        citation="none",
        splits={"fold1": parts, "turned": turned},
    )
    return where


class Painter:
    """A predictor that answers with given squares: (x, y, side, class)."""

    classes = CLASS_NAMES

    def __init__(self, *squares, training=None):
        self.squares = squares
        self.checkpoint = SimpleNamespace(sidecar=dict(training=training or {}))

    def predict(self, path):
        """Return the squares as cells, whatever the image."""
        assert Path(path).is_file()
        instances, cells = np.zeros(FIELD, np.int32), []
        for number, (x, y, side, kind) in enumerate(self.squares, 1):
            instances[y : y + side, x : x + side] = number
            cells.append(
                SimpleNamespace(
                    class_id=CLASS_NAMES.index(kind),
                    confidence=0.9,
                    area=side**2,
                    box=(x, y, x + side, y + side),
                )
            )
        scale = SimpleNamespace(factor=0.5, how="factor")
        return SimpleNamespace(
            instances=instances, cells=cells, classes=self.classes, scale=scale
        )


def test_the_fields_are_those_of_tested_slides(root):
    assert [field.stem for field in tool.fields_under_test(root, "fold1")] == ["a"]


def test_a_true_cell_lies_at_its_place_without_specks(root):
    rows = read_index(root)
    first, second = tool.true_cells(
        root, tool.fields_under_test(root, "fold1")[0], rows
    )
    assert (first.class_name, second.class_name) == KINDS
    for cell, (x, y) in zip((first, second), PLACES["a"], strict=True):
        assert cell.mask.sum() == 400
        assert cell.mask[y + 6 : y + 26, x + 6 : x + 26].all()


def test_found_right_missed_and_false_are_counted(root):
    painter = Painter(
        (10, 8, 20, "eosinophil"), (52, 26, 20, "basophil"), (0, 50, 8, "monocyte")
    )
    told = tool.run_field_test(root, "fold1", painter)
    assert (told["cells"], told["found"], told["right_class"]) == (2, 2, 1)
    assert told["false"] == 1
    assert told["mean_iou"] == pytest.approx((1 + 360 / 440) / 2)
    (field,) = told["fields"]
    assert field["false"][0]["box"] == [0, 50, 8, 58]
    assert [cell["predicted"] for cell in field["found"]] == ["eosinophil", "basophil"]


def test_a_checkpoint_that_saw_the_slides_is_refused(root):
    sha256 = read_about(root)["sha256"]
    saw = Painter(training=dict(split="turned", sha256=sha256))
    with pytest.raises(UsageError, match=r"first a, are of slides .*--split turned"):
        tool.run_field_test(root, "fold1", saw)
    did_not = Painter(training=dict(split="fold1", sha256=sha256))
    assert tool.run_field_test(root, "fold1", did_not)["cells"] == 2
