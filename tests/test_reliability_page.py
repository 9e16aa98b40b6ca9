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
    rows = [line for line in lines if line.startswith("| ")]
    rows = [row for row in rows if row != "| promise | test |"]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row)] == []


def test_the_page_on_security_says_where_to_report_and_that_a_config_is_code():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for words in ("## Report", "A config is code", "docs/reliability.md"):
        assert words in text
