"""How far a job is, on a terminal and elsewhere."""

import io

import pytest

from leuko_mm import progress as progress_line
from leuko_mm.progress import ProgressLine, TimeLeft, duration


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_and_nothing_at_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with ProgressLine("drawing cells", stream=stream) as line:
        line(1, 50)
        line(2, 50, "baso_[1]")
    said = stream.getvalue()
    assert "drawing cells" in said
    assert "2/50" in said
    assert "baso_[1]" in said
    assert said.endswith("\x1b[1A\x1b[2K")  # up, and that line erased


@pytest.mark.parametrize(("seconds", "lines"), [(0.1, 0), (2.0, 2)])
def test_elsewhere_there_is_a_line_every_few_seconds(monkeypatch, seconds, lines):
    # Every item is looked at twice.
    clock = iter(i * seconds / 2 for i in range(100))
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with ProgressLine("drawing cells", stream=stream) as line:
        for done in range(8):
            line(done, 8)
    assert len(stream.getvalue().splitlines()) == lines
    # Two items tell no pace.
    assert stream.getvalue().count(" left)") == max(0, lines - 1)
    assert "\r" not in stream.getvalue()


def test_the_time_left_is_that_of_the_stage_and_of_three_items_at_least(monkeypatch):
    # Five of ten were done before; the first image of the next stage takes a minute.
    seconds = iter([0, 2, 4, 6, 10, 70, 71, 72])
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: next(seconds))
    left = TimeLeft()
    assert [left(done, 10) for done in (5, 6, 7, 8)] == [None, None, None, 4.0]
    assert [left(done, 6) for done in (0, 1, 2, 3)] == [None, None, None, 62.0]


def test_of_two_items_one_tells_nothing(monkeypatch):
    seconds = iter([0, 5, 9])
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: next(seconds))
    left = TimeLeft()
    assert [left(done, 2) for done in (0, 1, 2)] == [None, None, 0.0]


def test_a_duration_is_told_in_two_units():
    told = [duration(seconds) for seconds in (59.94, 59.97, 61, 3599.6, 86400)]
    assert told == ["59.9 s", "1 min 0 s", "1 min 1 s", "1 h 0 min", "24 h 0 min"]
