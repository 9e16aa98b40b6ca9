"""The arguments of ``leuko prepare folders``, and what is agreed on before writing."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from leuko_mm.cli.prepare import at_least, print_outcome
from leuko_mm.datasets.prepared import data_home, is_plain_name, read_about
from leuko_mm.errors import UsageError

SHOWN_KEYS = 20
UNSAID = "not stated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the annotations lie, and what they mean."""
    parser.add_argument(
        "masks",
        nargs="?",
        help="folder of masks, LabelMe or QuPath files, or a COCO file; default: "
        "beside the images",
    )
    parser.add_argument("--name", help="of the dataset; default: that of --out")
    parser.add_argument(
        "--map",
        dest="class_map",
        metavar="'VALUE=CLASS,...'",
        help="what values, colours or labels mean: a class, background, ignore, "
        "leukocyte (its class is not known), or by-name (the image's name says it)",
    )
    parser.add_argument(
        "--yes", action="store_true", help="accept the class map that is shown"
    )
    parser.add_argument(
        "--group-by",
        metavar="HOW",
        help="what no split may divide, such as slides: 'parent' (folder of an image), "
        "a table stem,group (.csv), or a pattern that finds it in the path",
    )
    parser.add_argument(
        "--crop",
        type=at_least(8),
        metavar="PX",
        help="cut a square around every annotated cell of a field",
    )
    parser.add_argument(
        "--skip-unpaired",
        action="store_true",
        help="leave out images without an annotation, and annotations without an image",
    )
    parser.add_argument("--licence", default=UNSAID, help="of the data")
    parser.add_argument("--citation", default=UNSAID, help="of the data")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Show what was found, agree on what it means, and write the dataset."""
    # Only here: `leuko prepare` declares the arguments of every source.
    from leuko_mm.datasets.converters.folders.class_map import check_map, parse_map
    from leuko_mm.datasets.converters.folders.convert import (
        FoldersRequest,
        prepare_folders,
    )
    from leuko_mm.datasets.converters.folders.pairs import group_images
    from leuko_mm.datasets.converters.folders.survey import survey_folders

    name, out = _place(args)
    given = parse_map(args.class_map) if args.class_map else None
    survey = survey_folders(
        Path(args.path),
        Path(args.masks) if args.masks else None,
        skip_unpaired=args.skip_unpaired,
    )
    grouping = group_images(survey.images, args.group_by)
    targets = survey.guess if given is None else given
    _print_survey(survey, targets, guessed=given is None)
    _print_groups(grouping, len(survey.images))
    if given is None:
        _agree(survey, yes=args.yes, command=command, out=out)
    check_map(targets, survey.uses)
    request = FoldersRequest(
        name=name,
        targets=targets,
        grouping=grouping,
        crop=args.crop,
        licence=args.licence,
        citation=args.citation,
    )
    written = prepare_folders(survey, out, request, force=args.force)
    said = dict(licence=args.licence, citation=args.citation)
    print_outcome(out, written, said={k: v for k, v in said.items() if v != UNSAID})
    _print_remarks(out, crop=args.crop)
    return 0


def _place(args: argparse.Namespace) -> tuple[str, Path]:
    name = args.name or (Path(args.out).name if args.out else "")
    if not is_plain_name(name):
        raise UsageError(
            f"--name is {name!r}; give the dataset a name: leuko prepare folders "
            f"{shlex.quote(args.path)} --name smears"
        )
    return name, Path(args.out) if args.out else data_home() / name


def _print_survey(survey, targets: Mapping, *, guessed: bool) -> None:
    print(f"{len(survey.images)} images with {survey.annotations.words}")
    for path in survey.left_out[:5]:
        print(f"  left out, without a counterpart: {path}")
    if len(survey.left_out) > 5:
        print(f"  and {len(survey.left_out) - 5} more")
    total = sum(use.pixels for use in survey.uses.values())
    head = ("value", "pixels", "share", "files", "becomes" + " (a guess)" * guessed)
    rows = [
        (
            key,
            str(use.pixels),
            f"{use.pixels / total:.2%}",
            str(use.files),
            _said(targets, key),
        )
        for key, use in survey.uses.items()
    ]
    shown = [head, *rows[:SHOWN_KEYS]]
    widths = [max(len(row[column]) for row in shown) for column in range(4)]
    for row in shown:
        cells = [row[0].ljust(widths[0])]
        cells += [row[c].rjust(widths[c]) for c in (1, 2, 3)]
        print("  " + "  ".join([*cells, row[4]]))
    if len(rows) > SHOWN_KEYS:
        print(f"  and {len(rows) - SHOWN_KEYS} more values")


def _said(targets: Mapping, key: str) -> str:
    return targets.get(key) or "?"


def _print_groups(grouping, images: int) -> None:
    if not grouping.known:
        print(
            f"groups: {grouping.words}. If several images come from one slide or "
            "patient, train and test will share it and scores will be too high; say "
            "which belong together with --group-by"
        )
        return
    largest, size = grouping.largest()
    print(
        f"groups: {grouping.number} of {images} images, by {grouping.words}; the "
        f"largest is {largest!r} with {size} images"
    )


def _agree(survey, *, yes: bool, command: list[str], out: Path) -> None:
    """Ask for the guessed map, or say how it is agreed to."""
    from leuko_mm.datasets.converters.folders.class_map import map_text, where

    targets = survey.guess
    open_ones = [
        f"{key!r} on {where(survey.uses[key])}"
        for key, target in targets.items()
        if not target
    ]
    option = f"--map {map_text(targets)}"
    if open_ones:
        raise UsageError(
            f"nothing was written: no guess for {len(open_ones)} value(s), first "
            f"{open_ones[0]}; say what every value is, a class, background or "
            f"ignore:\n    {option}"
        )
    if yes:
        return
    if sys.stdin is not None and sys.stdin.isatty():
        if input(f"write {out} with this map? [y/N] ").strip().lower() in ("y", "yes"):
            return
        raise UsageError(f"nothing was written; say what the values are:\n    {option}")
    typed = shlex.join(command[1:])
    raise UsageError(
        "nothing was written: the map above is a guess; if it is right, add --yes, or "
        f"give it:\n    {command[0]} {typed} {option}"
    )


def _print_remarks(out: Path, *, crop: int | None) -> None:
    about = read_about(out)
    if about["fields"] and not crop:
        print(f"{about['fields']} images without a leukocyte are kept, in no split")
    splits = sorted(path.stem for path in (out / "splits").glob("*.csv"))
    if not splits:
        print("no splits: one group, or one cell a class, cannot be divided")
    else:
        print(f"splits: {', '.join(splits)}")
