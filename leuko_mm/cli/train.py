"""Train a config, test it on unseen cells, write results, checkpoint and pictures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import DictAction

from leuko_mm.cli.main import at_least
from leuko_mm.training.config import SETTINGS
from leuko_mm.training.run import TrainRequest, train


class CfgOptions(DictAction):
    """mmengine's reader of KEY=VALUE, which says what is wrong with a word."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Read the words, or refuse the first that names no key and value."""
        for word in values:
            key, equals, _ = word.partition("=")
            if not equals or not key.strip("."):
                raise argparse.ArgumentError(
                    self, f"expected KEY=VALUE, such as randomness.seed=3, got {word!r}"
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:  # brackets that are not closed
            raise argparse.ArgumentError(self, str(error)) from None
        except RecursionError:
            said = "brackets within brackets without end"
            raise argparse.ArgumentError(self, said) from None


def add_cfg_options(parser: argparse.ArgumentParser, words: str) -> None:
    """Declare the argument, with these words of help."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="KEY=VALUE",
        help=words,
    )


def add_iterations_argument(parser: argparse.ArgumentParser) -> None:
    """Declare how long to train where the protocol's own length does not fit."""
    parser.add_argument(
        "--iterations",
        type=at_least(1),
        metavar="N",
        help="instead of the protocol's own number; the frozen stage and the decay of "
        "the learning rate in proportion, the warm-up as it is",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a training and a test take alike."""
    add = parser.add_argument
    add("--protocol", help="paper, half, smoke, ...: data and schedule")
    words = "; ".join(f"{key}: {s.words}" for key, s in SETTINGS.items())
    add("--setting", choices=list(SETTINGS), help=f"{words}; default: the config's own")
    add("--data", help="prepared dataset: a name or a path, or several: a,b")
    add("--force", action="store_true", help="replace what is in the work dir")
    add_cfg_options(parser, "override any key of the config")
    add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    add("--local_rank", "--local-rank", type=int, default=0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: mmseg's own, and which data under which protocol."""
    add = parser.add_argument
    add("config", help="a config's path or name, such as cbam_unet")
    add("--split", help="fold1 ... fold5, paper, ...")
    add("--seed", type=int, help="of weights, sampling, augmentation")
    add_iterations_argument(parser)
    add(
        "--load-from",
        metavar="MODEL",
        help="start from a trained model (fine-tuning): a .pth of leuko train, or a "
        "name of leuko zoo list",
    )
    add("--work-dir", help="default: work_dirs/<run>")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add(
        "--amp",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bfloat16; default: on where the processor multiplies it",
    )
    add(
        "--plain",
        action="store_true",
        help="without all that only makes it faster: float32, mmengine's own loop",
    )
    add_run_arguments(parser)


def request_fields(args: argparse.Namespace) -> dict:
    """Return the arguments as fields of a request; set what torchrun's workers read."""
    fields = dict(vars(args), options=args.cfg_options)
    os.environ.setdefault("LOCAL_RANK", str(fields.pop("local_rank")))
    del fields["cfg_options"]
    return fields


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Train and print the table and where everything is."""
    work_dir = train(TrainRequest(**request_fields(args), command=command))
    if int(os.environ.get("RANK", 0)) == 0:
        print_outcome(work_dir)
    return 0


def print_outcome(work_dir: Path) -> None:
    """Print the table of a finished run and the places of its files."""
    print(f"\n{(work_dir / 'table.md').read_text(encoding='utf-8')}")
    overlays = sorted(path.name for path in work_dir.glob("overlays/*.png"))
    for words, name in (
        ("report", "report.html"),
        # The first one, to be opened as it stands; the others lie beside it.
        ("pictures", f"overlays/{overlays[0] if overlays else ''}"),
        ("loss curve", "loss.png"),
        ("checkpoint", f"{work_dir.name}.pth"),
        ("results", "results.json"),
    ):
        if (work_dir / name).exists():
            print(f"{words + ':':12} {work_dir / name}")
