"""Entry point of ``leuko``: finds the verb, and turns errors into exit codes.

Exit codes: 0 done; 1 done, but some items failed; 2 wrong use or missing input;
3 not available; 130 and 143 on interruption, state saved; 141 if standard output was
closed. Where standard output cannot be written, as on a full disk, the job is done, and
0 becomes 1.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import functools
import importlib
import io
import math
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn

import leuko_mm
from leuko_mm.errors import LeukoError, did_you_mean

# A verb is the module of its name in leuko_mm.cli, which is imported when it is used:
# `leuko --help` must not wait for torch.
VERBS = {
    "doctor": "examine the installation and say what fixes a fault",
    "list": "show every part that a config can name, and the configs",
    "prepare": "turn a published or your own folder into a dataset",
    "split": "deal a dataset into folds that divide no slide",
    "check": "say what is wrong with a dataset, file by file",
    "enhance": "balance the colours of smear images by AHE-Retinex",
    "browse": "show cells, masks, mosaics and batches as they are trained",
    "train": "train a config, test it, write results and pictures",
    "test": "test a checkpoint on a split",
    "compare": "train methods and ablations under one protocol",
    "zoo": "list, fetch and verify the models of the project",
    "predict": "find, name and count the leukocytes of images",
    "app": "drop images on a page, correct their cells, count and save",
    "export": "write a checkpoint as ONNX, for faster runtimes",
}
# These work without PyTorch and MMSegmentation, or ask for them where they need them.
WITHOUT_STACK = {"app", "doctor", "enhance", "predict", "zoo"}
DONE, SOME_FAILED, WRONG_USE, NOT_AVAILABLE, CLOSED_PIPE = 0, 1, 2, 3, 141


class HelpfulParser(argparse.ArgumentParser):
    """A parser that names the nearest choice or option of an unknown one."""

    def parse_args(
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """Parse, and refuse unknown arguments."""
        parsed, left_over = self.parse_known_args(args, namespace)
        if left_over:
            self.error(
                f"unrecognized arguments: {' '.join(left_over)}{self.hints(left_over)}"
            )
        return parsed

    def parse_known_args(self, args=None, namespace=None):
        """Keep the arguments for ``error``."""
        self.given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with the message; the usage, which would hide it, is in ``--help``."""
        # A required option that is misspelt is missed before it is unknown.
        if "are required: -" in message:
            given = [word.partition("=")[0] for word in self.given]
            known = [word for word in given if word[:2] != "--" or self._knows(word)]
            if unknown := [word for word in given if word not in known]:
                message += f"; unknown: {' '.join(unknown)}{self.hints(unknown)}"
        self.exit(2, f"{self.prog}: error: {message}\nsee {self.prog} --help\n")

    def _knows(self, word: str) -> bool:
        return any(option.startswith(word) for option in _options(self))

    def hints(self, words: Sequence[str]) -> str:
        """Return what unknown options among the words may be meant to be."""
        known = sorted(_options(self))
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        # argparse ends a list of paths at the first option.
        lists = any(a.nargs for a in self._actions if not a.option_strings)
        before = self.given[: self.given.index(words[0])] if lists and not given else ()
        late = any(word.startswith("-") for word in before)
        hints = [did_you_mean(word, known) for word in given]
        return "".join(hints) + "; give all paths before the options" * late

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            # The nearest comes first: among all choices it would be lost.
            choices = [str(choice) for choice in action.choices or ()]
            if meant := did_you_mean(value, choices):
                error.message = (
                    f"invalid choice: {value!r}{meant}; choose from "
                    f"{', '.join(choices)}"
                )
            raise


def _options(parser: argparse.ArgumentParser) -> set[str]:
    found = {name for name in parser._option_string_actions if name.startswith("--")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found |= _options(child)
    return found


def prepare_process() -> None:
    """Let no terminal, display or home that is missing end a job."""
    # None where it was closed, as by `>&-`.
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        # Work that is done is not lost to a name that a terminal cannot show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Threads that wait for others sleep: spinning slows whatever else the machine does.
    # Torch reads it when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Figures are files. Jupyter and Colab name a backend that exists only there.
    os.environ["MPLBACKEND"] = "agg"
    # Users without one, as in containers: libraries refuse to be imported.
    if os.environ.get("HOME") == "" or not os.path.isabs(os.path.expanduser("~")):
        os.environ["HOME"] = home = tempfile.mkdtemp(prefix="leuko-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)


class _Lasting:
    """A stream that ends no job where it cannot be written to, as on a full disk."""

    def __init__(self, stream: Any):
        self.stream, self.error = stream, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        return self._try(self.stream.write, text) or len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, job: Callable, *args: Any) -> Any:
        try:
            return job(*args)
        except OSError as error:
            self.error = error
            if isinstance(error, BrokenPipeError):
                raise
            self.forget()

    def forget(self) -> None:
        """Let go of what is left: the interpreter flushes once more when it ends."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def _lasting(job: Callable[..., int]) -> Callable[..., int]:
    """End a job without a traceback where its output is not read or not kept."""

    @functools.wraps(job)
    def run(*args, **options) -> int:
        prepare_process()
        out, errors = _Lasting(sys.stdout), _Lasting(sys.stderr)
        end = None
        with redirect_stdout(out), redirect_stderr(errors):
            try:
                try:
                    code = job(*args, **options)
                except SystemExit as stop:  # --help, or arguments that are refused
                    end, code = stop, stop.code or DONE
                out.flush()
                if isinstance(out.error, BrokenPipeError):  # argparse goes on
                    raise out.error
            except BrokenPipeError:
                if not _stdout_is_closed():
                    raise
                out.forget()
                return CLOSED_PIPE
            if out.error:
                print(
                    f"leuko: what it printed is lost ({out.error.strerror}); what it "
                    "wrote into files is there",
                    file=sys.stderr,
                )
                return code or SOME_FAILED
        if end:
            raise end
        return code

    return run


def _stdout_is_closed() -> bool:
    """Tell standard output from the pipes of other processes."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))  # an error or a hang-up, the only events without a mask


def main(argv: Sequence[str] | None = None) -> int:
    """Run one ``leuko`` command and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in VERBS:
        return run_verb(argv[0], argv[1:], prog=f"leuko {argv[0]}")
    return _explain(argv)


@_lasting
def _explain(argv: Sequence[str]) -> int:
    parser = HelpfulParser(
        prog="leuko",
        description="Leukocyte segmentation on MMSegmentation.",
        epilog="`leuko VERB --help` tells more about one of them.",
    )
    parser.add_argument("--version", action="version", version=leuko_mm.__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb, words in VERBS.items():
        verbs.add_parser(verb, help=words, add_help=False)
    parser.parse_args(argv)  # --help, --version, or an error naming the verbs
    parser.print_help()
    return WRONG_USE


@_lasting
def run_verb(verb: str, argv: Sequence[str], *, prog: str) -> int:
    """Parse and run one verb; print what the user can fix as one message."""
    try:
        if verb not in WITHOUT_STACK:
            # Before the verb's module, which may import one of them by itself.
            importlib.import_module("leuko_mm.stack").require_stack()
        module = importlib.import_module(f"leuko_mm.cli.{verb}")
        parser = HelpfulParser(prog=prog, description=module.__doc__)
        module.add_arguments(parser)
        return module.run(parser.parse_args(argv), command=[prog, *argv])
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            # A library that is being loaded turns Ctrl-C into an ImportError.
            if isinstance(error.__cause__, KeyboardInterrupt):
                print("\nstopped", file=sys.stderr)
                return 130
            raise
        notes = getattr(error, "__notes__", ())  # from Python 3.11 on
        print(f"{prog}: {error}", *notes, sep="\n", file=sys.stderr)
        return code


def exit_code_of(error: Exception) -> int | None:
    """Return the exit code of an error that the user can fix, None for a bug.

    A bare ValueError from deep inside is a bug, and its traceback is wanted. What the
    system says of a file is none; a training that had begun adds how to continue.
    """
    if isinstance(error, LeukoError):
        return error.exit_code
    if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
        return SOME_FAILED if hasattr(error, "__notes__") else WRONG_USE
    return None


def at_least(smallest: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that refuses smaller ones."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of {smallest} or more, got {text!r}"
            )
        return int(text)

    return number


def number_below(limit: float = math.inf) -> Callable[[str], float]:
    """Return a reader of numbers between 0 and a limit, both excluded."""

    def number(text: str) -> float:
        with suppress(ValueError):
            if 0 < (value := float(text)) < limit:
                return value
        span = "above 0" if limit == math.inf else f"between 0 and {limit:g}"
        raise argparse.ArgumentTypeError(f"expected a number {span}, got {text!r}")

    return number


def aligned(rows: Iterable[Sequence], *, right: Container[int] = ()) -> Iterator[str]:
    """Yield rows as lines of columns, those of these numbers aligned to the right."""
    table = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        columns = (
            text.rjust(width) if number in right else text.ljust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(columns).rstrip()


if __name__ == "__main__":
    sys.exit(main())
