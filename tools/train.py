"""Train a config: the same as `leuko train`, where people of mmseg look for it."""

import sys

from leuko_mm.cli.main import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("train", sys.argv[1:], prog="tools/train.py"))
