import pytest

from leuko_mm.cli.compare_published import published_lines
from leuko_mm.cli.main import main
from leuko_mm.workflows.published import check_published


def test_the_command_prints_every_table_and_ends_well(capsys):
    assert main(["compare", "--check-published"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == list(published_lines(check_published()))
    assert "Table 1. " in out
    assert out.endswith("40 of 49 rows contradict themselves by more than rounding.\n")


def test_a_row_shows_printed_and_implied_and_the_rules_that_it_breaks():
    lines = list(published_lines(check_published()))
    row = next(line for line in lines if line.startswith("lymphocyte  Method of"))
    words = row.removeprefix("lymphocyte  Method of this paper").split()
    assert words == ["92.71", "80.26", "88.94", "86.04", "86.04", "75.50", "abc"]
    assert "  c  IoU <= precision and recall: 6 of 20 rows" in lines
    assert "  mean IoU of Method of this paper: printed 90.33, of P, R 82.40" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check-published", "absent.json"], "absent.json cannot be read"),
        ([], "--protocol"),
    ],
)
def test_mistakes_are_named(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err
