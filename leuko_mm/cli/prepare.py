"""Turn a published dataset, your own folders, or drawn smears into a dataset."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from leuko_mm.cli.main import aligned, at_least, number_below
from leuko_mm.datasets.converters.bccd import prepare_bccd
from leuko_mm.datasets.converters.bcisc import prepare_bcisc
from leuko_mm.datasets.converters.folders.class_map import (
    check_map,
    map_text,
    parse_map,
)
from leuko_mm.datasets.converters.folders.convert import (
    FoldersRequest,
    prepare_folders,
    prepare_outlined,
    sort_by_folder,
)
from leuko_mm.datasets.converters.folders.groups import Grouping, group_images
from leuko_mm.datasets.converters.folders.survey import Survey, survey_folders
from leuko_mm.datasets.converters.lisc import prepare_lisc
from leuko_mm.datasets.converters.outlined import PBC_SCALE, Outliner, prepare_pbc
from leuko_mm.datasets.converters.segmentation_wbc import SETS, prepare_segmentation_wbc
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
from leuko_mm.datasets.prepared import (
    NOT_STATED,
    data_home,
    is_plain_name,
    read_about,
)
from leuko_mm.errors import UsageError
from leuko_mm.progress import ProgressLine

# Source -> what its path names; '' where data is made, not read.
PATHS = {
    "bcisc": "the folder that holds sub-images/",
    "segmentation_wbc": "the folder as published",
    "lisc": "the folder as published",
    "bccd": "the folder that holds images/, masks/ and labels.csv",
    "pbc": "the folder that holds basophil/, eosinophil/, ...",
    "folders": "the folder of the images",
    "synthetic": "",
}
MAX_SHOWN_KEYS = 20
MAX_SHOWN_FILES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sources, each with its own arguments."""
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)

    def add_source(name: str, help_line: str) -> argparse.ArgumentParser:
        child = sources.add_parser(
            name, help=help_line, description=f"{name}: {help_line}."
        )
        child.add_argument("path", nargs="?", help=PATHS[name] or argparse.SUPPRESS)
        child.add_argument("--out", help="default: <data home>/<name>")
        child.add_argument(
            "--force", action="store_true", help="replace a dataset with other content"
        )
        return child

    add_source("bcisc", "268 cells of ten slides a class, as published")
    add_source(
        "segmentation_wbc", "cells of two microscopes and stains, as published"
    ).add_argument(
        "--set",
        dest="chosen",
        choices=SETS,
        default="both",
        help="one set as a dataset of its own (segmentation_wbc_1, _2), or both in one",
    )
    add_source(
        "lisc", "pictures around single cells of five classes, as published"
    ).add_argument(
        "--expert", type=at_least(1), default=1, help="whose masks, where two drew them"
    )
    add_source("bccd", "fields of one leukocyte, with masks; the cells cut out too")
    add_source(
        "pbc", "cells of eight kinds, outlined by the model of the package (minutes)"
    )
    _add_folders_arguments(
        add_source(
            "folders", "your own images with masks or polygons, in any usual form"
        )
    )
    synthetic = add_source("synthetic", "drawn smears for trying things out")
    synthetic.add_argument("--slides", type=at_least(2), default=30, help="slides")
    synthetic.add_argument(
        "--cells", type=at_least(1), default=3, help="cells of a class and slide"
    )
    synthetic.add_argument("--seed", type=at_least(0), default=0, help="of the drawing")


def _add_folders_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "masks",
        nargs="?",
        help="folder of masks or other annotations, or one file of them; default: "
        "folders of usual names (images and masks, ...), or beside the images",
    )
    add("--name", help="of the dataset; default: that of --out")
    add(
        "--map",
        dest="class_map",
        metavar="'VALUE=CLASS,...'",
        help="what values, colours or labels mean: a class, background, ignore, "
        "leukocyte (its class is not known), other (none of the classes), or by-name "
        "(the image's name says it)",
    )
    add("--yes", action="store_true", help="accept the class map that is shown")
    add(
        "--group-by",
        metavar="HOW",
        help="what no split may divide, such as slides: 'parent' (folder of an image), "
        "a table stem,group (.csv), or a pattern that finds it in the path",
    )
    add(
        "--crop",
        type=at_least(8),
        metavar="PX",
        help="cut a square around every annotated cell of a field",
    )
    add(
        "--skip-unpaired",
        action="store_true",
        help="leave out images without an annotation, and annotations without an image",
    )
    add(
        "--outline",
        action="store_true",
        help="pictures of one cell each, without masks, in folders by class: the model "
        "of the package draws the outlines",
    )
    add(
        "--scale",
        type=number_below(),
        help="with --outline: pixels of the network per pixel of a picture; default: "
        "measured on the red cells",
    )
    add("--licence", default=NOT_STATED, help="of the data")
    add("--citation", default=NOT_STATED, help="of the data")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Prepare the dataset and say what it holds."""
    name, path = args.source, args.path and Path(args.path)
    if path and not PATHS[name]:
        raise UsageError(f"{name} data is made, not read; leave out the path")
    if PATHS[name] and not path:
        raise UsageError(f"give the folder: leuko prepare {name} PATH")
    if path and not path.exists():
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise UsageError(f"{path} does not exist{where}; give {PATHS[name]}")
    if name == "folders":
        _run_folders(args, command)
        return 0
    if name == "segmentation_wbc" and args.chosen != "both":
        name = f"{name}_{args.chosen}"
    out = Path(args.out or data_home() / name)
    former = _splits(out)
    if args.source == "bcisc":
        written = prepare_bcisc(path, out, force=args.force)
    elif args.source == "segmentation_wbc":
        written = prepare_segmentation_wbc(
            path, out, chosen=args.chosen, force=args.force
        )
    elif args.source == "lisc":
        written = prepare_lisc(path, out, expert=args.expert, force=args.force)
    elif args.source == "bccd":
        written = prepare_bccd(path, out, force=args.force)
    elif args.source == "pbc":
        with _outlining(PBC_SCALE) as outliner:
            written = prepare_pbc(path, out, outliner, force=args.force)
    else:
        with ProgressLine("drawing cells") as line:
            written = prepare_synthetic(
                out,
                slides=args.slides,
                cells_per_class=args.cells,
                seed=args.seed,
                force=args.force,
                progress=line,
            )
    _print_outcome(out, written, former)
    return 0


@contextmanager
def _outlining(
    scale: float | None, pictures: Sequence[Path] = ()
) -> Iterator[Outliner]:
    """Give the outliner of the package, which shows how far it is."""
    # Here, since it loads torch.
    from leuko_mm.inference.outliner import outlining

    with (
        ProgressLine("outlining cells") as line,
        outlining(scale, pictures, progress=line) as outliner,
    ):
        if outliner.note:
            print(outliner.note)
        yield outliner


def _splits(out: Path) -> list[str]:
    return sorted(path.stem for path in (out / "splits").glob("*.csv"))


def _print_outcome(
    out: Path,
    written: bool,
    former: Sequence[str],
    *,
    stated: Mapping[str, str] | None = None,
) -> None:
    about = read_about(out)
    counts = ", ".join(
        f"{count} {name}{'s' * (count != 1)}" for name, count in about["counts"].items()
    )
    state = "prepared" if written else "was prepared already, nothing changed"
    print(f"{out} {state}: {counts}; {about['groups']} groups that no fold divides")
    if dropped := sorted(set(former) - set(_splits(out))):
        print(f"  dropped with the former content: the splits {', '.join(dropped)}")
    for key, value in (stated or {}).items():
        if value != NOT_STATED and about[key] != value:
            print(f"  {key} stays {about[key]!r}; --force makes it {value!r}")
    for note in about.get("notes", ()):
        print(f"  note: {note}")


def _run_folders(args: argparse.Namespace, command: list[str]) -> None:
    name = args.name or (Path(args.out).name if args.out else "")
    if not is_plain_name(name):
        raise UsageError(
            f"--name is {name!r}; give the dataset a name: leuko prepare folders "
            f"{shlex.quote(args.path)} --name smears"
        )
    out = Path(args.out or data_home() / name)
    stated, former = dict(licence=args.licence, citation=args.citation), _splits(out)
    if args.outline:
        written = _outlined(args, name, out, command, stated)
    else:
        written = _annotated(args, name, out, command, stated)
    _print_outcome(out, written, former, stated=stated)
    fields = read_about(out)["fields"]
    if fields and not args.crop:
        print(f"{fields} images without a leukocyte are kept, in no split")
    if splits := _splits(out):
        print(f"splits: {', '.join(splits)}")
    else:
        print("no splits: one group, or one cell a class, cannot be divided")


def _outlined(
    args: argparse.Namespace, name: str, out: Path, command: list[str], stated: Mapping
) -> bool:
    if args.masks or args.crop or args.skip_unpaired:
        raise UsageError(
            "--outline is for pictures of one cell without masks; leave masks, --crop "
            "and --skip-unpaired out"
        )
    given = parse_map(args.class_map) if args.class_map else None
    found = sort_by_folder(Path(args.path), given)
    # Names that begin with a class are no slides, so nothing is guessed.
    grouping = group_images(found.images, args.group_by, guess=False)
    rows = [("folder", "pictures", "becomes" + " (a guess)" * (given is None))]
    for folder, count in Counter(found.kinds.values()).items():
        rows.append((folder, count, found.targets[folder]))
    for line in aligned(rows, right=(1,)):
        print(f"  {line}")
    _print_groups(grouping, len(found.images))
    if given is None:
        _confirm(found.targets, yes=args.yes, command=command, out=out)
    request = FoldersRequest(name, found.targets, grouping, **stated)
    with _outlining(args.scale, [image.path for image in found.images]) as outliner:
        return prepare_outlined(found, out, request, outliner, force=args.force)


def _annotated(
    args: argparse.Namespace, name: str, out: Path, command: list[str], stated: Mapping
) -> bool:
    if args.scale:
        raise UsageError("--scale is for --outline; leave it out, or add that")
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
    request = FoldersRequest(name, targets, grouping, args.crop, **stated)
    return prepare_folders(survey, out, request, force=args.force)


def _print_survey(
    survey: Survey, targets: Mapping[str, str | None], *, guessed: bool
) -> None:
    print(f"{len(survey.images)} images with {survey.annotations.form}")
    for path in survey.left_out[:MAX_SHOWN_FILES]:
        print(f"  left out, without a counterpart: {path}")
    if len(survey.left_out) > MAX_SHOWN_FILES:
        print(f"  and {len(survey.left_out) - MAX_SHOWN_FILES} more")
    for remark in survey.remarks:
        print(f"  {remark}")
    total = sum(use.pixels for use in survey.uses.values())
    rows = [("value", "pixels", "share", "files", "becomes" + " (a guess)" * guessed)]
    for key, use in list(survey.uses.items())[:MAX_SHOWN_KEYS]:
        share = f"{use.pixels / total:.2%}"
        rows.append((key, use.pixels, share, use.files, targets.get(key) or "?"))
    for line in aligned(rows, right=range(1, 4)):
        print(f"  {line}")
    if len(survey.uses) > MAX_SHOWN_KEYS:
        print(f"  and {len(survey.uses) - MAX_SHOWN_KEYS} more values")


def _print_groups(grouping: Grouping, images: int) -> None:
    for remark in grouping.remarks:
        print(f"  {remark}")
    if not grouping.known:
        print(
            f"groups: {grouping.rule}. If several images come from one slide or "
            "patient, train and test will share it and scores will be too high; say "
            "which belong together with --group-by"
        )
        return
    sizes = grouping.sizes()
    largest, size = sizes.most_common(1)[0]
    print(
        f"groups: {len(sizes)} of {images} images, by {grouping.rule}; the largest is "
        f"{largest!r} with {size} images"
    )


def _agree(survey: Survey, *, yes: bool, command: list[str], out: Path) -> None:
    missing = [key for key, target in survey.guess.items() if not target]
    if missing:
        raise UsageError(
            f"nothing was written: {'; '.join([*survey.remarks, ''])}no guess for "
            f"{len(missing)} value(s), first "
            f"{missing[0]!r} on {survey.uses[missing[0]]}; say what every value is, a "
            f"class, background or ignore:\n    --map {_some_of(survey.guess)}"
        )
    _confirm(survey.guess, yes=yes, command=command, out=out)


def _some_of(guess: Mapping[str, str | None]) -> str:
    some = dict(list(guess.items())[:MAX_SHOWN_KEYS])
    more = len(guess) - len(some)
    return map_text(some) + f" and {more} more" * (more > 0)


def _confirm(
    guess: Mapping[str, str], *, yes: bool, command: list[str], out: Path
) -> None:
    if yes:
        return
    option = f"--map {map_text(guess)}"
    if sys.stdin is not None and sys.stdin.isatty():
        if input(f"write {out} with this map? [y/N] ").strip().lower() in ("y", "yes"):
            return
        raise UsageError(f"nothing was written; say what the values are:\n    {option}")
    raise UsageError(
        "nothing was written: the map above is a guess; if it is right, add --yes, or "
        f"give it:\n    {command[0]} {shlex.join(command[1:])} {option}"
    )
