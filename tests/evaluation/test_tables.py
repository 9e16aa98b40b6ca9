import numpy as np
import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.evaluation.confusion import scores
from leuko_mm.evaluation.tables import per_class_table


@pytest.fixture
def result():
    counts = np.diag([1000, 80, 70, 60, 50, 0])
    counts[1, 2] = counts[2, 0] = 10
    return scores(counts)


def test_markdown_has_equal_cells_and_widths(result):
    table, _, accuracies = per_class_table(result.per_class, result.metrics).partition(
        "\n\n"
    )
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {7}
    assert set(lines[1]) == set("|-: ")
    # header, rule, one a class, two means
    assert len(lines) == 2 + len(CLASS_NAMES) + 2
    assert accuracies == ("pixel accuracy 98.44 %, mean one-vs-rest accuracy 99.38 %")


@pytest.mark.parametrize("style", ["markdown", "plain"])
def test_rows_carry_the_scores(result, style):
    lines = per_class_table(result.per_class, result.metrics, style=style).splitlines()
    rows = {
        cells[0]: cells[1:]
        for cells in (line.replace("|", " ").split() for line in lines)
        if len(cells) == 6
    }
    assert rows["basophil"] == ["100.00", "88.89", "94.12", "88.89", "99.22"]
    assert rows["neutrophil"] == ["-"] * 5
    mean = next(line for line in lines if "with background" in line)
    foreground = next(line for line in lines if "foreground" in line)
    assert f"{result.metrics['mIoU']:.2f}" in mean
    assert f"{result.metrics['mIoU_fg']:.2f}" in foreground


def test_nan_is_set_like_none(result):
    per_class = {"a": dict.fromkeys(("precision", "recall"), float("nan"))}
    table = per_class_table(per_class, result.metrics, style="plain")
    assert "nan" not in table


def test_unknown_style(result):
    with pytest.raises(ValueError, match="'html'"):
        per_class_table(result.per_class, result.metrics, style="html")
