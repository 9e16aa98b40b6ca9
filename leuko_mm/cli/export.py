"""Write a checkpoint as ONNX, for runtimes that are faster or need no torch.

The file takes any batch and any size that is a multiple of 32. Before it is kept it is
run beside the checkpoint: logits within 0.001, the same class at 99.99 % of the pixels.
The sidecar beside it says what goes in and what comes out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from leuko_mm.cli.main import DONE
from leuko_mm.inference.classify import names_cells
from leuko_mm.inference.export import export
from leuko_mm.inference.model import read_sidecar_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: from where, and where to."""
    add = parser.add_argument
    add("checkpoint", type=Path, help="a .pth of leuko train, its .json beside it")
    add("out", type=Path, metavar="OUT.onnx")
    add("--force", action="store_true", help="replace OUT.onnx")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Export, then say what was written and how well it agrees."""
    agreement = export(args.checkpoint, args.out, force=args.force)
    print(
        f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB) and "
        f"{args.out.with_suffix('.json').name}: logits within "
        f"{agreement.largest:.1g} of the checkpoint's, the same class at "
        f"{agreement.same_class:.2%} of the pixels"
    )
    option = "classifier" if names_cells(read_sidecar_of(args.out)) else "checkpoint"
    print(f"use it: leuko predict IMAGES --{option} {args.out} --out DIR")
    return DONE
