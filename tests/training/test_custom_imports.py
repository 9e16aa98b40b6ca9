"""What ``custom_imports`` brings: found, part of the hash, and named by its prefix."""

from __future__ import annotations

import importlib
import statistics
import sys

import pytest
from tiny_run import write_config

from leuko_mm.errors import UsageError
from leuko_mm.registry import MODELS
from leuko_mm.training.config import config_hash, resolve_config
from leuko_mm.training.custom_imports import IMPORTED, check_imported

LOSS = """
from torch import nn
from leuko_mm.registry import MODELS

@MODELS.register_module()
class {name}(nn.Module):
    pass
"""
USED = """
custom_imports = dict(imports={imports})
model['decode_head']['loss_decode'] = [dict(type='{type}')]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a folder of the user's, from which nothing stays imported."""
    MODELS.import_from_location()
    modules, parts = set(sys.modules), set(MODELS.module_dict)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    for name in set(MODELS.module_dict) - parts:
        del MODELS.module_dict[name]


def resolved(place, imports, type_="leuko_mm.FocalDiceLoss", **choices):
    importlib.invalidate_caches()
    more = USED.format(imports=imports, type=type_)
    return resolve_config(str(write_config(place, more=more)), **choices)


def test_a_file_beside_the_config_is_imported(place):
    with pytest.raises(UsageError) as caught:
        resolved(place, ["beside_it"])
    for words in ("No module named 'beside_it'", f"looked in {place}", "installed"):
        assert words in str(caught.value)
    (place / "beside_it.py").write_text("")
    config = resolved(place, ["beside_it"], protocol="half")
    assert "beside_it" in sys.modules
    assert config.custom_imports == dict(imports=["beside_it"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import of_no_package", "No module named 'of_no_package' (FILE, line 1)"),
        ("x = 1\ny = x / 0", "ZeroDivisionError: division by zero (FILE, line 2)"),
        ("x = 1\nx =", "SyntaxError: invalid syntax (FILE, line 2)"),
    ],
)
def test_why_a_file_cannot_be_imported_is_said(place, text, said):
    file = place / "half_a_file.py"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        resolved(place, ["half_a_file"])
    assert said.replace("FILE", str(file)) in str(caught.value)


def test_how_to_name_a_file_is_said(place):
    for name, meant in (
        ("my_loss.py", "my_loss"),
        ("parts/my_loss.py", "parts.my_loss"),
        ("./my_loss.py", "my_loss"),
        ("..my_loss", "my_loss"),
        ("../my_loss.py", "my_loss"),
        ("/home/me/my_loss.py", "my_loss"),
    ):
        with pytest.raises(UsageError, match=f": '{meant}'$"):
            resolved(place, [name])
    for given in (["my_loss"], "my_loss", dict(import_=["my_loss"])):
        config = write_config(place, more=f"custom_imports = {given!r}")
        with pytest.raises(UsageError, match=r"expected dict\(imports=\['my_loss'\]\)"):
            resolve_config(str(config))


def test_a_file_whose_name_another_module_has_is_refused(place, monkeypatch):
    other = place / "packages"
    other.mkdir()
    for folder in (place, other):
        (folder / "of_two_places.py").write_text("")
    monkeypatch.syspath_prepend(str(other))
    for name, used in (
        ("of_two_places", other / "of_two_places.py"),
        ("statistics", statistics.__file__),
        ("sys", "a module of Python itself"),
    ):
        own = place / f"{name}.py"
        own.write_text("")
        with pytest.raises(UsageError) as caught:
            resolved(place, [name])
        assert f"is {used}, and not {own}: rename your file" in str(caught.value)


def test_two_configs_with_files_of_one_name_are_read_but_not_run(place):
    for folder in ("a", "b"):
        (place / folder).mkdir()
        (place / folder / "of_two_configs.py").write_text(f"# {folder}")
    first, second = (resolved(place / f, ["of_two_configs"]) for f in ("a", "b"))
    assert first[IMPORTED] != second[IMPORTED]
    check_imported(first)
    with pytest.raises(UsageError, match="rename your file"):
        check_imported(second)
    assert config_hash(resolved(place / "b", ["of_two_configs"])) == config_hash(second)


FILES = {
    "own_loss.py": "from own_ops import f\nfrom own_parts.deep import g\n",
    "own_ops.py": "import json, torch, leuko_mm.classes\nf = 1\n",
    "own_parts/__init__.py": "",
    "own_parts/deep.py": "from . import deeper\nfrom .deeper import h as g\n",
    "own_parts/deeper.py": "h = 1\n",
    "not_used.py": "",
}


@pytest.mark.parametrize("protocol", [None, "half"])
def test_the_code_that_is_imported_is_part_of_the_hash(place, protocol):
    (place / "own_parts").mkdir()
    for name, text in FILES.items():
        (place / name).write_text(text)
    config = resolved(place, ["own_loss"], protocol=protocol)
    assert set(config[IMPORTED]) == set(FILES) - {"not_used.py"}

    def hashed():
        return config_hash(resolved(place, ["own_loss"], protocol=protocol))

    before = config_hash(config)
    assert hashed() == before
    for name, text in FILES.items():
        (place / name).write_text(f"{text}# changed\n")
        assert (hashed() == before) == (name == "not_used.py"), name
        (place / name).write_text(text)
    assert hashed() == before


def test_of_an_installed_package_the_named_file_counts(place):
    config = resolved(place, ["mmseg.models.losses"])
    assert set(config[IMPORTED]) == {"mmseg/models/losses/__init__.py"}


def test_without_custom_imports_nothing_is_added(tiny_config):
    assert IMPORTED not in resolve_config(str(tiny_config))


@pytest.mark.parametrize("prefix", ["leuko_mm.", "mmseg."])
def test_a_name_of_two_parts_needs_its_prefix(place, prefix):
    (place / "two_of_them.py").write_text(LOSS.format(name="TverskyLoss"))
    said = "'leuko_mm.TverskyLoss' for that, or type='mmseg.TverskyLoss'"
    with pytest.raises(UsageError, match=said):
        resolved(place, ["two_of_them"], "TverskyLoss")
    resolved(place, ["two_of_them"], f"{prefix}TverskyLoss")
    # Another config of the same process does not know of it.
    more = "model['decode_head']['loss_decode'] = [dict(type='TverskyLoss')]\n"
    resolve_config(str(write_config(place, name="other", more=more)))


def test_a_setting_names_the_loss_of_mmseg_beside_one_of_the_same_name(place):
    (place / "same_name.py").write_text(LOSS.format(name="CrossEntropyLoss"))
    own = ["same_name"], "leuko_mm.CrossEntropyLoss"
    config = resolved(place, *own, setting="A")
    assert config.model.decode_head.loss_decode[0].type == "CrossEntropyLoss"
    config.dump(str(place / "copy.py"))
    assert resolve_config(str(place / "copy.py")).variant == "A"
    with pytest.raises(UsageError, match=r"'leuko_mm\.CrossEntropyLoss' for that"):
        resolved(place, ["same_name"], "CrossEntropyLoss", setting="A")


@pytest.mark.parametrize("name", ["LossOfMine", "FocalDiceLoss"])
def test_a_part_without_its_prefix_is_refused_with_the_name_to_write(place, name):
    (place / "one_loss.py").write_text(LOSS.format(name="LossOfMine"))
    with pytest.raises(UsageError, match=f"type='leuko_mm.{name}'"):
        resolved(place, ["one_loss"], name)
    option = {"model.decode_head.loss_decode.0.type": name}
    with pytest.raises(UsageError, match=f"type='leuko_mm.{name}'"):
        resolved(place, ["one_loss"], options=option)
    resolved(place, ["one_loss"], f"leuko_mm.{name}")


def test_a_loader_names_its_dataset_with_the_prefix_and_the_steps_inside_as_it_likes(
    place,
):
    inner = {"train_dataloader.dataset.tile_augmentation": [dict(type="StainJitter")]}
    assert resolve_config(str(write_config(place)), options=inner)
    outer = {"train_dataloader.dataset.type": "MosaicDataset"}
    with pytest.raises(UsageError, match=r"type='leuko_mm\.MosaicDataset'"):
        resolve_config(str(write_config(place)), options=outer)


def test_a_name_of_ours_is_not_taken(place):
    (place / "takes_one.py").write_text(LOSS.format(name="FocalDiceLoss"))
    said = r"takes_one.*FocalDiceLoss is already registered.*takes_one.py, line 5\);"
    with pytest.raises(UsageError, match=f"{said} give your class another name"):
        resolved(place, ["takes_one"])
