"""The one place that guesses what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class LeukoError(Exception):
    """A command cannot go on; the message says what to do, and no traceback is shown.

    The base of every such error of the package. ``exit_code`` is what the command
    ends with: 1 some items failed, 2 wrong use or missing input, 3 not available.
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

    Upper and lower case count alike. A name of another number is another name, and no
    slip: ``fold9`` is not meant to be ``fold5``.

    Args:
        word: as it was written.
        known: what it may be meant to be.
        count: the most to return.
        alike: smallest likeness, 0 (any word) to 1 (the same), as ``difflib`` has it.

    Example:
        >>> nearest("Halve", ["paper", "half"])
        ['half']
    """
    spelt: dict[str, str] = {}
    for name in map(str, known):
        if not _of_another_number(word.lower(), name.lower()):
            spelt.setdefault(name.lower(), name)
    found = difflib.get_close_matches(word.lower(), spelt, n=count, cutoff=alike)
    return [spelt[name] for name in found]


def _of_another_number(word: str, name: str) -> bool:
    words, numbers = zip(*(_parts(text) for text in (word, name)), strict=True)
    return words[0] == words[1] and numbers[0] != numbers[1] and all(numbers)


def _parts(text: str) -> tuple[str, str]:
    """Return the letters of a name, and its digits."""
    return re.sub(r"\d", "", text), re.sub(r"\D", "", text)


def did_you_mean(word: str, known: Iterable[str], *, count: int = 1) -> str:
    """Return `` (did you mean 'half'?)``, or '' where nothing known is near.

    Example:
        >>> did_you_mean("halve", ["paper", "half"])
        " (did you mean 'half'?)"
        >>> did_you_mean("zzz", ["paper", "half"])
        ''
    """
    names = " or ".join(repr(name) for name in nearest(word, known, count=count))
    return f" (did you mean {names}?)" if names else ""
