"""What the words of the report mean."""

from __future__ import annotations

from leuko_mm.comparison.measurements import SHOWN
from leuko_mm.comparison.report import TERMS, terms
from leuko_mm.training.config import SETTINGS


def test_every_figure_and_setting_of_the_tables_is_explained():
    assert set(SHOWN.values()) <= TERMS.keys()
    assert {f"setting {name}" for name in (*SETTINGS, "own")} <= TERMS.keys()
    (table,) = terms().tables
    assert [row.cells for row in table.rows] == list(TERMS.items())
    assert not table.linked
