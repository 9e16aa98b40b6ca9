"""The parser of every verb: argparse, and what a slip was meant to be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from leuko_mm.nearest import did_you_mean


class HelpfulParser(argparse.ArgumentParser):
    """A parser that names the nearest choice or option where there is none such.

    Example:
        >>> HelpfulParser().hints(["--helf", "7"])
        " (did you mean '--help'?)"
    """

    def parse_args(
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """Parse, and refuse what is left over."""
        parsed, left_over = self.parse_known_args(args, namespace)
        if left_over:
            self.error(
                f"unrecognized arguments: {' '.join(left_over)}{self.hints(left_over)}"
            )
        return parsed

    def error(self, message: str) -> NoReturn:
        """End with the message; the usage, which would hide it, is in ``--help``."""
        self.exit(2, f"{self.prog}: error: {message}\nsee {self.prog} --help\n")

    def hints(self, words: Sequence[str]) -> str:
        """Say which options those among the words may be meant to be."""
        known = sorted(_options(self))
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        return "".join(did_you_mean(word, known) for word in given)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            # Before all that there are, among which it would be lost.
            choices = [str(choice) for choice in action.choices or ()]
            meant = did_you_mean(value, choices)
            if meant:
                error.message = (
                    f"invalid choice: {value!r}{meant}; choose from "
                    f"{', '.join(choices)}"
                )
            raise


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the long options of a parser and of the parsers below it."""
    found = {name for name in parser._option_string_actions if name.startswith("--")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found |= _options(child)
    return found
