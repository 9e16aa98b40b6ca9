"""What ``leuko train`` prints at its end."""

from __future__ import annotations

import pytest

from leuko_mm.cli.train import print_outcome


@pytest.mark.parametrize(
    ("pictures", "named"), [(["02.png", "01.png"], "overlays/01.png"), ([], "overlays")]
)
def test_the_first_picture_is_named(pictures, named, tmp_path, capsys):
    (tmp_path / "table.md").write_text("a table")
    (tmp_path / "overlays").mkdir()
    for name in pictures:
        (tmp_path / "overlays" / name).touch()
    print_outcome(tmp_path)
    said = capsys.readouterr().out
    assert f"{tmp_path / named}\n" in said
    # What is not there is not named.
    assert "report.html" not in said
