"""The one place that guesses what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(
    word: str, known: Iterable[str], *, count: int = 1, alike: float = 0.6
) -> list[str]:
    """Return the known words that are near a misspelt one, the nearest first.

    Upper and lower case count alike.

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
    for name in known:
        spelt.setdefault(str(name).lower(), str(name))
    found = difflib.get_close_matches(str(word).lower(), spelt, n=count, cutoff=alike)
    return [spelt[name] for name in found]


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
