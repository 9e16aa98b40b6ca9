"""What the speed of this package is held to, and how `leuko bench` found it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leuko_mm.workflows.bench_contenders import (
    CACHED,
    CBAM,
    EXPORTED,
    FROZEN,
    OWN,
    PLAIN,
    WITHOUT_CBAM,
)

COMPACT = "cbam_unet_compact"
# On a CPU of two cores with bfloat16, at the sizes that are the defaults.
LEAST = {
    ("train", COMPACT, "times_plain"): 5.0,
    ("train", CBAM, "times_plain"): 2.3,
    ("predict", CBAM, "times_plain"): 2.7,
    ("predict", CBAM, "times_peer"): 1.2,
    ("predict", COMPACT, "times_peer"): 20.0,
}
WORDS = {"times_plain": "the plain float32 loop", "times_peer": "the peer"}
LEAST_FROZEN = {FROZEN: 1.25, CACHED: 1.45}
MOST_FOR_CBAM = 5.0


def targets(rows: Sequence[dict], *, device: str = "cpu") -> list[dict]:
    """Return each target that these rows can judge.

    Args:
        rows: of ``make_rows``, of any jobs.
        device: the rows of which are meant.

    Returns:
        ``target`` in words, ``measured``, and ``met``, None where nothing was promised.
    """
    here = [row for row in rows if row["device"] == device and row["ms"]]
    found: list[dict] = []
    for (job, network, key), least in LEAST.items():
        best = _best(here, job, network)
        if best is not None and best[key]:
            words = f"{job} {network}, {best['way']}: {least:g}x {WORDS[key]}"
            found.append(_judged(words, best[key], best[key] >= least))
    return [*found, *_frozen(here), *_cost_of_cbam(here)]


def _best(rows: Iterable[dict], job: str, network: str) -> dict | None:
    """Return the fastest way to do the whole job, other than the plain one."""
    whole = (OWN, *EXPORTED)
    fitting = [r for r in rows if (r["job"], r["network"]) == (job, network)]
    own = [row for row in fitting if row["way"] in whole]
    return min(own, key=lambda row: row["ms"], default=None)


def _frozen(rows: Sequence[dict]) -> list[dict]:
    training = [r for r in rows if (r["job"], r["network"]) == ("train", CBAM)]
    times = {row["way"]: row["ms"] for row in training}
    return [
        _judged(
            f"train {CBAM}, encoder {way.removeprefix('leuko ')}: {least:g}x thawed",
            times[OWN] / times[way],
            times[OWN] / times[way] >= least,
        )
        for way, least in LEAST_FROZEN.items()
        if way in times and OWN in times
    ]


def _cost_of_cbam(rows: Sequence[dict]) -> list[dict]:
    found, best = [], _best(rows, "predict", CBAM)
    for row in rows:
        if row["network"] != CBAM or row["way"] in (PLAIN, FROZEN, CACHED):
            continue
        other = [r for r in rows if _is(r, row["job"], WITHOUT_CBAM, row["way"])]
        if other:
            cost = 100 * (row["ms"] / other[0]["ms"] - 1)
            words = f"{row['job']} {CBAM}, {row['way']}: CBAM costs at most"
            met = cost <= MOST_FOR_CBAM if row is best else None
            found.append(_judged(f"{words} {MOST_FOR_CBAM:g} %", cost, met))
    return found


def _is(row: dict, job: str, network: str, way: str) -> bool:
    return (row["job"], row["network"], row["way"]) == (job, network, way)


def _judged(words: str, measured: float, met: bool | None) -> dict:
    return dict(target=words, measured=round(measured, 2), met=met)
