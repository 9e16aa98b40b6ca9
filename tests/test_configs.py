"""Every config that is shipped: it loads, it builds, and the protocol is shared."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from shipped_configs import (
    BASES,
    CONFIGS,
    LEAVES,
    METHODS,
    NAMES,
    PROTOCOLS,
    SHIPPED_ABLATIONS,
    differences,
    resolved,
    without_method,
    without_weights,
)
from tiny_run import make_data, process_environment

from leuko_mm.files import config_home
from leuko_mm.training.config import KNOWN_KEYS, METHOD_KEYS, check_keys

# Leaves that declare a data set and a schedule of their own: exactly these keys.
OWN_KEYS = {
    "quickstart": {
        "train_cfg.max_iters",
        "optim_wrapper.optimizer.lr",
        "param_scheduler",
        "custom_hooks",
        "train_dataloader.dataset.size",
        "test_dataloader.dataset.size",
        "train_dataloader.dataset.dataset.name",
        "train_dataloader.dataset.dataset.split",
        "test_dataloader.dataset.dataset.name",
        "test_dataloader.dataset.dataset.split",
    },
    # Its file is the recipe of the model that the package carries.
    "cbam_unet_compact": {
        "protocol",
        "train_cfg.max_iters",
        "param_scheduler",
        "custom_hooks",
        "train_dataloader.dataset.size",
        "test_dataloader.dataset.size",
        "train_dataloader.dataset.layout",
        "train_dataloader.dataset.fields",
        "train_dataloader.dataset.class_balanced",
        "train_dataloader.dataset.tile_augmentation",
        "train_dataloader.dataset.pipeline",
    },
}
# The protocol that an exception starts from, where it does not keep its name.
STARTS_FROM = {"cbam_unet_compact": "half"}


def assignments(path: Path) -> dict[str, list[ast.expr]]:
    """Return what a config assigns to which name, in order."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.Assign), f"{path}: line {node.lineno}"
        for target in node.targets:
            assert isinstance(target, ast.Name), f"{path}: line {node.lineno}"
            found.setdefault(target.id, []).append(node.value)
    return found


def bases_of(path: Path) -> list[Path]:
    """Return the ``_base_`` files of a config; they must be plain text."""
    named = assignments(path).get("_base_", [])
    if not named:
        return []
    given = ast.literal_eval(named[-1])
    given = [given] if isinstance(given, str) else given
    assert all(isinstance(base, str) for base in given)
    return [(path.parent / base).resolve() for base in given]


def depth(path: Path) -> int:
    return 1 + max(map(depth, bases_of(path))) if bases_of(path) else 0


def test_the_list_of_configs_is_complete():
    assert {name for name in NAMES if "/" not in name} == set(METHODS)
    assert set(PROTOCOLS) == {"grouped", "half", "labs", "paper", "robust", "smoke"}
    assert set(OWN_KEYS) <= set(NAMES)
    assert config_home() == CONFIGS


@pytest.mark.parametrize("name", NAMES)
def test_a_leaf_stands_on_bases_of_text(name):
    path = CONFIGS / f"{name}.py"
    assert depth(path) == (3 if name.startswith("ablation/") else 2)
    for base in bases_of(path):
        assert base.is_file()
        assert CONFIGS in base.parents


def test_protocols_of_mosaics_stand_on_one_base():
    depths = {path.stem: depth(path) for path in BASES}
    own = {"runtime": 0, "mosaics": 0, "robust": 0, "labs": 2}
    assert depths == {**dict.fromkeys(PROTOCOLS, 1), **own}


@pytest.mark.parametrize("path", BASES + LEAVES, ids=lambda p: p.stem)
def test_nothing_is_deleted_and_nothing_is_substituted(path):
    text = path.read_text(encoding="utf-8")
    assert "_delete_" not in text
    assert "{{" not in text
    assert "custom_imports" not in text


@pytest.mark.parametrize("path", BASES + LEAVES, ids=lambda p: p.stem)
def test_every_top_level_key_is_known_and_given_once(path):
    found = assignments(path)
    names = {n for n in found if n != "_base_" and not n.startswith("_")}
    assert names <= KNOWN_KEYS
    assert {n for n, values in found.items() if len(values) > 1} == set()


@pytest.mark.parametrize("path", LEAVES, ids=lambda p: p.stem)
def test_a_leaf_opens_with_what_people_change(path):
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("ablation/")])
def test_a_leaf_holds_one_complete_model(name):
    (model,) = assignments(CONFIGS / f"{name}.py")["model"]
    assert isinstance(model, ast.Call)
    assert not any(keyword.arg is None for keyword in model.keywords), "no **"
    keys = {keyword.arg for keyword in model.keywords}
    assert {"type", "data_preprocessor", "backbone", "decode_head"} <= keys


@pytest.mark.parametrize("path", BASES, ids=lambda p: p.stem)
def test_a_base_holds_no_method(path):
    assert not set(METHOD_KEYS) & set(assignments(path))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in OWN_KEYS])
def test_a_leaf_defines_the_method_and_nothing_else(name):
    found = assignments(CONFIGS / f"{name}.py")
    public = {n for n in found if not n.startswith("_")}
    assert public <= {*METHOD_KEYS, "train_dataloader", "test_dataloader"}
    own = resolved(name)
    shared = resolved(name, own.protocol)
    assert differences(without_method(own), without_method(shared)) == set()
    # As written, methods differ in the model alone: one loss, one image.
    if "/" not in name:
        parent = resolved("cbam_unet")
        assert own.model.decode_head.loss_decode == parent.model.decode_head.loss_decode
        assert own.train_dataloader.dataset.get("enhance") is None


@pytest.mark.parametrize("name", OWN_KEYS)
def test_an_exception_differs_where_it_declares(name):
    own = resolved(name)
    shared = resolved(name, STARTS_FROM.get(name, own.protocol))
    found = differences(without_method(own), without_method(shared))
    assert found <= OWN_KEYS[name]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocol_is_the_same_for_every_method(protocol):
    parent = without_method(resolved("cbam_unet", protocol))
    assert parent["protocol"] == protocol
    for name in NAMES:
        config = resolved(name, protocol)
        check_keys(config)
        found = differences(without_method(config), parent)
        # A method may decline the wait of a pretrained encoder, and nothing else.
        declared = set() if config.get("frozen_first", True) else {"custom_hooks"}
        assert found == declared, name


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", NAMES)
def test_training_and_test_images_are_enhanced_alike(name, protocol):
    config = resolved(name, protocol)
    train, test = (config[f"{part}_dataloader"].dataset for part in ("train", "test"))
    assert train.enhance == test.enhance
    assert train.get("size") == test.get("size")
    assert train.get("n") == test.get("n")


def test_every_leaf_is_a_method_of_its_own():
    methods = [
        (config.method, config.get("variant")) for config in map(resolved, NAMES)
    ]
    assert len(set(methods)) == len(NAMES)
    for name, (method, _) in zip(NAMES, methods, strict=True):
        if "/" not in name:
            assert method == name


# Runs without a line of ours: mmengine finds every part by the name in the config.
BUILD = """
import gc, json, sys, tempfile
from mmengine.config import Config
from mmengine.runner import Runner
already = [m for m in sys.modules if m.startswith("leuko_mm")]
told = {}
for path in sys.argv[1:]:
    config = Config.fromfile(path)
    assert config.default_scope == "mmseg" and "custom_imports" not in config
    config.work_dir = tempfile.mkdtemp(dir=".")
    config.experiment_name = path
    runner = Runner.from_cfg(config)
    runner.optim_wrapper = runner.build_optim_wrapper(config.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(config.param_scheduler)
    sample = runner.train_loop.dataloader.dataset[0]
    assert sample["inputs"].shape[0] == 3
    told[path] = len(runner.test_loop.dataloader.dataset)
    del runner
    gc.collect()
print(json.dumps({"already": already, "told": told}))
"""


def run_all(tmp_path, wanted: list[tuple[str, str]]) -> None:
    """Build each (name, protocol) in one clean process."""
    home = tmp_path / "data"
    root = make_data(home)
    folds = (root / "splits" / "fold5.csv").read_text()
    (root / "splits" / "paper.csv").write_text(folds)
    (home / "bcisc").symlink_to(root)
    paths = []
    for number, (name, protocol) in enumerate(wanted):
        config = resolved(name, protocol).copy()
        config.model = without_weights(config.model.to_dict())
        paths.append(tmp_path / f"c{number}.py")
        config.dump(str(paths[-1]))
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *map(str, paths)],
        cwd=tmp_path,
        env=process_environment(LEUKO_MM_DATA=home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["already"] == []
    assert set(report["told"]) == set(map(str, paths))


def test_every_method_and_protocol_builds_in_a_clean_process(tmp_path):
    # labs needs five laboratories: tests/test_joined_training.py runs it on two.
    others = [p for p in PROTOCOLS if p not in ("smoke", "labs")]
    run_all(
        tmp_path,
        [(name, "smoke") for name in METHODS] + [("quickstart", p) for p in others],
    )


@pytest.mark.slow
def test_every_ablation_builds_in_a_clean_process(tmp_path):
    run_all(tmp_path, [(name, "smoke") for name in SHIPPED_ABLATIONS])
