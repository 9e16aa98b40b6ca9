"""The table of sizes is the one that the tool writes."""

import json

import pytest
from tool_module import load_tool


@pytest.fixture
def writer():
    return load_tool("model_table")


# That the JSON is true is in tests/models/test_model_contract.py, method by method.
def test_the_committed_page_shows_the_committed_sizes(writer, project_root):
    sizes = json.loads((project_root / "docs" / "model_table.json").read_text())
    page = (project_root / "docs" / "methods.md").read_text(encoding="utf-8")
    assert writer.put_into(page, writer.render(sizes)) == page, (
        "run python tools/model_table.py --json docs/model_table.json "
        "--page docs/methods.md"
    )


def test_every_method_has_a_row_in_the_page(writer, project_root):
    page = (project_root / "docs" / "methods.md").read_text(encoding="utf-8")
    for name in writer.leaves():
        assert page.count(f"`{name}`") >= 2, f"{name}: its source, and its size"


def test_a_table_is_sorted_by_cost(writer):
    sizes = {
        "dear": {"params_m": 1.0, "gmacs": 9.26, "pretrained": "vgg16"},
        "cheap": {"params_m": 20.04, "gmacs": 1.0, "pretrained": None},
    }
    rows = writer.render(sizes).splitlines()[2:]
    assert rows == [
        "| `cheap` | 20.0 | 1.0 | random |",
        "| `dear` | 1.0 | 9.3 | ImageNet, `vgg16` |",
    ]


def test_only_the_block_is_replaced(writer):
    page = "before\n<!-- model table -->\nold\n<!-- end of model table -->\nafter\n"
    assert writer.put_into(page, "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="put both where the table belongs"):
        writer.put_into("nothing", "new\n")
