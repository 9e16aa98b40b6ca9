"""Train a config: the same as `leuko train`, where people of mmseg look for it."""

import sys

from leuko_mm.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
