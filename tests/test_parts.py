"""The list of parts: complete, sorted into kinds, each with its words."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
from torch import nn

from leuko_mm.errors import UsageError
from leuko_mm.parts import (
    KINDS,
    REGISTRIES,
    config_summary,
    find_parts,
    first_sentence,
    list_parts,
    model_kind,
    signatures,
    summary_of,
)
from leuko_mm.plugins import Plugin
from leuko_mm.registry import PLUGINS
from leuko_mm.training.config import config_names


def names(kind=None, **options):
    return [part.name for part in list_parts(kind, **options)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("datasets", "MosaicDataset"),
        ("samplers", "GlobalIndexSampler"),
        ("transforms", "AHERetinex"),
        ("backbones", "VGG"),
        ("necks", "CBAMSkipNeck"),
        ("heads", "UNetHead"),
        ("losses", "FocalDiceLoss"),
        ("hooks", "StagedFreezeHook"),
        ("optim_wrappers", "AutocastOptimWrapper"),
        ("metrics", "LeukocyteMetric"),
        ("weight_initialisers", "EncoderWeights"),
    ],
)
def test_every_kind_holds_its_part(kind, name):
    assert f"leuko_mm.{name}" in names(kind)


def test_every_registry_that_plugins_fill_is_listed():
    assert set(map(id, REGISTRIES.values())) == set(map(id, PLUGINS.nodes))


@pytest.mark.parametrize(
    ("kind", "name", "package"),
    [
        ("segmentors", "EncoderDecoder", "mmseg"),
        ("necks", "FPN", "mmseg"),
        ("heads", "PSPHead", "mmseg"),
        ("losses", "LovaszLoss", "mmseg"),
        ("transforms", "LoadImageFromFile", "mmcv"),
        ("hooks", "CheckpointHook", "mmengine"),
    ],
)
def test_all_adds_what_lies_below(kind, name, package):
    found = [p for p in list_parts(kind, everything=True) if p.name == name]
    assert [p.package for p in found] == [package]


def test_ours_come_before_the_others_of_a_kind():
    assert all(name.startswith("leuko_mm.") for name in names())
    losses = names("losses", everything=True)
    first_foreign = min(i for i, n in enumerate(losses) if "." not in n)
    assert all("." not in n for n in losses[first_foreign:])


def test_a_plugins_part_carries_its_package(monkeypatch):
    plugin = Plugin("x", "x", "leuko-x", parts=[("model", "VGG")])
    monkeypatch.setattr(PLUGINS, "plugins", [plugin])
    packages = {p.name: p.package for p in list_parts("backbones")}
    assert packages["leuko_mm.VGG"] == "leuko-x"


def test_a_loss_is_known_by_its_name_in_the_log():
    class Forgiving(nn.Module):
        loss_name = "loss_forgiving"

    assert model_kind(Forgiving) == "losses"
    assert model_kind(nn.Conv2d) == "other_models"


def test_no_words_are_borrowed_from_a_base():
    class Silent(nn.Module):
        pass

    assert summary_of(Silent) == ""
    assert first_sentence("By 0.5 at\nmost. Then more.") == "By 0.5 at most."
    assert summary_of(SimpleNamespace()) == inspect.cleandoc(
        SimpleNamespace.__doc__
    ).partition("\n\n")[0].replace("\n", " ")


class Base:
    def __init__(self, channels, depth=3, **kwargs):
        pass


class Silent(Base):
    pass


class Child(Silent):
    def __init__(self, width=1.0, *, channels=8, **kwargs):
        super().__init__(channels, **kwargs)


class Closed(Base):
    def __init__(self, width):
        super().__init__(4)


def step(image, *, strength=0.5):
    pass


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (
            Child,
            {
                "Child": "(width=1.0, *, channels=8, **kwargs)",
                "Base": "(channels, depth=3, **kwargs)",
            },
        ),
        (Closed, {"Closed": "(width)"}),
        (type("Plain", (), {}), {}),
        (step, {"step": "(image, *, strength=0.5)"}),
    ],
)
def test_bases_are_shown_as_long_as_arguments_reach_them(target, shown):
    assert {name: str(takes) for name, takes in signatures(target)} == shown


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("FocalDiceLoss", "leuko_mm.FocalDiceLoss"),
        ("leuko_mm.FocalDiceLoss", "leuko_mm.FocalDiceLoss"),
        ("PSPHead", "PSPHead"),
        ("mmseg.PSPHead", "PSPHead"),
    ],
)
def test_a_part_is_found_with_and_without_scope(name, full):
    assert [p.name for p in find_parts(name)] == [full]


def test_an_unknown_name_is_met_with_the_nearest_and_the_kinds():
    with pytest.raises(UsageError) as caught:
        find_parts("FocalDiceLos")
    text = str(caught.value)
    assert "Did you mean FocalDiceLoss" in text
    assert all(kind in text for kind in (*KINDS, "configs", "protocols"))


def test_a_broken_plugin_is_named_where_a_part_is_missing(monkeypatch):
    broken = Plugin("x", "x", "leuko-x", "0.1", error="ImportError: y")
    monkeypatch.setattr(PLUGINS, "plugins", [broken])
    with pytest.raises(UsageError, match=r"leuko-x 0\.1 was left out: ImportError: y"):
        find_parts("LostLoss")


def test_configs_are_named_without_bases_and_say_what_they_are():
    found = config_names()
    assert "cbam_unet" in found
    assert not any("_base_" in name for name in found)
    for path in found.values():
        assert len(config_summary(path)) > 20, path
