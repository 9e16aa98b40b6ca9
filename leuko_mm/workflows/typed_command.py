"""Command lines as a user types them into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

# What a resumed run must not be given again, abbreviations of argparse included.
ENTRANCE = ("--force", "--resume")
SHORTEST = len("--f")


def as_typed(command: Sequence[str]) -> str:
    """Return a command line, quoted for a shell.

    Args:
        command: the program, as one word or several, and its arguments.

    Example:
        >>> as_typed(["leuko train", "unet", "--data", "my cells"])
        "leuko train unet --data 'my cells'"
        >>> as_typed(["tools/train.py", "unet"])
        'python tools/train.py unet'
    """
    if not command:
        return ""
    words = [*command[0].split(), *command[1:]]
    if words[0].endswith(".py"):
        words.insert(0, "python")
    return shlex.join(words)


def resuming(command: Sequence[str], *, launcher: str = "none") -> str:
    """Say what to type to go on with an unfinished run.

    Args:
        command: that began it; empty where it was begun from Python.
        launcher: what started its processes; its own command is not known here.

    Example:
        >>> resuming(["leuko train", "unet", "--force"])
        'go on with:\\n    leuko train unet --resume'
    """
    if not command:
        return "go on with resume=True"
    kept = [w for w in command if not any(_means(w, option) for option in ENTRANCE)]
    text = as_typed([*kept, "--resume"])
    if launcher == "none":
        return f"go on with:\n    {text}"
    return f"go on by starting, as before, the processes of:\n    {text}"


def _means(word: str, option: str) -> bool:
    return len(word) >= SHORTEST and option.startswith(word)
