"""The networks of `leuko bench`: as mmseg runs them, and as this package does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.engine.feature_cache import FeatureCache
from leuko_mm.engine.kept_memory import keep_memory
from leuko_mm.engine.staged_freeze import freeze
from leuko_mm.inference.checkpoint import Checkpoint
from leuko_mm.inference.onnx_file import write_onnx
from leuko_mm.inference.runtimes import (
    OnnxRuntime,
    OpenVinoRuntime,
    TorchRuntime,
    whole_logits,
)
from leuko_mm.workflows.bench_contenders import CACHED, FROZEN, OWN, PLAIN
from leuko_mm.workflows.bench_convolution import LAYOUTS
from leuko_mm.workflows.model_size import build_bare
from leuko_mm.workflows.plain_loop import make_model_plain, plain_optimiser
from leuko_mm.workflows.precision import set_precision
from leuko_mm.workflows.resolve_config import resolve_config

# The comparison on a CPU: batches of four, 256 x 256.
PROTOCOL = "half"
EXPORTS = {"onnxruntime": OnnxRuntime, "openvino": OpenVinoRuntime}


def build(spec: Mapping) -> Callable[[], object]:
    """Return a call that does one training step or predicts one batch.

    Weights, pixels and labels are random. A step begins with pixels as the loader gives
    them, and ends with the weights changed; a prediction goes from normalised pixels to
    logits of the image's size.

    Args:
        spec: ``job``, ``network``, ``way``, ``batch``, ``size`` in pixels, ``device``,
            of our own training its ``layout`` and, of an export, ``file``.
    """
    if spec["way"] in (OWN, FROZEN, CACHED):
        keep_memory()
    return _prediction(spec) if spec["job"] == "predict" else _training_step(spec)


def bench_config(network: str) -> Config:
    """Return a method's config under the protocol of the bench."""
    return resolve_config(network, protocol=PROTOCOL)


def random_network(config: Config) -> nn.Module:
    """Return a config's network; every process draws the same weights."""
    torch.manual_seed(0)
    return build_bare(config)


def write_export(network: str, file: Path) -> None:
    """Write a network as ONNX, its weights random, batch norms folded."""
    sidecar = dict(classes=list(CLASS_NAMES), normalisation=dict(bgr_to_rgb=True))
    write_onnx(random_network(bench_config(network)).eval(), file, sidecar)


def _prediction(spec: Mapping) -> Callable[[], object]:
    drawn, shape = torch.Generator().manual_seed(0), (spec["size"], spec["size"])
    images = torch.randn(spec["batch"], 3, *shape, generator=drawn)
    if spec["way"] in EXPORTS:
        about = dict(classes=list(CLASS_NAMES))
        export = Checkpoint(Path(spec["file"]), about, None)
        runtime = EXPORTS[spec["way"]](export)
        return lambda: runtime(images)
    model = random_network(bench_config(spec["network"])).eval()
    if spec["way"] == OWN:
        runtime = TorchRuntime(model, device=spec["device"])
        return lambda: runtime(images)
    model, images = model.to(spec["device"]), images.to(spec["device"])

    def predict() -> torch.Tensor:
        with torch.inference_mode():
            return whole_logits(model, images)

    return predict


def _training_step(spec: Mapping) -> Callable[[], object]:
    config = bench_config(spec["network"])
    model = random_network(config).to(spec["device"]).train()
    if spec["way"] == PLAIN:
        recipe = plain_optimiser(config.optim_wrapper)
        make_model_plain(model)
    else:
        set_precision(config, None)
        recipe = copy.deepcopy(config.optim_wrapper)
        model.to(memory_format=LAYOUTS[spec["layout"]])
    with DefaultScope.overwrite_default_scope("mmseg"):
        optimiser = build_optim_wrapper(model, recipe)
    if spec["way"] in (FROZEN, CACHED):
        _freeze_encoder(model)
    if spec["way"] == CACHED:
        FeatureCache(model.backbone, patience=spec["batch"]).__enter__()
    batch = random_batch(spec["batch"], spec["size"])
    # The preprocessor puts labels into the samples that it is given.
    return lambda: model.train_step(copy.deepcopy(batch), optimiser)


def _freeze_encoder(model: nn.Module) -> None:
    """As ``StagedFreezeHook`` does."""
    freeze(model.backbone)
    model.backbone.eval()


def random_batch(count: int, size: int) -> dict:
    """Return a batch as a loader gives it.

    Args:
        count: of images.
        size: side in pixels.

    Example:
        >>> batch = random_batch(2, 32)
        >>> batch["inputs"][0].shape, batch["data_samples"][1].gt_sem_seg.shape
        (torch.Size([3, 32, 32]), (32, 32))
    """
    shape, samples = (size, size), []
    for _ in range(count):
        labels = torch.randint(len(CLASS_NAMES), (1, *shape))
        about = dict(ori_shape=shape, img_shape=shape)
        sample = SegDataSample(metainfo=about)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    images = [torch.randint(256, (3, *shape), dtype=torch.uint8) for _ in range(count)]
    return dict(inputs=images, data_samples=samples)
