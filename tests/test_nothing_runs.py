"""Nothing in the package runs text: no eval, no shell, no unpickling without a list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What runs, or unpickles, whatever it is given.
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads"),
    *("shelve.open", "joblib.load", "dill.load", "yaml.load", "yaml.unsafe_load"),
}
SOURCES = sorted(
    path for folder in ("leuko_mm", "tools") for path in (ROOT / folder).rglob("*.py")
)


def called(call: ast.Call) -> str:
    """Return the name of what is called, with its dots; methods of values have none."""
    parts, node = [], call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def option_of(call: ast.Call, name: str) -> object:
    """Return the value that a call gives an option, None if it gives none."""
    for keyword in call.keywords:
        if keyword.arg == name:
            given = keyword.value
            return given.value if isinstance(given, ast.Constant) else "no constant"
    return None


def what_runs(text: str) -> list[str]:
    """Return every call of a source that runs text or trusts a file."""
    found = []
    for call in (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)):
        name = called(call)
        if (
            name in FORBIDDEN
            or option_of(call, "shell")
            or option_of(call, "allow_pickle")
        ):
            found.append(f"line {call.lineno}: {name}")
        elif name == "torch.load" and option_of(call, "weights_only") is not True:
            found.append(f"line {call.lineno}: torch.load without weights_only=True")
    return found


def test_no_source_runs_text():
    assert SOURCES
    found = {path: what_runs(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("eval(text)", True),
        ("os.system(f'rm {path}')", True),
        ("subprocess.run(line, shell=wish)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("model.eval()", False),
        ("subprocess.run(['git', path])", False),
        ("torch.load(path, weights_only=True)", False),
    ],
)
def test_what_is_looked_for_is_found(line, found):
    assert bool(what_runs(f"def f():\n    {line}\n")) == found
