"""Publish a trained checkpoint: bare tensors, rounded, hashed, tested, with its card.

    python tools/publish_checkpoint.py work_dirs/<run>/<run>.pth --float16

writes <method>.pth, .json and .md into the package; then renew the list of models with
tools/model_zoo.py. With --out it goes anywhere, and --no-limit lets it be large.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leuko_mm.cli.main import exit_code_of
from leuko_mm.inference.shipped import shipped_folder
from leuko_mm.workflows.publish import LIMIT, LIMIT_TOGETHER, PublishRequest, publish

BOUNDLESS = 10**12


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("checkpoint", type=Path, help="a training's .pth file")
    words.add_argument("--out", type=Path, help="folder; default: that of the package")
    words.add_argument("--name", help="default: the method's")
    words.add_argument("--float16", action="store_true", help="round every weight")
    words.add_argument("--command", help="what trained it; default: the documented one")
    words.add_argument(
        "--transfer",
        type=Path,
        nargs="+",
        default=[],
        metavar="TEST",
        help="folders of `leuko test` on other sources, for the card",
    )
    words.add_argument("--work-dir", type=Path, help="keep the test's files here")
    words.add_argument("--no-limit", action="store_true", help="let it be large")
    words.add_argument("--force", action="store_true", help="replace what is there")
    return words


def main() -> int:
    """Publish, and print where."""
    given = parser().parse_args()
    bounds = (BOUNDLESS, BOUNDLESS) if given.no_limit else (LIMIT, LIMIT_TOGETHER)
    request = PublishRequest(
        checkpoint=given.checkpoint,
        out=given.out or shipped_folder(),
        name=given.name,
        float16=given.float16,
        limit=bounds,
        transfer=given.transfer,
        command=given.command,
        work_dir=given.work_dir,
        force=given.force,
    )
    try:
        print(publish(request))
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        print(f"publish_checkpoint: {error}", file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
