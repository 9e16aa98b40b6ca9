"""Maps of a frozen encoder are computed once an image, and are those of that image."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_training import EveryIteration, toy_net, toy_runner

from leuko_mm.engine.feature_cache import FeatureCache


class Encoder(nn.Module):
    """Two maps; counts the images that it computes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.computed = 0
        self.eval().requires_grad_(False)

    def forward(self, images):
        self.computed += len(images)
        one = self.first(images)
        return one, self.second(one)


@pytest.fixture
def images():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_third_time_nothing_is_computed(images):
    encoder = Encoder()
    wanted = encoder(images)
    with FeatureCache(encoder, patience=6):
        for _ in range(4):
            found = encoder(images)
    assert encoder.computed == 6 + 2 * 6
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_known_and_new_images_keep_their_places(images):
    encoder = Encoder()
    wanted = encoder(images)
    with FeatureCache(encoder, patience=100) as cache:
        for _ in range(2):
            encoder(images[:3])
        order = [4, 2, 5, 0, 0, 1]
        before = encoder.computed
        found = encoder(images[order])
        assert encoder.computed - before == 2
        assert cache.hits == 4
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs[order])


def test_a_changed_pixel_is_another_image(images):
    encoder = Encoder()
    with FeatureCache(encoder, patience=100):
        for _ in range(3):
            encoder(images)
        changed = images.clone()
        changed[2, 1, 4, 4] += 1e-3
        found = encoder(changed)[0]
    torch.testing.assert_close(found, encoder(changed)[0])


def test_another_precision_has_other_maps(images):
    encoder = Encoder()
    with FeatureCache(encoder, patience=100):
        for _ in range(3):
            encoder(images)
        with torch.autocast("cpu", torch.bfloat16):
            assert encoder(images)[0].dtype == torch.bfloat16
        assert encoder(images)[0].dtype == torch.float32


def test_where_nothing_comes_again_it_stops_asking():
    encoder = Encoder()
    with FeatureCache(encoder, patience=8) as cache:
        for _ in range(6):
            encoder(torch.randn(4, 3, 8, 8))
        assert (cache.seen, cache.hits, cache.left) == (12, 0, 2**30)


def test_maps_beyond_the_limit_are_computed_anew(images):
    encoder = Encoder()
    one = sum(m[:1].numel() * 4 for m in encoder(images)) / 2**20
    with FeatureCache(encoder, patience=6, limit_mib=2.5 * one):
        for _ in range(3):
            encoder(images)
        before = encoder.computed
        encoder(images)
        assert encoder.computed - before == 4


def test_a_caller_who_writes_into_the_maps_harms_nothing(images):
    encoder = Encoder()
    wanted = encoder(images)[0].clone()
    with FeatureCache(encoder, patience=6):
        for _ in range(5):
            found = encoder(images)[0]
            assert torch.equal(found, wanted)
            found.zero_()


def test_a_single_map_stays_one(images):
    encoder = Encoder().first
    with FeatureCache(encoder, patience=6):
        for _ in range(4):
            assert isinstance(encoder(images), torch.Tensor)
    assert "forward" not in vars(encoder)


@pytest.mark.parametrize(("cache_mib", "calls"), [(64, 2), (0, 4)])
def test_a_frozen_stage_uses_it_until_the_thaw(tmp_path, cache_mib, calls):
    """The toy data come in the same order of batches every epoch, unchanged."""
    hook = dict(
        type="leuko_mm.StagedFreezeHook",
        epochs=4,
        cache_mib=cache_mib,
        only_pretrained=False,
    )
    loop = dict(type="EpochBasedTrainLoop", max_epochs=6)
    runner = toy_runner(toy_net(), tmp_path, hooks=[hook], train_cfg=loop)
    counts, computed = [], []
    convolution = runner.model.backbone[0]
    convolution.register_forward_hook(lambda *_: counts.append(1))
    runner.register_hook(EveryIteration(lambda _: computed.append(len(counts))))
    runner.train()
    epoch = len(computed) // 6
    assert computed[4 * epoch - 1] == calls * epoch
    # Thawed, every batch is computed.
    assert computed[-1] - computed[4 * epoch - 1] == 2 * epoch
