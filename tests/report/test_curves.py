import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from leuko_mm.report.curves import loss_curve, loss_curve_svg, smoothed


def test_smoothing_against_a_plain_loop():
    values = np.random.default_rng(0).normal(size=30)
    window, half = 7, 3
    expected = [
        values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))
    ]
    np.testing.assert_allclose(smoothed(values, window), expected, atol=1e-12)


def test_window_of_one_and_window_beyond_the_series():
    assert smoothed([3.0, 1.0], 1).tolist() == [3.0, 1.0]
    assert smoothed([3.0, 1.0], 9).tolist() == [2.0, 2.0]


def test_gaps_do_not_spread():
    values = [1.0, float("nan"), 3.0, float("inf"), 5.0]
    assert smoothed(values, 3).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert np.isnan(smoothed([float("nan")], 3)).all()


@pytest.mark.parametrize("window", [0, 4])
def test_window_must_be_odd(window):
    with pytest.raises(ValueError, match=f"window is {window}"):
        smoothed([1.0], window)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look inside."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_raw_and_smoothed_line_of_every_loss(tmp_path, drawn):
    out = tmp_path / "new" / "loss.png"
    iterations = list(range(1, 101))
    losses = {"loss": np.linspace(2, 1, 100), "dice": np.linspace(1, 0.5, 100)}
    loss_curve(iterations, losses, out=out, marks={15: "encoder thawed"}, title="run")
    with Image.open(out) as picture:
        assert picture.size == (960, 540)
    (axes,) = drawn[0].axes
    raw, mean = axes.lines[:2]
    assert raw.get_ydata().tolist() == losses["loss"].tolist()
    assert raw.get_linewidth() < mean.get_linewidth()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(losses)
    assert [text.get_text() for text in axes.texts] == ["encoder thawed"]
    assert axes.lines[4].get_xdata() == [15, 15]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0


def test_log_scale_only_when_asked(tmp_path, drawn):
    loss_curve([1, 2], {"loss": [3.0, 1.0]}, out=tmp_path / "loss.png", log=True)
    assert drawn[0].axes[0].get_yscale() == "log"


def test_one_iteration_and_gaps_are_drawn(tmp_path, drawn):
    loss_curve([7], {"loss": [1.0]}, out=tmp_path / "one.png")
    loss_curve([1, 2], {"loss": [1.0, float("nan")]}, out=tmp_path / "gap.png")
    assert drawn[0].axes[0].lines[1].get_marker() == "."


def test_pyplot_stays_out(tmp_path):
    loss_curve([1, 2], {"loss": [2.0, 1.0]}, out=tmp_path / "loss.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("iterations", "losses"),
    [([], {"loss": []}), ([1, 2], {"loss": [1.0]}), ([1], {})],
)
def test_refuses_lengths_that_differ(tmp_path, iterations, losses):
    with pytest.raises(ValueError, match=f"{len(iterations)} iterations"):
        loss_curve(iterations, losses, out=tmp_path / "loss.png")


def test_an_svg_is_drawn_in_the_asked_size_and_colours(drawn):
    svg = loss_curve_svg(
        [1, 2], {"loss": [2.0, 1.0]}, size=(4, 3), ink="#123456", colours=["#abcdef"]
    )
    root = ElementTree.fromstring(svg)
    assert (root.get("width"), root.get("height")) == ("288pt", "216pt")
    colours = svg.decode().lower()
    assert "#123456" in colours
    assert "#abcdef" in colours
    assert "#0072b2" not in colours
    assert not drawn[0].axes[0].get_legend().get_visible()


def test_an_svg_of_several_curves_names_them(drawn):
    loss_curve_svg([1, 2], {"loss": [2.0, 1.0], "dice": [1.0, 0.5]})
    assert drawn[0].axes[0].get_legend().get_visible()


def test_an_svg_depends_on_nothing_but_its_curves():
    first, again = (loss_curve_svg([1, 2], {"loss": [2.0, 1.0]}) for _ in range(2))
    assert first == again
