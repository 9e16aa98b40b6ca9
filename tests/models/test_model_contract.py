"""What every method's model must do; the list is read off configs/."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from leuko_mm.models.size import build_bare, model_size
from leuko_mm.training.config import resolve_config

ROOT = Path(__file__).resolve().parents[2]
LEAVES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
SIZES = json.loads((ROOT / "docs" / "model_table.json").read_text())
CLASSES = 6
ODD = (33, 49)
# Batch norms on maps of one pixel, after a pooling of everything or, of these small
# images, after the last of many halvings: with one image they have one value a channel,
# and torch refuses to take statistics from it.
NEEDS_TWO_IMAGES = {"cbam_unet_compact", "deeplabv3plus_r50", "pspnet_r50"}


def batch(number: int, size: tuple[int, int]) -> dict:
    """Return images with a cell each, and a border of ignored pixels, unprepared."""
    numbers = np.random.default_rng(0)
    images, samples = [], []
    for index in range(number):
        pixels = numbers.integers(0, 256, (3, *size), dtype=np.uint8)
        label = torch.zeros(1, *size, dtype=torch.long)
        label[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1 + index
        label[:, :2] = 255
        meta = {"img_shape": size, "ori_shape": size}
        sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label))
        images.append(torch.from_numpy(pixels))
        samples.append(sample)
    return {"inputs": images, "data_samples": samples}


def predict(model, size=ODD, number=1) -> list[SegDataSample]:
    torch.manual_seed(0)  # SegNeXt's head draws numbers in tests too
    with torch.no_grad():
        return model.eval().test_step(batch(number, size))


def train_loss(model, number: int) -> torch.Tensor:
    model.train()
    for part in model.modules():
        # What dropout removes has no gradient.
        if "Drop" in type(part).__name__:
            part.eval()
    data = model.data_preprocessor(batch(number, (64, 64)), training=True)
    losses = model(**data, mode="loss")
    return model.parse_losses(losses)[0]


# Built once a method: a model of VGG's size takes longer to build than to run.
@pytest.fixture(scope="module", params=LEAVES)
def built(request):
    torch.manual_seed(0)
    config = resolve_config(request.param)
    return request.param, config, build_bare(config)


def without_gradient(model, number: int) -> set[str]:
    """Return the parameters that one step of training would leave as they are."""
    loss = train_loss(model, number)
    assert torch.isfinite(loss)
    loss.backward()
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    assert len(trained) > 10
    assert [k for k, p in trained.items() if p.grad is None] == []
    dead = {k for k, p in trained.items() if not p.grad.abs().sum() > 0}
    model.zero_grad()
    return dead


def test_one_image_trains_every_parameter(built):
    name, config, model = built
    number = 2 if name in NEEDS_TWO_IMAGES else 1
    dead = without_gradient(model, number)
    for seed in (1, 2, 3):
        if not dead:
            break
        # A narrow layer may start with every ReLU shut; one badly wired always does.
        torch.manual_seed(seed)
        dead &= without_gradient(build_bare(config), number)
    assert dead == set()


def test_an_odd_image_is_labelled_pixel_by_pixel(built):
    _, _, model = built
    (result,) = predict(model)
    assert result.seg_logits.data.shape == (CLASSES, *ODD)
    assert result.pred_sem_seg.data.shape == (1, *ODD)
    assert torch.isfinite(result.seg_logits.data).all()
    assert set(result.pred_sem_seg.data.unique().tolist()) <= set(range(CLASSES))


def test_an_image_has_the_same_logits_alone_and_in_a_batch(built):
    _, _, model = built
    alone, together = predict(model, (32, 32))[0], predict(model, (32, 32), 2)[0]
    torch.testing.assert_close(
        alone.seg_logits.data, together.seg_logits.data, atol=2e-3, rtol=1e-3
    )


def test_a_saved_model_predicts_as_before(built):
    _, config, model = built
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build_bare(config, device="meta")
    # Meta tensors take no values: what the file holds takes their place.
    other.load_state_dict(torch.load(file, weights_only=True), assign=True)
    left = [k for k, t in other.state_dict().items() if t.is_meta]
    assert left == []
    other.data_preprocessor = model.data_preprocessor  # its buffers are in no file
    before, after = (predict(m)[0].seg_logits.data for m in (model, other))
    torch.testing.assert_close(before, after, atol=0, rtol=0)


@pytest.mark.parametrize("name", [x for x in LEAVES if x != "cell_classes"])
def test_two_classes_give_two_logits(name):
    config = copy.deepcopy(resolve_config(name, protocol="robust"))
    assert config.model.decode_head.num_classes == 2
    model = build_bare(config, device="meta").eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 64, 96, device=device))
    assert logits.shape[:2] == (1, 2)


@pytest.mark.parametrize("name", LEAVES)
def test_size_is_that_of_the_committed_table(name):
    how = "run python tools/publish.py sizes"
    assert name in SIZES, f"not in the table; {how}"
    measured = model_size(resolve_config(name), 512)
    assert measured == SIZES[name], how
