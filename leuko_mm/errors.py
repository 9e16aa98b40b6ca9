"""Errors that a user can fix, and what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class LeukoError(Exception):
    """Base of the errors that are shown as a message without a traceback.

    ``exit_code`` is that of the command: 1 some items failed, 2 wrong use or missing
    input, 3 not available.
    """

    exit_code = 2

    # KeyError would show the message in quotes.
    __str__ = Exception.__str__


class UsageError(LeukoError, ValueError):
    """The user asked for something that does not exist or does not fit."""


def nearest(
    word: str, known: Iterable[str], *, count: int = 1, alike: float = 0.6
) -> list[str]:
    """Return the known words that are near a misspelt one, the nearest first.

    Upper and lower case are the same. A name that differs in its number only is not
    near: ``fold9`` is not meant to be ``fold5``.

    Args:
        word: as it was written.
        known: what it may be meant to be.
        count: the most to return.
        alike: smallest likeness, 0 to 1, as in ``difflib``.

    Examples:
        >>> nearest("Halve", ["paper", "half"])
        ['half']
    """
    spelt: dict[str, str] = {}
    for name in map(str, known):
        if not _differs_in_number(word.lower(), name.lower()):
            spelt.setdefault(name.lower(), name)
    found = difflib.get_close_matches(word.lower(), spelt, n=count, cutoff=alike)
    return [spelt[name] for name in found]


def _differs_in_number(word: str, name: str) -> bool:
    letters, digits = (
        [re.sub(pattern, "", text) for text in (word, name)]
        for pattern in (r"\d", r"\D")
    )
    return letters[0] == letters[1] and digits[0] != digits[1] and all(digits)


def did_you_mean(word: str, known: Iterable[str], *, count: int = 1) -> str:
    """Return `` (did you mean 'half'?)``, or '' where nothing is near."""
    names = " or ".join(repr(name) for name in nearest(word, known, count=count))
    return f" (did you mean {names}?)" if names else ""
