"""Plug-ins of other packages: loaded once, all or nothing, named when they fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from leuko_mm import plugins
from leuko_mm.plugins import PluginLoader, PluginWarning, unregistered_types
from leuko_mm.registry import PartRegistry, UnknownPartError

ROOT = Path(__file__).resolve().parents[1]
LOSS = """
from trial_registry import MODELS

@MODELS.register_module()
class {name}:
    pass
"""


def install(folder: Path, package: str, code: str, *, group=plugins.GROUP) -> str:
    """Lay a package with one module into a folder, as pip would; return the module."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    about = folder / f"{module}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n"
    )
    (about / "entry_points.txt").write_text(f"[{group}]\nparts = {module}\n")
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder that Python imports from; forget its modules afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if hasattr(sys.modules[name], "__file__") and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def models(folder, monkeypatch):
    """Return a registry with one part of its own, importable as trial_registry."""
    (folder / "trial_own.py").write_text(LOSS.format(name="Ours"))
    registry = PartRegistry(
        "model", plugins=PluginLoader(), scope="trial", locations=["trial_own"]
    )
    module = types.ModuleType("trial_registry")
    module.MODELS = registry
    monkeypatch.setitem(sys.modules, "trial_registry", module)
    return registry


def load(registry):
    """Load the plug-ins, and return the one warning that this must give."""
    with pytest.warns(PluginWarning) as caught:
        registry.plugins.load()
    assert len(caught) == 1
    return str(caught[0].message)


def test_the_first_look_up_loads_what_is_installed(folder, models):
    install(folder, "leuko-kind", LOSS.format(name="KindLoss"))
    assert models.get("KindLoss").__module__ == "leuko_kind"
    assert models.plugins.owner("model", "KindLoss") == "leuko-kind"
    assert models.plugins.owner("model", "Ours") is None
    assert [p.title for p in models.plugins.plugins] == ["leuko-kind 1.2"]


def test_plugins_are_imported_once(folder, models):
    install(folder, "leuko-once", "import trial_registry as t\nt.times = 1\n")
    module = sys.modules["trial_registry"]
    models.plugins.load()
    module.times = 5
    models.plugins.load()
    assert module.times == 5


def test_other_groups_of_entry_points_are_left_alone(folder, models):
    install(folder, "some-tool", "raise RuntimeError", group="console_scripts")
    models.plugins.load()
    assert models.plugins.plugins == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named"),
        ("\n\nraise RuntimeError('two\\nlines')", "RuntimeError: two"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_broken_plugin_is_named_and_the_rest_works(folder, models, code, said):
    install(folder, "leuko-bad", LOSS.format(name="HalfLoss") + code)
    install(folder, "leuko-good", LOSS.format(name="GoodLoss"))
    text = load(models)
    assert "leuko-bad 1.2" in text
    assert said in text
    assert "pip uninstall leuko-bad" in text
    assert models.get("GoodLoss").__module__ == "leuko_good"
    assert models.get("Ours").__module__ == "trial_own"


def test_the_reason_names_the_line_of_the_plugin(folder, models):
    install(folder, "leuko-bad", "import json\n\njson.loads('{')\n")
    assert re.search(r"JSONDecodeError: .*leuko_bad\.py, line 3\)", load(models))


def test_a_part_of_a_broken_plugin_is_refused_with_its_name(folder, models):
    install(folder, "leuko-bad", LOSS.format(name="LostLoss") + "1 / 0\n")
    load(models)
    assert "LostLoss" not in models.module_dict
    with pytest.raises(UnknownPartError) as caught:
        models.build(dict(type="trial.LostLoss"))
    text = str(caught.value)
    assert "trial has no model 'LostLoss'" in text
    assert "custom_imports" in text
    assert "leuko-bad 1.2" in text
    assert "ZeroDivisionError" in text


def test_an_unknown_part_names_the_nearest(models):
    with pytest.raises(UnknownPartError, match=r"no model 'Our'.*did you mean Ours\?"):
        models.get("Our")
    assert UnknownPartError.exit_code == 2


def test_a_name_of_ours_is_refused(folder, models):
    install(folder, "leuko-thief", LOSS.format(name="Ours"))
    text = load(models)
    assert "leuko-thief" in text
    assert "Ours is already registered in model at trial_own" in text
    assert models.get("Ours").__module__ == "trial_own"


def test_of_two_plugins_with_one_name_the_second_is_refused(folder, models):
    install(folder, "leuko-a", LOSS.format(name="SameLoss"))
    install(folder, "leuko-b", LOSS.format(name="SameLoss"))
    text = load(models)
    assert text.startswith("the plug-in leuko-b")
    assert "SameLoss is already registered in model at leuko_a" in text
    assert models.get("SameLoss").__module__ == "leuko_a"


def test_a_plugin_may_look_up_parts_while_it_is_imported(folder, models):
    install(
        folder,
        "leuko-child",
        "from trial_registry import MODELS\n"
        "class Child(MODELS.get('Ours')):\n    pass\n"
        "MODELS.register_module(module=Child)\n",
    )
    assert models.get("Child").__mro__[1] is models.get("Ours")


def test_a_module_that_was_imported_before_is_still_the_plugins(folder, models):
    install(folder, "leuko-early", LOSS.format(name="EarlyLoss"))
    __import__("leuko_early")
    models.plugins.load()
    assert models.plugins.owner("model", "EarlyLoss") == "leuko-early"


def test_a_config_finds_a_plugins_part_in_a_clean_process(tmp_path):
    ours = "from leuko_mm.registry import MODELS\n" + LOSS.partition("MODELS\n")[2]
    install(tmp_path, "leuko-good", ours.format(name="GoodLoss"))
    install(tmp_path, "leuko-bad", ours.format(name="LostLoss") + "1 / 0\n")
    code = (
        "from mmengine.registry import init_default_scope\n"
        "from mmseg.registry import MODELS\n"
        "init_default_scope('mmseg')\n"
        "print(type(MODELS.build(dict(type='leuko_mm.GoodLoss'))).__module__)\n"
        "try:\n    MODELS.build(dict(type='leuko_mm.LostLoss'))\n"
        "except KeyError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "leuko_good" in lines
    assert "leuko_mm has no model 'LostLoss'" in done.stdout
    assert "leuko-bad 1.2" in lines[-1]
    assert done.stderr.count("the plug-in leuko-bad 1.2 is left out") == 1


def test_a_config_may_name_registered_parts_only():
    config = dict(type="leuko_mm.VGG", norm=[dict(type="os.system"), dict(type=print)])
    assert unregistered_types(config) == ["os.system", print]
    assert unregistered_types(dict(a=dict(type="mmseg.UNet"), b=("x", 1))) == []
    # mmengine imports ``<scope>.registry``.
    assert unregistered_types(dict(type="VGG", _scope_="planted")) == ["planted"]
    assert unregistered_types(dict(type="FCNHead", _scope_="mmseg")) == []
