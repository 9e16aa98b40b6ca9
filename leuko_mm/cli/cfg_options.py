"""The argument ``--cfg-options``, which overrides any key of a config."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction


class CfgOptions(DictAction):
    """mmengine's reader of KEY=VALUE, which says what is wrong with a word.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_cfg_options(parser, "override any key")
        >>> parser.parse_args(["--cfg-options", "a.b=[1,2]", "c=x"]).cfg_options
        {'a.b': [1, 2], 'c': 'x'}
    """

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
