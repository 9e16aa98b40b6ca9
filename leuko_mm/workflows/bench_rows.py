"""From the times of `leuko bench` to its rows: medians, ratios of medians, shares."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from leuko_mm.workflows.bench_contenders import CONVOLUTION, PEER, PLAIN

# How to get what an optional contender needs.
REMEDIES = {
    "segmentation_models_pytorch": "pip install segmentation-models-pytorch into an "
    "environment of its own, and name its interpreter: --peer-python",
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime",
    "onnx": "pip install onnx",
}


def make_rows(measured: Sequence[Mapping], *, batch: int) -> list[dict]:
    """Return a row for each contender of one job on one device.

    ``ms`` is the median of all its calls. ``times_plain`` and ``times_peer`` say how
    often it is done while the same network is done plainly, or the peer, once: ratios
    of the medians. ``conv_share`` is its rate of multiply-adds against that of the
    convolutions in its precision and layout.

    Args:
        measured: the fields of a ``Contender``, ``device`` and ``job``; with its
            ``ms`` and ``cores`` of each call and turn, ``peak_mib`` and ``gmacs``, or
            with ``lack``, why there are none.
        batch: images of a call.
    """
    rows = [_alone(one, batch) for one in measured]
    counted = {row["network"]: row["gmacs"] for row in rows if row.get("gmacs")}
    plain = {row["network"]: row["ms"] for row in rows if row["way"] == PLAIN}
    peer = next((row["ms"] for row in rows if row["network"] == PEER), None)
    rates = {
        (row["precision"], row["layout"]): row["gmacs"] / row["ms"]
        for row in rows
        if row["way"] == CONVOLUTION and row["ms"]
    }
    for row in rows:
        if row["ms"] is None:
            continue
        # An exported network does what its original does.
        row["gmacs"] = row["gmacs"] or counted.get(row["network"])
        rate = rates.get((row["precision"], row["layout"]))
        if row["way"] != CONVOLUTION:
            row["times_plain"] = _ratio(plain.get(row["network"]), row["ms"])
            row["times_peer"] = _ratio(peer, row["ms"])
        if rate and row["gmacs"]:
            row["conv_share"] = row["gmacs"] / row["ms"] / rate
    return rows


def remedy(module: str) -> str:
    """Say what to install.

    Example:
        >>> remedy("openvino")
        'openvino is not installed: pip install openvino'
    """
    return f"{module} is not installed: {REMEDIES.get(module, f'pip install {module}')}"


def _alone(one: Mapping, batch: int) -> dict:
    row = {k: one[k] for k in ("job", "device", "network", "way")}
    row.update(precision=one["precision"], layout=one["layout"], ms=None)
    row.update(left_out=one.get("lack"), gmacs=one.get("gmacs"))
    row.update(times_plain=None, times_peer=None, conv_share=None)
    if one.get("ms"):
        median = statistics.median(one["ms"])
        row.update(
            ms=median,
            images_s=1000 * batch / median,
            calls=len(one["ms"]),
            fastest_ms=min(one["ms"]),
            cores=statistics.median(one["cores"]),
            peak_mib=one["peak_mib"],
            torch=one.get("torch"),
        )
    return row


def _ratio(other: float | None, own: float) -> float | None:
    return other / own if other else None
