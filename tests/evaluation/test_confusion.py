"""The mean over what is defined."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.evaluation.confusion import mean_defined, per_class_table, scores


def test_of_any_shape_over_the_last_axis():
    values = np.random.default_rng(0).random((4, 3, 5))
    assert mean_defined(values) == pytest.approx(values.mean(axis=-1))
    values[1, 2, [0, 3]] = np.nan
    assert mean_defined(values)[1, 2] == pytest.approx(values[1, 2, [1, 2, 4]].mean())
    values[0, 0] = np.nan
    assert np.isnan(mean_defined(values)).tolist() == [[True, False, False]] + (
        [[False] * 3] * 3
    )


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
