"""Who takes part in `leuko bench`, and in which precision and layout each computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leuko_mm.engine.channels_last import channels_last_helps

JOBS = ("train", "predict")
METHODS = ("cbam_unet", "cbam_unet_compact")
# The first without its CBAM, to tell what that costs; and mmseg's own U-Net.
CBAM, WITHOUT_CBAM, MMSEG_UNET = "cbam_unet", "unet_vgg16", "unet"
PEER, CONVOLUTION = "smp.Unet(vgg16)", "3x3 convolutions"
# How a network is run.
PLAIN, EAGER, OWN, FROZEN = "mmseg", "eager", "leuko", "leuko frozen"
CACHED = "leuko frozen, maps kept"
ONNXRUNTIME, OPENVINO = EXPORTED = ("onnxruntime", "openvino")
FLOAT32, BFLOAT16 = "float32", "bfloat16"
CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels-last"
HOMES = {EAGER: "bench_peer", CONVOLUTION: "bench_convolution"}


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Args:
        network: a config's name, the peer, or the convolutions.
        way: how it is run.
        precision: of its convolutions.
        layout: of its convolutions; of an exported network, whose runtime arranges
            maps in its own way, that of torch which comes nearest.
    """

    network: str
    way: str
    precision: str = FLOAT32
    layout: str = CONTIGUOUS

    @property
    def home(self) -> str:
        """The module that builds it."""
        return HOMES.get(self.way, "bench_networks")


def contenders(
    job: str, methods: Sequence[str], *, device: str, bfloat16: bool
) -> list[Contender]:
    """Return who takes part, in the order of the turns.

    Args:
        job: a name of ``JOBS``.
        methods: configs that are run both plainly and as this package does.
        device: ``cpu`` or that of a GPU, where exported networks are not run.
        bfloat16: whether it helps on that device.

    Example:
        >>> some = contenders("train", ["unet_vgg16"], device="cpu", bfloat16=False)
        >>> [(one.network, one.way) for one in some][:3]
        [('unet_vgg16', 'mmseg'), ('unet_vgg16', 'leuko'), ('unet', 'mmseg')]
    """
    low = BFLOAT16 if bfloat16 else FLOAT32
    found = []
    for method in methods:
        found.append(Contender(method, PLAIN))
        found += _own(job, method, device, low)
        if method == CBAM:
            if job == "train":
                layout = _training_layout(device)
                found += [
                    Contender(method, way, low, layout) for way in (FROZEN, CACHED)
                ]
            if WITHOUT_CBAM not in methods:
                found += _own(job, WITHOUT_CBAM, device, low)
    if MMSEG_UNET not in methods:
        found.append(Contender(MMSEG_UNET, PLAIN))
    found.append(Contender(PEER, EAGER))
    needed = dict.fromkeys((one.precision, one.layout) for one in found)
    return [*found, *(Contender(CONVOLUTION, CONVOLUTION, *kind) for kind in needed)]


def _training_layout(device: str) -> str:
    return CHANNELS_LAST if channels_last_helps(device) else CONTIGUOUS


def _own(job: str, method: str, device: str, low: str) -> list[Contender]:
    if job == "train":
        return [Contender(method, OWN, low, _training_layout(device))]
    found = [Contender(method, OWN, low, CHANNELS_LAST)]
    if device == "cpu":
        found += [
            Contender(method, ONNXRUNTIME, FLOAT32, CHANNELS_LAST),
            # OpenVINO takes bfloat16 where the processor multiplies it.
            Contender(method, OPENVINO, low, CHANNELS_LAST),
        ]
    return found
