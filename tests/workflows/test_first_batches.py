"""The batches that are shown are those that the network gets."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from tiny_run import write_config

from leuko_mm.registry import MODELS
from leuko_mm.workflows.first_batches import displayed, first_batches
from leuko_mm.workflows.train import TrainRequest, build_runner, prepare_config

# As the text of the tiny config states them.
MEAN = np.array([123.675, 116.28, 103.53])[:, None, None]
STD = np.array([58.395, 57.12, 57.375])[:, None, None]
ENHANCE = "dict(type='leuko_mm.AHERetinex')"


class FirstInputs(Hook):
    """Keep what the model's own preprocessor makes of the loop's batches."""

    priority = "VERY_HIGH"

    def __init__(self):
        self.inputs, self.labels = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        data = runner.model.data_preprocessor(copy.deepcopy(data_batch), True)
        self.inputs += list(data["inputs"])
        self.labels += [s.gt_sem_seg.data[0].numpy() for s in data["data_samples"]]


@pytest.fixture(scope="module")
def trained(tiny_home, tmp_path_factory):
    """Run two iterations; return the config and what the loop gave to the model."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        config = prepare_config(
            TrainRequest(
                config=str(write_config(folder, enhance=ENHANCE)),
                seed=3,
                work_dir=str(folder / "run"),
            )
        )
        kept = copy.deepcopy(config)
        runner, seen = build_runner(config), FirstInputs()
        runner.register_hook(seen, priority="VERY_HIGH")
        runner.train()
    return kept, seen


def test_the_first_batches_are_those_of_the_training_loop(trained, tiny_data):
    config, seen = trained
    shown = first_batches(config, "train", 4)
    assert [(s.batch, s.place, s.size) for s in shown] == [
        (0, 0, 2),
        (0, 1, 2),
        (1, 0, 2),
        (1, 1, 2),
    ]
    for image, inputs, labels in zip(shown, seen.inputs, seen.labels, strict=True):
        # By hand: RGB, since the preprocessor turns BGR round.
        values = inputs.numpy().astype(np.float64) * STD + MEAN
        assert np.abs(values - np.rint(values)).max() < 1e-3
        assert (image.image.transpose(2, 0, 1) == np.rint(values)).all()
        assert (image.labels == labels).all()
        assert set(np.unique(labels)) - {0}
    assert any((a.image != b.image).any() for a in shown[:1] for b in shown[1:])


def test_another_seed_gives_other_batches(trained, tiny_data):
    config, _ = trained
    other = copy.deepcopy(config)
    other.randomness.seed = 4
    other.train_dataloader.dataset.seed = 4
    one, two = (first_batches(c, "train", 1)[0].image for c in (config, other))
    assert (one != two).any()


def test_a_batch_comes_whole_and_workers_change_nothing(trained, tiny_data):
    config, _ = trained
    alone = first_batches(config, "train", 3)
    assert len(alone) == 4
    config = copy.deepcopy(config)
    config.train_dataloader.update(num_workers=1, persistent_workers=True)
    for one, two in zip(alone, first_batches(config, "train", 3), strict=True):
        assert (one.image == two.image).all()


def test_the_test_part_ends_with_its_cells(trained, tiny_data):
    config, _ = trained
    assert len(first_batches(config, "test", 10**6)) == 2  # 5 cells, 4 a mosaic


def test_the_default_scope_is_left_alone(trained, tiny_data):
    def scope():
        current = DefaultScope.get_current_instance()
        return current and (current.instance_name, current.scope_name)

    before = scope()
    first_batches(trained[0], "train", 1)
    assert scope() == before


@pytest.mark.parametrize("bgr_to_rgb", [True, False])
@pytest.mark.parametrize("normal", [True, False])
def test_every_preprocessor_is_taken_back(bgr_to_rgb, normal):
    stated = dict(mean=[10.0, 20, 30], std=[2.0, 3, 4]) if normal else {}
    recipe = dict(type="mmseg.SegDataPreProcessor", bgr_to_rgb=bgr_to_rgb, **stated)
    preprocessor = MODELS.build(recipe)
    bgr = torch.arange(2 * 3 * 16).reshape(2, 3, 4, 4).to(torch.uint8)
    got = preprocessor(dict(inputs=list(bgr)), False)["inputs"]
    rgb = bgr.flip(1).permute(0, 2, 3, 1).numpy()
    for image, expected in zip(displayed(got, preprocessor), rgb, strict=True):
        assert (image == expected).all()
