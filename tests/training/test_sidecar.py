"""The file beside a checkpoint: what it is used for, trained on, and started from."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_checkpoint import rewrite, write_tiny
from tiny_run import write_config

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.joined import digest_of_parts
from leuko_mm.datasets.prepared import read_about, read_index, read_split
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.engine.staged_freeze import is_pretrained
from leuko_mm.errors import UsageError
from leuko_mm.models.size import build_bare, named_weights
from leuko_mm.training.building import build_runner
from leuko_mm.training.config import resolve_config
from leuko_mm.training.custom_imports import IMPORTED
from leuko_mm.training.run import TrainRequest, prepare_config, train
from leuko_mm.training.sidecar import (
    START_KEY,
    check_sidecar,
    check_start,
    check_unseen,
    licence_of,
    sidecar_of,
    start_of,
    training_cells,
    training_groups,
)

METAINFO = dict(classes=CLASS_NAMES, palette=[[i, i, i] for i in range(6)])
IMAGENET = dict(type="leuko_mm.EncoderWeights", checkpoint="vgg16")


@pytest.fixture
def trained_on(tiny_data):
    """Return a function that makes the sidecar of a training on one split."""
    sha256 = read_about(tiny_data / "synthetic")["sha256"]
    return lambda split: dict(training=dict(split=split, sha256=sha256))


@pytest.fixture
def of_split(tiny_config):
    """Return a function that resolves the tiny network's config for one split."""
    return lambda split: resolve_config(str(tiny_config), split=split)


def test_the_licence_is_that_of_the_data_and_of_the_start(tiny_data, of_split):
    config = of_split("fold5")
    assert licence_of(config) == "CC0-1.0"
    config[START_KEY] = dict(licence="GPL-3.0")
    assert licence_of(config) == "CC0-1.0 and GPL-3.0"
    config[START_KEY] = dict(licence="CC0-1.0")
    assert licence_of(config) == "CC0-1.0"
    config[START_KEY] = dict(method="of an older version")
    assert licence_of(config) == "CC0-1.0 and not stated"
    config.train_dataloader.dataset.dataset.name = "gone"
    assert licence_of(config) == "not stated"


def test_cells_of_the_training_are_not_tested(trained_on, of_split):
    sidecar = trained_on("fold5")
    check_unseen(of_split("fold5"), sidecar)
    with pytest.raises(UsageError, match=r"5 of the 5 cells.*--split fold5"):
        check_unseen(of_split("fold4"), sidecar)
    with pytest.raises(UsageError, match=r"20 of the 25 cells"):
        check_unseen(of_split("all"), sidecar)
    # They are where they are asked for.
    config = of_split("fold5")
    config.test_dataloader.dataset.dataset.part = "train"
    check_unseen(config, sidecar)


def test_a_split_that_was_dealt_again_tells_nothing(
    tiny_data, trained_on, of_split, caplog
):
    root = tiny_data / "synthetic"
    sidecar = trained_on("fold5")
    sidecar["training"]["split_sha256"] = digest_of_parts(read_split(root, "fold5"))
    check_unseen(of_split("fold5"), sidecar)
    sidecar["training"]["split_sha256"] = digest_of_parts(read_split(root, "fold4"))
    with pytest.raises(UsageError, match=r"'fold5' of .* was dealt again since then"):
        check_unseen(of_split("fold5"), sidecar)
    sidecar["training"]["split"] = "gone"
    with pytest.raises(UsageError, match=r"trained on the split 'gone' of .*restore"):
        check_unseen(of_split("fold5"), sidecar)
    # Another version of the data, by its name: nobody knows.
    again = dict(training=dict(dataset="synthetic", split="fold5", sha256="0" * 64))
    check_unseen(of_split("fold5"), again)
    assert "trained on another version of synthetic" in caplog.text


@pytest.mark.parametrize(
    "sidecar", [{}, dict(training=dict(split="fold5", sha256="0" * 64))]
)
def test_of_other_data_or_without_a_sidecar_nothing_is_known(
    sidecar, tiny_data, of_split
):
    check_unseen(of_split("all"), sidecar)
    assert training_groups(tiny_data / "synthetic", sidecar) is None


def test_the_groups_of_a_training_are_those_of_its_sidecar(tiny_data, trained_on):
    root = tiny_data / "synthetic"
    parts = read_split(root, "fold5")
    groups = {row.stem: row.group for row in read_index(root)}
    expected = {groups[stem] for stem, part in parts.items() if part == "train"}
    assert training_groups(root, trained_on("fold5")) == sorted(expected)


def test_the_training_of_its_start_counts_too(tiny_data, trained_on, of_split):
    start = trained_on("fold1")
    tuned = dict(training=dict(split="fold5", sha256="0" * 64, start=start))
    root = tiny_data / "synthetic"
    assert training_cells(root, tuned) == training_cells(root, start) != set()
    check_unseen(of_split("fold1"), tuned)
    with pytest.raises(UsageError, match=r"5 of the 5 cells.*--split fold1"):
        check_unseen(of_split("fold2"), tuned)
    # Trained on both parts of a division: no cell of it is new.
    twice = trained_on("fold2")
    twice["training"]["start"] = start
    with pytest.raises(UsageError, match="5 of the 5"):
        check_unseen(of_split("fold2"), twice)


@pytest.fixture
def config(tiny_config):
    return resolve_config(str(tiny_config))


def written(config, enhance=None, metainfo=METAINFO) -> dict:
    """Return the sidecar that a run of the config leaves, as it is read again."""
    results = dict(
        data=dict(
            dataset="synthetic",
            sha256="0" * 64,
            size=64,
            mosaic=dict(n=2, mode="resample"),
            enhance=enhance,
        ),
        run=dict(split="fold5", seed=3, iterations=2, git=None),
        metrics=dict(mIoU=50.0),
    )
    return json.loads(json.dumps(sidecar_of(config, results, metainfo)))


def test_what_is_written_fits_what_it_was_written_for(config):
    enhance = dict(type="X", windows=(4, 4))
    config.train_dataloader.dataset.enhance = enhance
    sidecar = written(config, enhance)
    check_sidecar("a.pth", sidecar, config, METAINFO)
    assert sidecar["scale"]["cell_px"] == 32  # the side of a tile
    check_sidecar("a.pth", {}, config, METAINFO)


def test_code_that_has_changed_since_the_training_is_warned_of(config, caplog):
    config[IMPORTED] = {"my_head.py": "a", "my_loss.py": "b"}
    sidecar = written(config)
    check_sidecar("a.pth", sidecar, config, METAINFO)
    assert not caplog.text
    config[IMPORTED] = {"my_head.py": "c", "my_loss.py": "b"}
    check_sidecar("a.pth", sidecar, config, METAINFO)
    assert "another version of my_head.py than" in caplog.text


def test_another_enhancement_or_normalisation_is_refused(config):
    sidecar = written(config)
    config.train_dataloader.dataset.enhance = dict(type="leuko_mm.AHERetinex")
    with pytest.raises(UsageError, match=r"enhance None.*config it was trained with"):
        check_sidecar("a.pth", sidecar, config, METAINFO)
    config.train_dataloader.dataset.enhance = None
    config.model.data_preprocessor.mean = [0, 0, 0]
    with pytest.raises(UsageError, match="trained with normalisation"):
        check_sidecar("a.pth", sidecar, config, METAINFO)


@pytest.fixture
def start(tmp_path, tiny_config):
    """Return a checkpoint of the tiny network, of other data than the run's."""
    path = tmp_path / "start.pth"
    write_tiny(path, tiny_config)
    return path


def prepared_from(start, config, **wishes):
    return prepare_config(TrainRequest(str(config), load_from=str(start), **wishes))


def test_every_weight_is_that_of_the_start(tmp_path, tiny_data, tiny_config, start):
    def initial(config):
        runner = build_runner(config)
        runner._init_model_weights()
        return runner.model.state_dict()

    work_dir = str(tmp_path / "run")
    there = load_tensors(start)
    here = initial(prepared_from(start, tiny_config, work_dir=work_dir))
    assert there.keys() == here.keys()
    assert all(torch.equal(here[key], there[key]) for key in there)
    plain = initial(prepare_config(TrainRequest(str(tiny_config), work_dir=work_dir)))
    key = "decode_head.conv_seg.weight"
    assert not torch.equal(plain[key], there[key])


def test_imagenets_weights_are_neither_needed_nor_loaded(tiny_data, tiny_config, start):
    text = tiny_config.read_text().replace("init_cfg=None", f"init_cfg={IMAGENET!r}")
    tiny_config.write_text(text)
    config = prepared_from(start, tiny_config)
    assert "init_cfg" not in config.model.backbone
    # The encoder counts as pretrained all the same.
    assert is_pretrained(build_bare(config), "backbone")
    assert named_weights(config) == "start.pth"


def test_a_finished_run_tells_what_it_started_from(
    tmp_path, tiny_data, tiny_config, start
):
    given = json.loads(start.with_suffix(".json").read_text())
    work_dir = tmp_path / "tuned"
    train(TrainRequest(str(tiny_config), load_from=str(start), work_dir=str(work_dir)))
    results = json.loads((work_dir / "results.json").read_text())
    assert results["model"]["pretrained"] == "start.pth"
    sidecar = json.loads((work_dir / "tuned.json").read_text())
    kept = {key: given[key] for key in ("method", "sha256", "training", "licence")}
    assert sidecar["training"]["start"] == kept
    # A start is no state to go on from: the iterations are counted from 0.
    assert results["run"]["iterations"] == 2


def test_a_start_that_was_trained_on_tested_cells_is_refused(
    tmp_path, tiny_data, tiny_config, start
):
    digest = read_about(tiny_data / "synthetic")["sha256"]
    rewrite(start, training=dict(dataset="synthetic", sha256=digest, split="fold1"))
    check_start(prepared_from(start, tiny_config, split="fold1"))
    with pytest.raises(UsageError, match=r"--load-from: .*start\.pth: 5 of the 5"):
        check_start(prepared_from(start, tiny_config))
    wish = dict(load_from=str(start), work_dir=str(tmp_path / "run"))
    with pytest.raises(UsageError, match="--split fold1"):
        train(TrainRequest(str(tiny_config), **wish))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "said"), [("load_from", "load_from"), ("model.init_cfg", "init_cfg")]
)
def test_a_start_that_the_config_names_takes_the_same_check(
    tiny_data, tiny_config, start, caplog, key, said
):
    digest = read_about(tiny_data / "synthetic")["sha256"]
    rewrite(start, training=dict(dataset="synthetic", sha256=digest, split="fold1"))
    given = dict(type="Pretrained", checkpoint=str(start))
    options = {key: str(start) if key == "load_from" else given}

    def named(split):
        return prepare_config(
            TrainRequest(str(tiny_config), split=split, options=options)
        )

    fits = named("fold1")
    check_start(fits)
    assert fits[START_KEY]["training"]["split"] == "fold1"
    with pytest.raises(UsageError, match=rf"{said}: .*start\.pth: 5 of the 5"):
        check_start(named("fold5"))
    start.with_suffix(".json").unlink()
    check_start(named("fold5"))
    assert "start.json): nothing tells which cells" in caplog.text


def test_the_start_of_the_command_replaces_that_of_the_config(
    tiny_data, tiny_config, start
):
    options = dict(load_from="absent.pth")
    config = prepared_from(start, tiny_config, options=options)
    assert (config.get("load_from"), start_of(config)) == (None, start)


def test_another_network_or_other_classes_are_refused(
    tmp_path, tiny_data, tiny_config, start
):
    wider = write_config(tmp_path, name="wider")
    wider.write_text(wider.read_text().replace("[32, 16, 16, 8]", "[32, 16, 16, 12]"))
    shapes = r"decode_head\.\S+:.*\[8.*current model is .*\[12"
    with pytest.raises(UsageError, match=f"another network than tiny.*{shapes}"):
        prepared_from(start, wider)
    two = {"model.decode_head.num_classes": 2}
    with pytest.raises(UsageError, match="or of other classes"):
        prepared_from(start, tiny_config, options=two)
