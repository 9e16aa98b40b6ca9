"""The benchmark's figures are computed from what it timed, on a tiny picture."""

import json
import sys

import numpy as np
import pytest
from tool_module import load_tool


@pytest.fixture
def benchmark(monkeypatch):
    module = load_tool("benchmark_retinex")
    monkeypatch.setattr(module, "SECONDS_A_METHOD", 0.01)
    monkeypatch.setattr(module, "SIZES", {"256": (40, 48)})
    return module


def test_one_run_times_every_method_and_writes_the_figures(
    benchmark, monkeypatch, tmp_path, capsys
):
    out = tmp_path / "figures.json"
    words = ["benchmark_retinex.py", "--sizes", "256", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    # As where scikit-image is not installed.
    monkeypatch.setitem(sys.modules, "skimage.exposure", None)
    assert benchmark.main() == 0
    rows = {row["method"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows.pop(benchmark.SKIMAGE)["left_out"] == "not installed"
    assert "not installed" in capsys.readouterr().out
    assert len(rows) == 3 * 3 + 1
    for name, row in rows.items():
        assert 0 < row["ms"] <= row["median_ms"]
        # The file rounds milliseconds to three digits.
        assert row["ns_per_pixel"] == pytest.approx(
            row["median_ms"] * 1e6 / (40 * 48), abs=0.0006e6 / (40 * 48)
        )
        if name.startswith("ahe_retinex"):
            assert row["deviation_max"] <= 2
            textbook = rows[name.replace("ahe_retinex", "reference")]
            ratio = textbook["median_ms"] / row["median_ms"]
            assert row["times_faster"] == pytest.approx(ratio, rel=0.05, abs=0.1)


def test_targets_are_judged_by_the_figures(benchmark):
    rows = [
        dict(
            method="ahe_retinex hsv",
            width=512,
            height=512,
            times_faster=299.0,
            times_clahe=9.9,
        ),
        *(
            dict(method="enhance_image hsv", width=w, height=w, ns_per_pixel=n)
            for w, n in ((256, 30.0), (8192, 91.0))
        ),
    ]
    judged = {one["target"]: one["met"] for one in benchmark.targets(rows)}
    assert list(judged.values()) == [False, True, False]


def test_a_picture_is_repeated_mirrored_until_it_fills_the_size(benchmark):
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    filled = benchmark.fill(picture, 5, 1)
    assert filled.shape == (5, 1, 3)
    assert (filled[:, 0, 0] == [0, 6, 6, 0, 0]).all()
