"""The entry point: verbs, exit codes, imports, and hints at misspelt arguments."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
from tiny_run import leuko, process_environment

from leuko_mm.cli import main as entry
from leuko_mm.cli.main import HelpfulParser
from leuko_mm.cli.train import add_cfg_options
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.hooks import Interrupted
from leuko_mm.errors import UsageError

FLAGS = ["--work-dir", "--cfg-options", "--launcher", "--local_rank"]
FLAGS += ["--protocol", "--split", "--data"]
TRAIN_FLAGS = [*FLAGS, "--resume", "--amp", "--seed"]
# Seconds of CPU, so that a busy machine does not fail the test.
HELP = """
import sys, time
from leuko_mm.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "mmengine", "numpy", "cv2"} & set(sys.modules)
print(f"heavy={sorted(heavy)} quick={time.process_time() < 0.5}")
"""


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_is_quick_and_imports_nothing_heavy(argument, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HELP, argument],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy=[] quick=True"


def test_an_unknown_verb_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as end:
        entry.main(["trian"])
    assert end.value.code == entry.WRONG_USE
    said = capsys.readouterr().err
    assert "'trian'" in said
    # The one that is meant comes before all that there are.
    assert (
        "invalid choice: 'trian' (did you mean 'train'?); choose from doctor," in said
    )
    assert "compare" in said


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as end:
        entry.main([verb, "--help"])
    assert end.value.code == 0
    assert f"usage: leuko {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (DatasetError("x"), 2),
        (Interrupted(15, "run"), 143),
        (Interrupted(2, "run"), 130),
        (ValueError("a bug"), None),
        (KeyError("a bug"), None),
        (FileNotFoundError(2, "No such file", "a.png"), 2),
        (OSError(28, "No space left on device"), 2),
        (OSError("a bug"), None),
    ],
)
def test_exit_codes(error, code):
    assert entry.exit_code_of(error) == code


@pytest.fixture
def failing(monkeypatch):
    def install(error):
        verb = Mock(**{"run.side_effect": error})
        monkeypatch.setitem(sys.modules, "leuko_mm.cli.fail", verb)
        monkeypatch.setitem(entry.VERBS, "fail", "fails")

    return install


def test_an_error_of_the_user_is_one_message(failing, capsys):
    failing(UsageError("do this instead"))
    assert entry.main(["fail"]) == 2
    assert capsys.readouterr().err == "leuko fail: do this instead\n"


def test_a_bug_keeps_its_traceback(failing):
    failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        entry.main(["fail"])


def test_what_the_system_says_of_a_file_is_one_message(failing, capsys):
    failing(OSError(36, "File name too long", "xxx"))
    assert entry.main(["fail"]) == 2
    said = capsys.readouterr().err
    assert said == "leuko fail: [Errno 36] File name too long: 'xxx'\n"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
def test_a_training_on_a_full_disk_says_how_to_continue(failing, capsys):
    error = OSError(28, "No space left on device")
    error.add_note("go on with: leuko train --resume")
    failing(error)
    assert entry.main(["fail"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == ["go on with: leuko train --resume"]


def while_loading() -> ImportError:
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), while_loading()])
def test_control_c_is_no_traceback(failing, capsys, error):
    failing(error)
    assert entry.main(["fail"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_nothing_of_the_libraries_is_printed(tmp_path):
    done = leuko("prepare", "synthetic", "--slides", 2, "--cells", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "synthetic prepared" in line
    # Our own word on the progress, on a slow machine.
    assert all(said.startswith("drawing cells") for said in done.stderr.splitlines())


@pytest.mark.parametrize(("verb", "flags"), [("train", TRAIN_FLAGS), ("test", FLAGS)])
def test_the_verb_takes_the_same_flags(verb, flags, capsys):
    with pytest.raises(SystemExit):
        entry.main([verb, "--help"])
    shown = capsys.readouterr().out
    assert [flag for flag in flags if flag not in shown] == []


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
        (["--setting", "blured"], "(did you mean 'blurred'?)"),
        (["bcics"], "(did you mean 'bcisc'?)"),
        (["bcisc", "--exprt", "1"], "(did you mean '--expert'?)"),
        (["--zzz"], "arguments: --zzz\n"),
        (["bcisc", "a", "--expert", "1"], "arguments: a\n"),
        (["bcisc", "--expert", "1", "a"], "a; give all paths before the options\n"),
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


def test_a_required_option_that_is_misspelt_is_named(capsys):
    parser = HelpfulParser(prog="leuko predict")
    parser.add_argument("--out", required=True)
    parser.add_argument("--accept")
    for argv, said in [
        (["--otu=x", "--acc", "1"], "--out; unknown: --otu (did you mean '--out'?)\n"),
        (["--acc", "1"], "required: --out\n"),
    ]:
        with pytest.raises(SystemExit):
            parser.parse_args(argv)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["zoo", "list"], ["--help"]])
def test_a_closed_pipe_is_no_traceback(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "leuko_mm.cli.main", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("verb", entry.VERBS)
def test_no_work_is_lost_to_a_full_disk_behind_the_output(
    verb, tmp_path, monkeypatch, capsys
):
    """Every verb works on when its lines cannot be written, and says so at its end."""

    def work(*_, command):
        print("a line\n" * 50_000)  # more than any buffer holds
        (tmp_path / "result").write_text("done")
        return 0

    monkeypatch.setattr(importlib.import_module(f"leuko_mm.cli.{verb}"), "run", work)
    monkeypatch.setattr(entry.HelpfulParser, "parse_args", lambda *_: None)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert entry.main([verb]) == 1
        full.flush()  # as the interpreter does
    assert (tmp_path / "result").read_text() == "done"
    assert capsys.readouterr().err == (
        "leuko: what it printed is lost (No space left on device); what it wrote into "
        "files is there\n"
    )


@pytest.mark.parametrize(
    ("words", "code"), [(["zoo", "list"], 1), (["check", "no-such"], 2)]
)
def test_both_outputs_may_be_full(words, code):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "leuko_mm.cli.main", *words]
        done = subprocess.run(command, stdout=full, stderr=full, check=False)
    assert done.returncode == code


AWKWARD = """
import os, sys
os.getuid = lambda: 123456789  # a user that the system does not know
from leuko_mm.cli import main as entry
def work():
    import matplotlib.pyplot
    print("Gr\\udcf6sse", "\u00b5m", os.path.isabs(os.path.expanduser("~")))
    return 0
sys.exit(entry._lasting(work)())
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252"])
def test_no_display_no_home_and_a_poor_terminal_are_ordinary(tmp_path, encoding):
    env = process_environment()
    for name in ("HOME", "MPLCONFIGDIR"):
        env.pop(name, None)
    env |= {"MPLBACKEND": "module://no_such.backend", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", AWKWARD]
    options = dict(cwd=tmp_path, env=env, capture_output=True, check=False)
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"Gr\\udcf6sse ")
    assert done.stdout.rstrip().endswith(b"True")
    shut = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    assert subprocess.run(shut, **options).returncode == 0
