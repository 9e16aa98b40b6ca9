"""The figures of `leuko bench` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leuko_mm.report.markdown import number, table

HEADER = (
    "network",
    "run by",
    "numbers, layout",
    "ms",
    "images/s",
    "x plain",
    "x peer",
    "peak MiB",
    "GMAC",
    "of conv rate",
)
TITLES = {
    "train": "Training step, {batch} images of {size}x{size}",
    "predict": "Prediction, {batch} image of {size}x{size}",
}
JUDGED = {True: "met", False: "missed", None: "-"}


def bench_page(found: Mapping) -> str:
    """Return the tables of a bench, and what was promised of it.

    Args:
        found: what ``workflows.bench.bench`` returned.
    """
    parts = [_conditions(found)]
    kinds = dict.fromkeys((row["job"], row["device"]) for row in found["rows"])
    for job, device in kinds:
        words = TITLES[job].format(batch=found["batch"][job], size=found["size"][job])
        rows = [r for r in found["rows"] if (r["job"], r["device"]) == (job, device)]
        parts += [f"## {words}, {device}", bench_table(rows)]
        parts += [f"Left out: {line}" for line in _left_out(rows)]
    if found["targets"]:
        lines = [
            (one["target"], number(one["measured"], 2), JUDGED[one["met"]])
            for one in found["targets"]
        ]
        parts += ["## Targets", table(("target", "measured", ""), lines)]
    return "\n\n".join(parts)


def bench_table(rows: Sequence[Mapping]) -> str:
    """Return the rows of one job on one device."""
    return table(HEADER, [_cells(row) for row in rows if row["ms"]])


def _cells(row: Mapping) -> list[str]:
    share = row["conv_share"]
    return [
        row["network"],
        row["way"] if row["way"] != row["network"] else "torch",
        f"{row['precision']}, {row['layout']}",
        number(row["ms"], 0 if row["ms"] >= 100 else 1),
        number(row["images_s"], 2),
        number(row["times_plain"], 2),
        number(row["times_peer"], 2),
        number(row["peak_mib"], 0),
        number(row["gmacs"], 1),
        "-" if share is None else f"{100 * share:.0f} %",
    ]


def _left_out(rows: Sequence[Mapping]) -> list[str]:
    return list(
        dict.fromkeys(
            f"{row['network']}, {row['way']}: {row['left_out']}"
            for row in rows
            if row["left_out"]
        )
    )


def _conditions(found: Mapping) -> str:
    env, load = found["env"], found["load"]
    clock = "wall clock" if found["clock"] == "wall" else "processor time"
    return (
        f"{env['cpu']}; {env['gpu'] or 'no GPU'}; {found['threads']} thread(s); "
        f"{clock}; torch {env['torch']}; load {number(load['before'])} before, "
        f"{number(load['after'])} after; medians of {found['rounds']} rounds."
    )
