"""Show the parts that a config can name, one in detail, the configs or protocols."""

from __future__ import annotations

import argparse
import inspect
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

from leuko_mm.cli.main import aligned
from leuko_mm.files import config_home
from leuko_mm.parts import (
    KINDS,
    OPENMMLAB,
    Part,
    config_summary,
    find_parts,
    list_parts,
    signatures,
)
from leuko_mm.training.config import config_names, protocol_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko list``."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="KIND|NAME",
        help=f"{', '.join(KINDS)}, models, configs, protocols; or one part or config",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also the parts of MMSegmentation and the libraries below it",
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Print what was asked for."""
    # Libraries print while they are imported.
    with redirect_stdout(io.StringIO()):
        lines = list(_answer(args.name, args.all))
    print("\n".join(lines))
    return 0


def _answer(name: str | None, everything: bool) -> Iterator[str]:
    protocols = config_home() / "_base_" / "protocols"
    if name == "configs":
        yield from aligned((n, config_summary(p)) for n, p in config_names().items())
    elif name == "protocols":
        files = {n: protocols / f"{n}.py" for n in protocol_names()}
        yield from aligned((n, config_summary(file)) for n, file in files.items())
    elif name is None or (kind := _kind(name)):
        yield from _by_kind(list_parts(kind if name else None, everything=everything))
        if name is None:
            yield "\n`leuko list NAME` shows one with its arguments; `--all` adds"
            yield "MMSegmentation's; see also `leuko list configs` and `leuko list"
            yield "protocols`."
    elif name in config_names():
        yield from _config(config_names()[name])
    elif name in protocol_names():
        yield from _config(protocols / f"{name}.py")
    else:
        for part in find_parts(name):
            yield from _detail(part)


def _kind(name: str) -> str | None:
    word = name.lower().replace("-", "_").replace("initializer", "initialiser")
    for kind in (*KINDS, "models"):
        singular = kind[:-2] if kind == "losses" else kind[:-1]
        if word in (kind, singular):
            return kind
    return None


def _by_kind(parts: list[Part]) -> Iterator[str]:
    for kind in KINDS:
        rows = [(p.name, _with_package(p)) for p in parts if p.kind == kind]
        if rows:
            yield kind
            yield from (f"  {line}" for line in aligned(rows))


def _with_package(part: Part) -> str:
    if part.package in ("leuko_mm", *OPENMMLAB):
        return part.summary
    return f"[{part.package}] {part.summary}"


def _config(path: Path) -> Iterator[str]:
    yield f"# {path}"
    yield path.read_text(encoding="utf-8").rstrip()


def _detail(part: Part) -> Iterator[str]:
    target = part.target
    yield f"{part.name}: one of the {part.kind} of {part.package}"
    yield f"{target.__module__}.{target.__qualname__}\n"
    yield inspect.cleandoc(target.__doc__ or "(without a docstring)")
    for owner, signature in signatures(target):
        yield f"\n{owner}("
        for argument in signature.parameters.values():
            yield f"    {argument.replace(annotation=argument.empty)},"
        yield ")"
    key = "constructor" if part.kind == "optim_constructors" else "type"
    yield f"\nIn a config: dict({key}={part.name!r}, ...)"
