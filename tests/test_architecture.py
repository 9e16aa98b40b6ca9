"""The floors of the house: imports only go down, and a name has one home.

The rules are read off the source with ast; nothing is imported.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "leuko_mm"

FLOORS = {
    **dict.fromkeys(["cli"], 3),
    **dict.fromkeys(["app", "training", "comparison", "inference", "zoo"], 2),
    # Small jobs of one file.
    **dict.fromkeys(["browse", "check", "doctor", "enhance", "parts", "split"], 2),
    **dict.fromkeys(["datasets", "transforms", "models", "losses"], 1),
    **dict.fromkeys(["engine", "evaluation", "report"], 1),
    **dict.fromkeys(["classes", "registry", "plugins", "stack", "errors"], 0),
    **dict.fromkeys(["files", "lazy", "progress", "processes"], 0),
    PACKAGE: 0,  # leuko_mm/__init__.py itself
}
# Rooms of one floor know nothing of each other, but for these (importer, imported).
NEIGHBOURS: set[tuple[str, str]] = {
    # Which pixels an image may have is said once: images -> ahe_retinex.
    ("datasets", "transforms"),
    # Every job that reads a config resolves it as a training does.
    *((job, "training") for job in ("browse", "check", "comparison", "parts", "zoo")),
    # A training measures red cells for the sidecar; --load-from takes a zoo model.
    ("training", "inference"),
    ("training", "zoo"),
    # The page shows what a prediction writes.
    ("app", "inference"),
    # The zoo builds the network of a checkpoint to verify it.
    ("zoo", "inference"),
}
# Libraries that hold models; transforms and evaluation work on arrays alone.
MODEL_LIBRARIES = ("mmseg.models", "mmseg.apis", "mmpretrain", "mmdet", "torchvision")
VAGUE_NAMES = {"utils", "util", "common", "misc", "helpers", "helper"}
MAX_LINES = 700
MAX_MODULES = 16


def sources(*folders: str) -> list[Path]:
    """Return the Python files below the folders, but for what editors hide there."""
    files = (file for name in folders for file in (ROOT / name).rglob("*.py"))
    return sorted(file for file in files if not file.name.startswith("."))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def imported_names(tree: ast.Module, module: str, is_package: bool) -> set[str]:
    """Return the dotted names that a module imports, at any depth of its code.

    ``from a.b import c`` gives ``a.b.c``, which may be a module or a thing in one.
    """
    here = module.split(".")
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = here[: len(here) - node.level + is_package]
                base = ".".join(above + ([base] if base else []))
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str:
    """Return the room of a dotted name in the package."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else PACKAGE


MODULES = {module_name(file): file for file in sources(PACKAGE)}
IMPORTS = {
    name: imported_names(parse(file), name, file.name == "__init__.py")
    for name, file in MODULES.items()
}


def inside(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def room_edges() -> dict[tuple[str, str], list[str]]:
    """Return the imports between different rooms, with the modules that hold them."""
    edges = defaultdict(list)
    for module, names in IMPORTS.items():
        for name in filter(inside, names):
            if room(name) != room(module):
                edges[room(module), room(name)].append(module)
    return edges


def first_circle(graph: dict[str, set[str]]) -> list[str]:
    """Return one circle of a graph as a path back to its start, or an empty list."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph[node]):
            if found := walk(target, [*path, node]):
                return found
        done.add(node)
        return []

    for start in sorted(graph):
        if found := walk(start, []):
            return found
    return []


@pytest.mark.parametrize(
    ("code", "module", "is_package", "expected"),
    [
        ("import a.b as c", "leuko_mm.x", False, {"a.b"}),
        ("from a import b, c", "leuko_mm.x", False, {"a.b", "a.c"}),
        ("from . import y", "leuko_mm.r.x", False, {"leuko_mm.r.y"}),
        ("from .y import Z", "leuko_mm.r", True, {"leuko_mm.r.y.Z"}),
        ("from ..s import Z", "leuko_mm.r.x", False, {"leuko_mm.s.Z"}),
        ("def f():\n    from ..s import Z", "leuko_mm.r.x", False, {"leuko_mm.s.Z"}),
    ],
)
def test_the_reader_of_imports_resolves_every_form(code, module, is_package, expected):
    assert imported_names(ast.parse(code), module, is_package) == expected


def test_the_finder_of_circles_finds_one():
    assert first_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert first_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_room_stands_on_a_floor():
    on_disk = {
        path.stem
        for path in (ROOT / PACKAGE).iterdir()
        if path.suffix == ".py" or any(path.rglob("*.py"))
    }
    assert on_disk - {"__init__"} <= set(FLOORS)


def test_imports_go_down_the_floors():
    upward = [
        f"{module} (floor {FLOORS[source]}) imports {target} (floor {FLOORS[target]})"
        for (source, target), modules in room_edges().items()
        for module in modules
        if FLOORS[source] < FLOORS[target]
    ]
    assert not upward


def test_rooms_of_one_floor_know_only_their_listed_neighbours():
    level = {
        edge
        for edge in room_edges()
        if FLOORS[edge[0]] == FLOORS[edge[1]] and FLOORS[edge[0]] > 0
    }
    assert level - NEIGHBOURS == set(), "imports between rooms of one floor"
    assert NEIGHBOURS - level == set(), "listed in NEIGHBOURS and no longer used"


@pytest.mark.parametrize("name", ["evaluation", "transforms"])
def test_rooms_of_arrays_import_no_model(name):
    libraries = (*MODEL_LIBRARIES, f"{PACKAGE}.models")
    found = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        if room(module) == name
        for target in targets
        if any(target == lib or target.startswith(f"{lib}.") for lib in libraries)
    ]
    assert not found


def test_report_imports_only_classes_of_ours():
    rooms = {target for source, target in room_edges() if source == "report"}
    assert rooms <= {"classes"}


def test_the_package_imports_neither_tools_nor_configs():
    outside = {"tools", "configs", "tests", "setup"}
    found = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in targets
        if target.split(".")[0] in outside or target.startswith(f"{PACKAGE}.configs")
    ]
    assert not found


def test_no_circle_of_imports():
    graph = {}
    for module, targets in IMPORTS.items():
        modules = {t if t in MODULES else t.rpartition(".")[0] for t in targets}
        graph[module] = {t for t in modules if t in MODULES} - {module}
    assert first_circle(graph) == []


def test_no_assert_outside_the_tests():
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sources(PACKAGE, "tools")
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Assert)
    ]
    assert not found


def test_every_public_class_has_one_home():
    homes = defaultdict(list)
    for file in sources(PACKAGE, "tools", "tests"):
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(file.relative_to(ROOT)))
    doubled = {
        name: files
        for name, files in homes.items()
        if len(files) > 1 and any(file.startswith(PACKAGE) for file in files)
    }
    assert not doubled


def test_file_names_say_what_is_inside():
    vague = [f for f in sources(PACKAGE, "tools", "tests") if f.stem in VAGUE_NAMES]
    assert not vague


def test_files_stay_short():
    long = {}
    for file in sources(PACKAGE, "tools"):
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            long[str(file.relative_to(ROOT))] = lines
    assert not long


def test_no_room_is_a_heap_of_files():
    counts = defaultdict(int)
    for file in sources(PACKAGE):
        counts[file.parent.relative_to(ROOT).as_posix()] += file.name != "__init__.py"
    assert {room: n for room, n in counts.items() if n > MAX_MODULES} == {}


# What counts cells without the toolkit: neither torch nor OpenMMLab.
LIGHT = [
    "leuko_mm.datasets.images",
    "leuko_mm.datasets.prepared",
    "leuko_mm.transforms.retinex",
    "leuko_mm.evaluation.statistics",
    *(m for m in MODULES if room(m) in ("app", "inference", "report")),
]
HEAVY = ("torch", "mmengine", "mmcv", "mmseg")


def test_light_modules_import_without_torch():
    code = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for name in {LIGHT!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found[name] = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "    if found[name]:\n"
        "        break\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: heavy for name, heavy in found.items() if heavy} == {}
    assert len(found) == len(LIGHT)
