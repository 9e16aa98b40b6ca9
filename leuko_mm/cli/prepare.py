"""Turn a published dataset, your own folders, or drawn smears into a dataset."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.prepared import data_home, read_about
from leuko_mm.errors import UsageError


@dataclass(frozen=True)
class Source:
    """One source: what `--help` says of it, and the module that knows it.

    Args:
        words: one line of help.
        module: below ``leuko_mm``; imported when the source is used. With
            ``declares`` it is of the command line and holds ``add_arguments`` and
            ``run``; else it is a converter and holds ``prepare_<source>``.
        path: what the path names; '' where data is made, not read.
        declares: whether the module declares arguments of its own.
    """

    words: str
    module: str
    path: str = ""
    declares: bool = False


SOURCES = {
    "bcisc": Source(
        "268 cells of ten slides a class, as published",
        "datasets.converters.bcisc",
        path="the folder that holds sub-images/",
    ),
    "segmentation_wbc": Source(
        "cells of two microscopes and stains, as published",
        "cli.prepare_segmentation_wbc",
        path="the folder as published",
        declares=True,
    ),
    "lisc": Source(
        "pictures around single cells of five classes, as published",
        "cli.prepare_lisc",
        path="the folder as published",
        declares=True,
    ),
    "folders": Source(
        "your own images with masks or polygons, in any usual form",
        "cli.prepare_folders",
        path="the folder of the images",
        declares=True,
    ),
    "synthetic": Source(
        "drawn smears for trying things out", "cli.prepare_synthetic", declares=True
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sources, each with its own arguments."""
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for name, source in SOURCES.items():
        child = sources.add_parser(
            name, help=source.words, description=f"{name}: {source.words}."
        )
        child.add_argument("path", nargs="?", help=source.path or argparse.SUPPRESS)
        child.add_argument("--out", help="default: <data home>/<name>")
        child.add_argument(
            "--force", action="store_true", help="replace a dataset with other content"
        )
        if source.declares:
            _module(name).add_arguments(child)


def _module(name: str):
    return importlib.import_module(f"leuko_mm.{SOURCES[name].module}")


def at_least(smallest: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that refuses smaller ones.

    Example:
        >>> at_least(2)("3")
        3
    """

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of {smallest} or more, got {text!r}"
            )
        return int(text)

    return number


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Prepare the dataset and say what it holds."""
    source = SOURCES[args.source]
    if args.path and not source.path:
        raise UsageError(f"{args.source} data is made, not read; leave out the path")
    if source.path and not args.path:
        raise UsageError(f"give the folder: leuko prepare {args.source} PATH")
    if args.path and not Path(args.path).exists():
        where = "" if Path(args.path).is_absolute() else f" (looked in {Path.cwd()})"
        raise UsageError(f"{args.path} does not exist{where}; give {source.path}")
    if source.declares:
        return _module(args.source).run(args, command)
    out = Path(args.out) if args.out else data_home() / args.source
    prepare = getattr(_module(args.source), f"prepare_{args.source}")
    print_outcome(out, prepare(Path(args.path), out, force=args.force))
    return 0


def print_outcome(
    out: Path, written: bool, *, said: Mapping[str, str] | None = None
) -> None:
    """Say what a prepared dataset holds, and whether it was written just now.

    Args:
        out: the dataset.
        written: whether anything of it was.
        said: what the user said of it, by the keys of ``dataset.json``.
    """
    about = read_about(out)
    counts = ", ".join(
        f"{count} {name}{'s' * (count != 1)}" for name, count in about["counts"].items()
    )
    state = "prepared" if written else "was prepared already, nothing changed"
    print(f"{out} {state}: {counts}; {about['groups']} groups that no fold divides")
    for key, value in (said or {}).items():
        if about[key] != value:
            print(f"  {key} stays {about[key]!r}; --force makes it {value!r}")
    for note in about.get("notes", ()):
        print(f"  note: {note}")
