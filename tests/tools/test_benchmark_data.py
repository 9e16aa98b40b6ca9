"""The benchmark of the data side runs, and marks what is above its bound."""

from __future__ import annotations

import json
import sys

import pytest
from tool_module import load_tool


@pytest.fixture
def benchmark():
    return load_tool("benchmark_data")


def run(benchmark, monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["tools/benchmark_data.py", *map(str, arguments)])
    return benchmark.main()


def test_figures_are_printed_and_written(
    benchmark, tiny_data, tiny_config, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "figures.json"
    small = ["--data", "synthetic", "--mosaics", 3, "--steps", 2, "--step", 0.01]
    loader = ["--config", tiny_config, "--protocol", "smoke"]
    assert run(benchmark, monkeypatch, *small, *loader, "--json", out) == 0
    rows = {row["what"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == [
        "mosaic 2x2 grid",
        "mosaic 3x3 grid",
        "mosaic 4x4 grid",
        "mosaic 2x2 scattered",
        "a batch",
        "waiting",
    ]
    assert all(row["value"] > 0 for row in rows.values())
    assert rows["waiting"]["bound"] == 5
    assert rows["waiting"]["value"] <= 100
    said = capsys.readouterr().out
    assert "preparing it is left out" in said
    assert all(what in said for what in rows)


def test_a_figure_above_its_bound_is_marked(benchmark):
    kept, broken = (
        benchmark.table([benchmark.row("prepare bcisc", value, "s", "")])
        for value in (19.9, 20.1)
    )
    assert "below 20" in kept
    assert "ABOVE 20" in broken


def test_missing_data_is_one_message(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    assert run(benchmark, monkeypatch) == 2
    assert "leuko prepare bcisc" in capsys.readouterr().err
