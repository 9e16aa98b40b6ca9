"""Show what the cache of enhanced cells holds, or empty it.

Trainings keep every cell as loading and enhancement left it. LEUKO_MM_CACHE names the
folder (default: ~/.cache/leuko_mm), the limit (500M, 4G; default: 1G), or both as
FOLDER,LIMIT; off keeps nothing.
"""

from __future__ import annotations

import argparse

from leuko_mm.workflows.cache import clear_cache, look_at_cache

ACTIONS = ("show", "clear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko cache``."""
    parser.add_argument(
        "action", nargs="?", choices=ACTIONS, default="show", help="default: show"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Print what the cache holds, or what it held."""
    state = clear_cache() if args.action == "clear" else look_at_cache()
    if state is None:
        print("the cache is off: LEUKO_MM_CACHE is 'off'")
        return 0
    cells = f"{state.entries} cell{'s' * (state.entries != 1)}"
    if args.action == "clear":
        print(f"{state.folder}: {cells} removed, {in_mib(state.size)} freed")
    else:
        print(f"folder   {state.folder}")
        print(f"entries  {cells}")
        print(f"size     {in_mib(state.size)} of at most {in_mib(state.limit)}")
    return 0


def in_mib(size: int) -> str:
    """Format a number of bytes.

    Example:
        >>> in_mib(3 * 2**19)
        '1.5 MiB'
    """
    return f"{size / 2**20:.1f} MiB"
