"""Every promise of docs/reliability.md names a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = NAMED.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), PROMISES)
def test_the_test_of_a_promise_is_there(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if hasattr(node, "name")}


def test_every_promise_names_one():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    headed = [line for line in lines if line.startswith("| ")]
    rows = [row for row in headed if not row.endswith("| test |")]
    assert len(rows) > 30
    assert [row for row in rows if not NAMED.search(row)] == []


# What happens around a training, each with an outcome that the page tells.
FAULTS = (
    *("SIGTERM", "worker is killed", "out of memory", "dataset vanishes"),
    *("cannot be written to", "disk fills", "One of several processes is killed"),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_outcome(fault):
    text = PAGE.read_text(encoding="utf-8")
    part = text.split("## What goes wrong around a training")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| ")]
    assert [row for row in rows if fault in row[0] and row[1] and len(row) == 3]


def test_the_page_on_security_says_where_to_report_and_that_a_config_is_code():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for words in ("## Report", "A config is code", "docs/reliability.md"):
        assert words in text
