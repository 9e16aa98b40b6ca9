"""Test a checkpoint: the same as `leuko test`, where people of mmseg look for it."""

import sys

from leuko_mm.cli.main import run_verb

if __name__ == "__main__":
    sys.exit(run_verb("test", sys.argv[1:], prog="tools/test.py"))
