"""Test a checkpoint: the same as `leuko test`, where people of mmseg look for it."""

import sys

from leuko_mm.cli.test import main

if __name__ == "__main__":
    sys.exit(main())
