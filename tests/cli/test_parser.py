"""What argparse refuses, with what may have been meant."""

import pytest

from leuko_mm.cli.cfg_options import add_cfg_options
from leuko_mm.cli.parser import HelpfulParser


@pytest.fixture
def parser():
    parser = HelpfulParser(prog="leuko train")
    parser.add_argument("--protocol")
    parser.add_argument("--setting", choices=["own", "blurred"])
    add_cfg_options(parser, "override")
    sources = parser.add_subparsers(dest="source")
    sources.add_parser("bcisc").add_argument("--expert", type=int)
    return parser


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--protcol"], "arguments: --protcol (did you mean '--protocol'?)"),
        (["--protcol=half"], "(did you mean '--protocol'?)"),
        (["--setting", "blured"], "(did you mean 'blurred'?)"),
        (["bcics"], "(did you mean 'bcisc'?)"),
        (["bcisc", "--exprt", "1"], "(did you mean '--expert'?)"),
        (["--zzz"], "arguments: --zzz\n"),
        (["--cfg-options", "seed"], "expected KEY=VALUE, such as randomness.seed=3"),
        (["--cfg-options", "a=[1,(2"], "Imbalanced brackets"),
    ],
)
def test_what_is_refused_is_said_in_a_line(parser, argv, said, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(argv)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert "--help" in err
    assert len(err.splitlines()) == 2


def test_what_fits_is_read(parser):
    args = parser.parse_args(["--setting", "own", "--cfg-options", "a.b=1", "c=x=y"])
    assert args.setting == "own"
    assert args.cfg_options == {"a.b": 1, "c": "x=y"}
