"""Try imports in an interpreter of their own, so that a broken library stops nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

# Runs with nothing but the standard library. Without the mark, what a library prints
# while it is imported would be taken for an answer.
MARK = "leuko-probe:"
CODE = f"""
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
import importlib, json
for name in sys.argv[1:]:
    answer = dict(name=name)
    try:
        module = importlib.import_module(name)
        answer["version"] = str(getattr(module, "__version__", ""))
        if name == "torch":
            cuda = module.cuda.is_available()
            answer["facts"] = dict(
                built_for_cuda=module.version.cuda,
                gpu=module.cuda.get_device_name(0) if cuda else None,
                threads=module.get_num_threads(),
            )
    except BaseException as error:
        words = str(error).strip().splitlines() or [""]
        answer["error"] = type(error).__name__ + ": " + words[0]
        answer["absent"] = getattr(error, "name", None) == name and isinstance(
            error, ModuleNotFoundError
        )
    print("{MARK}" + json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class ImportedLibrary:
    """What came of importing one library.

    Args:
        version: as the library states it; empty if it does not, or failed.
        error: why it cannot be imported; empty if it can.
        absent: it is not installed at all.
        facts: for torch: ``built_for_cuda``, ``gpu``, ``threads``.
    """

    version: str = ""
    error: str = ""
    absent: bool = False
    facts: dict = field(default_factory=dict)


def probe_imports(
    names: Sequence[str], *, timeout_s: float = 300
) -> dict[str, ImportedLibrary]:
    """Import the modules one after another in a new interpreter.

    Example:
        >>> probe_imports(["json", "no_such_module"])["no_such_module"].absent
        True
    """
    answers, left = {}, list(names)
    while left:
        found, ending = _ask(left, timeout_s)
        answers.update(found)
        left = [name for name in left if name not in found]
        if left:
            # The import took the interpreter with it; the others are asked anew.
            answers[left.pop(0)] = ImportedLibrary(error=ending)
    return {name: answers[name] for name in names}


def _ask(
    names: Sequence[str], timeout_s: float
) -> tuple[dict[str, ImportedLibrary], str]:
    command = [sys.executable, "-c", CODE, *names]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s
        )
        output, ending = done.stdout, f"importing it ended Python ({done.returncode})"
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        ending = f"importing it took more than {timeout_s:.0f} s"
    found = {}
    for line in output.splitlines():
        if line.startswith(MARK):
            answer = json.loads(line.removeprefix(MARK))
            name = answer.pop("name")
            found[name] = ImportedLibrary(**answer)
    return found, ending
