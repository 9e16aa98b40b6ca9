"""Tables and numbers as Markdown text."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right.

    Example:
        >>> print(table(["a", "b"], [["x", "1"]]))
        | a | b |
        |---|---:|
        | x | 1 |
    """
    rule = "|---|" + "---:|" * (len(header) - 1)
    lines = [f"| {' | '.join(line)} |" for line in (header, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def number(value: float | None, digits: int = 1) -> str:
    """Format a number; a hyphen stands for None and NaN.

    Example:
        >>> number(2.345), number(2.345, 2), number(None)
        ('2.3', '2.35', '-')
    """
    # NaN is the only number that differs from itself.
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def change(new: float | None, old: float | None) -> str:
    """Say a change in percent; a hyphen stands for one that has none.

    Example:
        >>> change(5, 10), change(12, 10), change(10, 10), change(1, 0)
        ('-50 %', '+20 %', '+0 %', '-')
    """
    return f"{100 * (new / old - 1):+.0f} %" if old and new is not None else "-"
