"""The process of one contender of tools/bench.py: build it once, time it in turns.

Lines of JSON come in, first what to build, then the seconds of each turn; answers go
out. The peer's interpreter need not have this package: only torch is imported at the
top, and leuko_mm, mmengine and mmseg where they are used.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

# The comparison on a CPU: batches of four, 256 x 256.
PROTOCOL = "half"
# The ways to run a network, and the convolutions.
PLAIN, EAGER, OWN, FROZEN = "mmseg", "eager", "leuko", "leuko frozen"
CACHED = "leuko frozen, maps kept"
ONNXRUNTIME, OPENVINO = EXPORTED = ("onnxruntime", "openvino")
CONVOLUTION = "3x3 convolutions"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {
    "contiguous": torch.contiguous_format,
    "channels-last": torch.channels_last,
}
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
# Calls before the first turn: libraries choose their algorithms in the first calls.
WARMUP = 2


def build(spec: Mapping) -> Callable[[], object]:
    """Return a call that does one training step or predicts one batch.

    A step starts with pixels as the loader gives them and ends with changed weights. A
    prediction goes from normalised pixels to logits of the image's size.

    Args:
        spec: the fields of a ``bench.Contender`` with ``job``, ``batch``, ``size`` in
            pixels, ``device`` and, for an exported network, ``file``.
    """
    if spec["way"] == CONVOLUTION:
        return _convolutions(spec)
    if spec["way"] == EAGER:
        return _peer(spec)
    if spec["way"] in (OWN, FROZEN, CACHED):
        from leuko_mm.processes import keep_memory

        keep_memory()
    return _prediction(spec) if spec["job"] == "predict" else _training_step(spec)


def _convolutions(spec: Mapping) -> Callable[[], object]:
    """Four 3x3 convolutions with the same arithmetic each, as the stages of VGG."""
    backward = spec["job"] == "train"
    dtype, layout = DTYPES[spec["precision"]], LAYOUTS[spec["layout"]]
    pairs = []
    for stage, channels in enumerate((64, 128, 256, 512)):
        side = max(spec["size"] // 2**stage, 1)
        shapes = ((spec["batch"], channels, side, side), (channels, channels, 3, 3))
        maps, weight = (
            torch.randn(shape, dtype=dtype, device=spec["device"])
            .contiguous(memory_format=layout)
            .requires_grad_(backward)
            for shape in shapes
        )
        pairs.append((maps, weight, torch.ones_like(maps)))

    def once() -> None:
        for maps, weight, gradient in pairs:
            result = F.conv2d(maps, weight, padding=1)
            if backward:
                torch.autograd.grad(result, (maps, weight), gradient)

    return once


# An operator exists as long as the library that declared it.
_declared: list[torch.library.Library] = []


def _import_peer():
    """Import the peer, also where torchvision does not fit this build of torch.

    Beside a CPU build of torch, torchvision of the package index fails on operators
    that it cannot find. The peer calls none of them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declared.append(torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            _declared[-1].define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    return importlib.import_module("segmentation_models_pytorch")


def _peer(spec: Mapping) -> Callable[[], object]:
    """segmentation_models.pytorch's U-Net in eager float32, trained by a plain loop."""
    classes, device, size = 6, spec["device"], spec["size"]
    model = _import_peer().Unet("vgg16", encoder_weights=None, classes=classes)
    model.to(device)
    images = torch.randn(spec["batch"], 3, size, size, device=device)
    if spec["job"] == "predict":
        model.eval()

        def predict() -> torch.Tensor:
            with torch.inference_mode():
                return model(images)

        return predict
    labels = torch.randint(classes, (spec["batch"], size, size), device=device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    model.train()

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()

    return step


def bench_config(network: str):
    """Return a method's config under the protocol of the bench."""
    from leuko_mm.training.config import resolve_config

    return resolve_config(network, protocol=PROTOCOL)


def _random_network(config) -> torch.nn.Module:
    """Return a config's network; every process draws the same weights."""
    from leuko_mm.models.size import build_bare

    torch.manual_seed(0)
    return build_bare(config)


def write_export(network: str, file: Path) -> None:
    """Write a network with random weights as ONNX, batch norms folded."""
    from leuko_mm.classes import CLASS_NAMES
    from leuko_mm.inference.export import write_onnx

    sidecar = dict(classes=list(CLASS_NAMES), normalisation=dict(bgr_to_rgb=True))
    write_onnx(_random_network(bench_config(network)).eval(), file, sidecar)


def _prediction(spec: Mapping) -> Callable[[], object]:
    from leuko_mm.classes import CLASS_NAMES
    from leuko_mm.inference import runtimes
    from leuko_mm.inference.model import Checkpoint

    shape = (spec["batch"], 3, spec["size"], spec["size"])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if spec["way"] in EXPORTED:
        kinds = {
            ONNXRUNTIME: runtimes.OnnxRuntime,
            OPENVINO: runtimes.OpenVinoRuntime,
        }
        sidecar = dict(classes=list(CLASS_NAMES))
        runtime = kinds[spec["way"]](Checkpoint(Path(spec["file"]), sidecar, None))
        return lambda: runtime.logits(images.numpy())
    model = _random_network(bench_config(spec["network"])).eval()
    if spec["way"] == OWN:
        runtime = runtimes.TorchRuntime(model, device=spec["device"])
        return lambda: runtime.logits(images.numpy())
    model, images = model.to(spec["device"]), images.to(spec["device"])

    def predict() -> torch.Tensor:
        with torch.inference_mode():
            return runtimes.whole_logits(model, images)

    return predict


def _training_step(spec: Mapping) -> Callable[[], object]:
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import DefaultScope

    from leuko_mm.engine.staged_freeze import FeatureCache, freeze
    from leuko_mm.training.building import make_model_plain, make_plain, set_precision

    config = bench_config(spec["network"])
    model = _random_network(config).to(spec["device"]).train()
    if spec["way"] == PLAIN:
        make_plain(config)
        recipe = dict(type="OptimWrapper", optimizer=config.optim_wrapper.optimizer)
        make_model_plain(model)
    else:
        set_precision(config, None)
        recipe = copy.deepcopy(config.optim_wrapper)
        model.to(memory_format=LAYOUTS[spec["layout"]])
    with DefaultScope.overwrite_default_scope("mmseg"):
        optimiser = build_optim_wrapper(model, recipe)
    if spec["way"] in (FROZEN, CACHED):  # as StagedFreezeHook does
        freeze(model.backbone)
        model.backbone.eval()
    if spec["way"] == CACHED:
        FeatureCache(model.backbone, patience=spec["batch"]).__enter__()
    batch = _random_batch(spec["batch"], spec["size"])
    # The preprocessor puts labels into the samples that it is given.
    return lambda: model.train_step(copy.deepcopy(batch), optimiser)


def _random_batch(count: int, size: int) -> dict:
    """Return a batch as a loader gives it."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    from leuko_mm.classes import CLASS_NAMES

    shape, samples = (size, size), []
    for _ in range(count):
        sample = SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape))
        labels = torch.randint(len(CLASS_NAMES), (1, *shape))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    images = [torch.randint(256, (3, *shape), dtype=torch.uint8) for _ in range(count)]
    return dict(inputs=images, data_samples=samples)


def prepare(spec: Mapping) -> tuple[Callable[[], object], dict]:
    """Build a contender and call it a few times.

    Returns:
        The call, with ``gmacs``, the 10^9 multiply-adds of a call as torch counts them,
        None where torch does not compute it, and the version of ``torch``.
    """
    torch.set_num_threads(spec["threads"])
    torch.backends.cudnn.benchmark = True
    call = build(spec)
    with FlopCounterMode(display=False) as counter:
        call()
    for _ in range(WARMUP - 1):
        call()
    # The counter takes a multiply-add for two operations.
    gmacs = counter.get_total_flops() / 2e9 or None
    return call, dict(gmacs=gmacs, torch=torch.__version__)


def time_turn(
    call: Callable[[], object],
    seconds: float,
    *,
    clock: str = "wall",
    cuda: bool = False,
) -> dict:
    """Call until the time is over, at least once.

    Args:
        call: what is timed.
        seconds: of the wall clock.
        clock: a name of ``CLOCKS``.
        cuda: wait for the GPU at the end of each call.

    Returns:
        ``ms``, the time of each call, and ``cores``, how many the process used on
        average: fewer than its threads where others used them.
    """
    times: list[float] = []
    begun, processor = time.perf_counter(), time.process_time()
    while not times or time.perf_counter() - begun < seconds:
        started = CLOCKS[clock]()
        call()
        if cuda:
            torch.cuda.synchronize()
        times.append(1000 * (CLOCKS[clock]() - started))
    wall = time.perf_counter() - begun
    return dict(ms=times, cores=(time.process_time() - processor) / wall)


def peak_mib(*, cuda: bool = False) -> float | None:
    """Return the peak memory of this process in MiB, libraries included.

    None where the system is not Linux.

    Args:
        cuda: return what torch has used on the GPU instead.
    """
    if cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def serve(lines: Iterator[str], answer: Callable[[dict], None]) -> None:
    """Build what the first line asks for, then time a turn for each other line.

    An error while building is answered as ``missing``, the name of a module, or
    ``failed``.
    """
    spec = json.loads(next(lines))
    cuda = spec["device"] != "cpu"
    try:
        call, about = prepare(spec)
    except ModuleNotFoundError as error:
        answer(dict(missing=error.name))
        return
    # Any error of one contender becomes a line of the table; the others continue.
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        answer(dict(failed=f"{type(error).__name__}: {line}"))
        return
    answer(about)
    for line in lines:
        timed = time_turn(call, json.loads(line), clock=spec["clock"], cuda=cuda)
        answer(dict(timed, peak_mib=peak_mib(cuda=cuda)))


def main() -> None:
    """Serve over the standard streams; what libraries print goes to the errors."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)

        def answer(content: dict) -> None:
            out.write(json.dumps(content) + "\n")
            out.flush()

        serve(iter(sys.stdin.readline, ""), answer)


if __name__ == "__main__":
    main()
