"""Errors of a user, their exit codes, and what a misspelt name was meant to be."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import leuko_mm
from leuko_mm.errors import LeukoError, UsageError, did_you_mean, nearest

NOT_AVAILABLE = {"FetchError", "NotPublishedError"}
SOME_FAILED = {"NotFiniteError", "TrainingFaultError"}
SPLITS = ["fold1", "fold2", "paper", "paper_mosaics", "development"]


def all_subclasses(kind):
    for inner in kind.__subclasses__():
        yield inner
        yield from all_subclasses(inner)


def test_exit_codes_by_class():
    for module in pkgutil.walk_packages(leuko_mm.__path__, "leuko_mm."):
        importlib.import_module(module.name)
    found = {
        kind.__name__: kind.exit_code
        for kind in all_subclasses(LeukoError)
        if kind.__module__.startswith("leuko_mm.")
    }
    assert {name for name, code in found.items() if code == 3} == NOT_AVAILABLE
    assert {name for name, code in found.items() if code == 1} <= SOME_FAILED
    assert set(found.values()) == {1, 2, 3}


@pytest.mark.parametrize(
    ("module", "name", "base"),
    [
        ("leuko_mm.datasets.prepared", "DatasetError", ValueError),
        ("leuko_mm.engine.encoder_weights", "WeightsError", FileNotFoundError),
        ("leuko_mm.engine.checkpoints", "UnsafeCheckpointError", ValueError),
        ("leuko_mm.inference.model", "CheckpointError", ValueError),
        ("leuko_mm.registry", "UnknownPartError", KeyError),
        ("leuko_mm.stack", "StackError", ImportError),
        ("leuko_mm.errors", "UsageError", ValueError),
    ],
)
def test_an_error_is_caught_as_before(module, name, base):
    kind = getattr(importlib.import_module(module), name)
    with pytest.raises(base) as caught:
        raise kind("say 'this'")
    assert isinstance(caught.value, LeukoError)
    assert str(caught.value) == "say 'this'"


def test_a_foreign_exit_code_is_no_error_of_the_user():
    from leuko_mm.cli.main import exit_code_of

    class ForeignError(Exception):
        exit_code = 5

    assert exit_code_of(ForeignError("x")) is None
    assert exit_code_of(UsageError("x")) == 2


@pytest.mark.parametrize("module", ["errors", "files"])
def test_the_ground_loads_without_the_libraries(module):
    code = (
        f"import sys, leuko_mm.{module}; "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('torch', 'mmengine', 'mmcv', 'mmseg', 'numpy', 'cv2', 'PIL')])"
    )
    root = Path(leuko_mm.__file__).parents[1]
    said = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert said.strip() == "[]"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("papr", "paper"),
        ("developement", "development"),
        ("PAPER", "paper"),
        ("paper-mosaic", "paper_mosaics"),
    ],
)
def test_the_nearest_name_is_found(word, meant):
    assert nearest(word, SPLITS) == [meant]
    assert did_you_mean(word, SPLITS) == f" (did you mean '{meant}'?)"


def test_several_may_be_asked_for():
    assert set(nearest("fold", SPLITS, count=2)) == {"fold1", "fold2"}


def test_where_nothing_is_near_nothing_is_said():
    assert nearest("zzz", SPLITS) == []
    assert did_you_mean("zzz", SPLITS) == ""
    assert did_you_mean("fold1", []) == ""


def test_another_number_is_no_slip():
    assert nearest("fold9", SPLITS) == []
    assert nearest("unet2", ["unet"]) == ["unet"]
