"""A model on laboratories: cells that are found, named, false, or none of the five."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.prepared import read_about
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.errors import UsageError

tool = load_tool("laboratories")
SIDE = 60
# Of each picture: its class, the labelled squares, and the predicted ones, as x, y,
# side and class; the level of its pixels is its number.
PICTURES = [
    ("neutrophil", [(20, 20, 20, 5)], [(20, 20, 20, 5, 0.95), (2, 2, 8, 3, 0.5)]),
    ("monocyte", [(20, 20, 20, 4)], [(20, 25, 20, 5, 0.92), (50, 50, 10, 1, 0.9)]),
    ("monocyte", [(20, 20, 20, 4)], [(44, 2, 8, 4, 0.5)]),
    ("other", [(20, 20, 20, 255)], [(22, 22, 18, 2, 0.8)]),
    ("other", [(20, 20, 20, 255)], []),
]


class Painter:
    """A predictor that answers a picture with its squares."""

    def __init__(self, training=None):
        sidecar = dict(training=training or {}, sha256="0" * 64)
        self.checkpoint = SimpleNamespace(sidecar=sidecar)
        self.classifier, self.scales = None, []

    def common_scale(self, images):
        return SimpleNamespace(note=f"by {len(images)} images")

    def predict(self, image, *, scale):
        self.scales.append(scale.note)
        labels, instances = np.zeros((2, SIDE, SIDE), np.int32)
        cells = []
        for x, y, side, number, confidence in PICTURES[image[0, 0, 0]][2]:
            instances[y : y + side, x : x + side] = len(cells) + 1
            labels[y : y + side, x : x + side] = number
            cells.append(
                SimpleNamespace(
                    id=len(cells) + 1,
                    class_id=number,
                    confidence=confidence,
                    box=(x, y, x + side, y + side),
                    is_other=confidence == 0.3,
                )
            )
        return SimpleNamespace(
            labels=labels,
            instances=instances,
            cells=cells,
            classes=CLASS_NAMES,
            answer=lambda c: (
                CLASS_NAMES[c.class_id] if c.confidence > 0.9 else "unsure"
            ),
        )


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Prepare the pictures as ``drawn``; return its folder."""
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    cells = []
    for number, (name, squares, _) in enumerate(PICTURES):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for x, y, side, label in squares:
            mask[y : y + side, x : x + side] = label
        image = np.full((SIDE, SIDE, 3), number, np.uint8)
        cells.append(
            PreparedCell(
                stem=f"p{number}",
                class_name=name,
                group=f"slide{number}",
                image=image,
                mask=mask,
                source=f"{'blasts' if name == 'other' else name}/p{number}.png",
            )
        )
    about = dict(name="drawn", source="numbers", licence="CC0-1.0", citation="none")
    splits = {"fold1": dict(p0="train", p1="test", p2="test")}
    write_prepared(tmp_path / "drawn", cells, splits=splits, **about)
    return tmp_path / "drawn"


def test_found_right_false_and_others_are_counted(data):
    found, _ = tool._test_source("drawn", Painter())
    whole = found["all"]
    assert (whole["pictures"], whole["cells"]) == (5, 3)
    assert (whole["found"], whole["right"]) == (2, 1)
    # At the border a cell may be a real one that is cut off.
    assert whole["false"] == 2
    assert whole["recall"] == dict(monocyte=[0, 2], neutrophil=[1, 1])
    assert (whole["sure"], whole["wrong_when_sure"]) == (2, 1)
    assert whole["others"] == dict(blasts=[1, 2])
    assert (whole["counted"], whole["counted_right"]) == (2, 1)
    assert whole["others_counted"] == [0, 2]  # the one that is named is unsure
    assert whole["macro_recall"] is None  # no class has ten cells
    shared, either = 400 + 300, (400 + 64) + 500 + (400 + 64)
    assert whole["iou"] == pytest.approx(100 * shared / either, abs=0.01)
    halves = [found[half] for half in tool.HALVES]
    for key in ("pictures", "cells", "found", "right", "false"):
        assert sum(half[key] for half in halves) == whole[key]


def test_pieces_of_a_field_are_cells_and_those_of_a_cell_are_specks():
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[5:25, 5:25], labels[40:50, 40:50] = 3, 3
    labels[0, 59], labels[30, 30] = 3, 255
    names, masks = zip(*tool.true_cells(labels), strict=True)
    assert names == ("lymphocyte", "lymphocyte")
    assert [int(mask.sum()) for mask in masks] == [400, 100]
    ((_, mask),) = tool.true_cells(labels, single=True)
    assert mask.sum() == 400


def test_cells_that_are_other_are_found_but_lost(data, monkeypatch):
    others = [
        ("neutrophil", PICTURES[0][1], [(20, 20, 20, 5, 0.3), (2, 2, 8, 3, 0.3)]),
        *PICTURES[1:3],
        ("other", [(20, 20, 20, 255)], [(22, 22, 18, 2, 0.3)]),
        PICTURES[4],
    ]
    monkeypatch.setattr(sys.modules[__name__], "PICTURES", others)
    whole = tool._test_source("drawn", Painter())[0]["all"]
    assert (whole["found"], whole["right"], whole["lost_to_other"]) == (2, 0, 1)
    assert (whole["false"], whole["sure"]) == (1, 1)
    assert whole["others"] == dict(blasts=[0, 2])


def answers(*pairs):
    return [
        dict(true="monocyte", predicted=name, confidence=c)
        for name, c in ((("monocyte", "neutrophil")[wrong], c) for wrong, c in pairs)
    ]


def test_the_accepted_confidence_is_the_lowest_at_which_most_are_right():
    cells = answers((0, 0.9), (0, 0.8), (1, 0.7), (0, 0.6), (0, 0.5), (1, 0.4))
    assert tool.accepted(cells, right=0.8) == dict(confidence=0.5, coverage=0.8333)
    assert tool.accepted(cells, right=0.95) == dict(confidence=0.8, coverage=0.3333)
    assert tool.accepted(answers((1, 0.9))) is None


def test_the_calibration_error_is_confidence_less_share_right():
    cells = answers((0, 0.91), (1, 0.91), (0, 0.31))
    wanted = (2 * abs(0.91 - 0.5) + abs(0.31 - 1)) / 3
    assert tool._calibration_error(cells) == pytest.approx(100 * wanted, abs=0.01)


def test_every_source_may_have_its_own_networks(monkeypatch):
    made = []
    monkeypatch.setattr(tool, "Predictor", lambda *a, **k: made.append((a, k)))
    given = SimpleNamespace(checkpoint="seg-{}.pth", classifier="class-{}.pth")
    tool._predictor(given, "bccd")
    assert made == [(("seg-bccd.pth",), dict(classifier="class-bccd.pth"))]


def test_the_macro_recall_is_the_mean_over_classes(data, monkeypatch):
    monkeypatch.setattr(tool, "FEWEST", 1)
    macro = tool._test_source("drawn", Painter())[0]["all"]["macro_recall"]
    assert macro["value"] == 50
    assert macro["low"] <= 50 <= macro["high"]


def test_what_the_model_has_learnt_is_left_out(data, monkeypatch):
    learnt = dict(sha256=read_about(data)["sha256"], split="fold1")
    whole = tool._test_source("drawn", Painter(learnt))[0]["all"]
    assert (whole["pictures"], whole["cells"], whole["right"]) == (4, 2, 0)
    every = {f"slide{i}" for i in range(5)}
    monkeypatch.setattr(tool, "training_groups", lambda *_: every)
    with pytest.raises(UsageError, match="trained on every picture"):
        tool._test_source("drawn", Painter(learnt))


def test_the_command_writes_every_source(data, tmp_path, monkeypatch, capsys):
    painter = Painter()
    monkeypatch.setattr(tool.Predictor, "from_zoo", lambda: painter)
    out = tmp_path / "labs.json"
    assert tool.main(["drawn", "--out", str(out)]) == 0
    assert "| drawn | 3 | 66.7 | 33.3 |" in capsys.readouterr().out
    assert painter.scales == ["by 5 images"] * 5
    source = json.loads(out.read_text())["sources"]["drawn"]
    assert source["all"]["cells"] == 3
    assert source["networks"]["segmentation"]["sha256"] == "0" * 64
    assert tool.main(["no-such"]) == 2
    assert "no-such" in capsys.readouterr().err


def labelled(*cells):
    """Return the answers to cells of a group each, as true class and answer."""
    return [
        dict(picture=f"p{i}", number=0, group=f"g{i}", true=true, predicted=given)
        for i, (true, given) in enumerate(cells)
    ]


def test_two_models_are_compared_on_the_cells_of_both(monkeypatch):
    truth = ["monocyte"] * 12 + ["basophil"] * 20 + ["eosinophil"] * 2
    ours = labelled(*((t, "basophil") for t in truth))
    theirs = labelled(*((t, "" if i % 4 else t) for i, t in enumerate(truth)))
    found = tool.compared(
        [*ours, *labelled(*[("basophil", "other")] * 40)[36:]], theirs
    )
    assert found["cells"] == 34
    assert found["right"]["value"] == pytest.approx(100 * (20 - 9) / 34, abs=0.01)
    # Eosinophils are too few to count.
    assert found["macro_recall"]["value"] == (0 + 100) / 2 - 25
    assert found["right"]["low"] < found["right"]["value"] < found["right"]["high"]
    same = tool.compared(ours, ours)["right"]
    assert same == dict(value=0, low=0, high=0, p=1)
    assert tool.compared(ours, []) is None
    with pytest.raises(UsageError, match="another label"):
        tool.compared(ours, labelled(("neutrophil", "neutrophil")))


def test_answers_are_written_for_a_later_comparison(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tool.Predictor, "from_zoo", Painter)
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert tool.main(["drawn", "--out", str(before)]) == 0
    answers = before.with_suffix(tool.ANSWERS)
    rows = tool.read_answers(answers)["drawn"]
    assert [
        (r["picture"], r["true"], r["predicted"], r["confidence"]) for r in rows
    ] == [
        ("p0", "neutrophil", "neutrophil", 0.95),
        ("p1", "monocyte", "neutrophil", 0.92),
        ("p2", "monocyte", "", 0.0),
    ]
    content = answers.read_bytes()
    argv = ["drawn", "--against", str(answers)]
    assert tool.main([*argv, "--out", str(after)]) == 0
    assert "on 3 cells: right class +0.0 (+0.0 to +0.0)" in capsys.readouterr().out
    assert after.with_suffix(tool.ANSWERS).read_bytes() == content
    written = json.loads(after.read_text())
    assert written["sources"]["drawn"]["against"]["right"]["value"] == 0
    assert written["against"] == answers.name
    assert tool.main(["drawn", "--against", str(before)]) == 2
    assert "expected a file *.cells.csv.gz" in capsys.readouterr().err
