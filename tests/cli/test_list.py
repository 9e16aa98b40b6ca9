"""``leuko list``: what it prints, and what it refuses."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import pytest
from tiny_run import leuko

from leuko_mm import stack
from leuko_mm.cli.list import _kind
from leuko_mm.cli.main import main
from leuko_mm.plugins import Plugin
from leuko_mm.registry import PLUGINS

ROOT = Path(__file__).resolve().parents[2]


def registered_classes():
    """Return the names of our classes under a `register_module`, read off the code."""
    return {
        node.name
        for file in (ROOT / "leuko_mm").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(".register_module(" in ast.unparse(d) for d in node.decorator_list)
    }


def test_a_clean_process_lists_all_of_ours_by_kind(tmp_path):
    done = leuko("list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.index("heads") < lines.index("losses") < lines.index("hooks")
    listed = {line.split()[0] for line in lines if line.startswith("  leuko_mm.")}
    assert listed == {f"leuko_mm.{name}" for name in registered_classes()}
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("losses", "losses"),
        ("loss", "losses"),
        ("Backbone", "backbones"),
        ("model", "models"),
        ("weight-initializers", "weight_initialisers"),
        ("optim_wrapper", "optim_wrappers"),
        ("VGG", None),
    ],
)
def test_a_kind_in_any_number_and_spelling(word, kind):
    assert _kind(word) == kind


def test_one_kind_alone(capsys):
    assert main(["list", "neck"]) == 0
    out = capsys.readouterr().out
    assert "FPN" not in out
    assert main(["list", "neck", "--all"]) == 0
    assert "  FPN " in capsys.readouterr().out
    assert out.startswith("necks\n  leuko_mm.")
    assert "\n  leuko_mm.CBAMSkipNeck " in out
    assert "leuko_mm.VGG" not in out


def test_a_part_of_a_plugin_is_marked(capsys, monkeypatch):
    plugin = Plugin("x", "x", "leuko-x", parts=[("model", "CBAMSkipNeck")])
    monkeypatch.setattr(PLUGINS, "plugins", [plugin])
    assert main(["list", "necks"]) == 0
    assert "leuko_mm.CBAMSkipNeck  [leuko-x] Put a" in capsys.readouterr().out


def test_one_part_with_its_arguments(capsys):
    assert main(["list", "UNetHead"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("leuko_mm.UNetHead: one of the heads of leuko_mm\n")
    assert "Decode the maps of an encoder" in out
    own, bases = out.split("\nUNetHead(\n")[1].split("\nBaseDecodeHead(\n")
    assert "    upsample='nearest',\n" in own
    assert "    num_classes,\n" in own
    assert "    ignore_index=255,\n" in bases
    assert "dict(type='leuko_mm.UNetHead', ...)" in bases


def test_configs_and_protocols(capsys):
    assert main(["list", "configs"]) == 0
    assert "cbam_unet " in capsys.readouterr().out
    assert main(["list", "protocols"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("grouped ")
    assert "\nrobust   Leukocyte against background on single cells" in out
    assert main(["list", "half"]) == 0
    assert "256x256 mosaics" in capsys.readouterr().out


def test_a_config_is_printed_as_it_is(capsys):
    assert main(["list", "cbam_unet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# ")
    assert "method = 'cbam_unet'" in out
    compile(out, "printed", "exec")


def test_an_unknown_name_is_wrong_use(capsys):
    assert main(["list", "UNetHed"]) == 2
    assert "Did you mean UNetHead" in capsys.readouterr().err


def test_libraries_that_do_not_fit_are_named_with_their_cure(capsys, monkeypatch):
    def version(name):
        if name == "onedl-mmcv":
            raise metadata.PackageNotFoundError(name)
        return former(name)

    former = metadata.version
    monkeypatch.setattr(stack.metadata, "version", version)
    assert main(["list"]) == 2
    err = capsys.readouterr().err
    assert "onedl-mmcv is not installed" in err
    assert "python -m pip install" in err
