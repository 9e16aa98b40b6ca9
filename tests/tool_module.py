"""The scripts of ``tools/`` as modules, to be tested without a process each."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def load_tool(name: str) -> ModuleType:
    """Return ``tools/<name>.py`` as a new module; ``sys.modules`` does not keep it.

    What it imports from its own folder is found, and is new as well.
    """
    path = TOOLS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"tool_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while they are made.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        del sys.modules[spec.name]
        for other in path.parent.glob("*.py"):
            loaded = sys.modules.get(other.stem)
            if loaded and getattr(loaded, "__file__", None) == str(other):
                del sys.modules[other.stem]
    return module
