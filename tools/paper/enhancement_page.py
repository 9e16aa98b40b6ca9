"""The table on what AHE-Retinex does to slides: Markdown from measured data.

Used by ``tools/paper/enhancement_evidence.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leuko_mm.report.html import number, table

RAW, CLAHE = "raw", "CLAHE on V"
READINGS = ("hsv", "hsv_all", "rgb")
SHOWN = (RAW, CLAHE, "grey world", "Reinhard", "Macenko", *READINGS)
# The rows of trainings that have another name than their variant.
TRAINED = {None: RAW, "clahe": CLAHE}
STRENGTH = "0.001"
HEADER = (
    "method",
    "background, spread",
    "red cells, spread",
    "leukocytes, spread in class",
    "separability",
    "border / grain",
    f"linear probe, C = {STRENGTH}",
    "CBAM U-Net, mIoU",
)


def enhancement_table(evidence: Mapping, accuracy: Sequence[Mapping]) -> str:
    """Return one row a method; the stretches of AHE-Retinex are in the JSON alone.

    Args:
        evidence: ``colour`` (of a dataset) and where it was measured ``probe`` (by
            method).
        accuracy: of each run ``variant``, ``iterations`` and ``metrics``.
    """
    methods, probed = evidence["colour"]["methods"], evidence.get("probe", {})
    trained = {
        TRAINED.get(run["variant"], run["variant"]): run["metrics"]["mIoU"]
        for run in accuracy
    }
    rows = [
        [
            name,
            *(_value(one, region, "spread") for region in ("background", "red cells")),
            _value(one, "leukocyte", "between_slides"),
            _value(one, "leukocyte", "separability", digits=2),
            number(one["border_to_grain"]),
            number(probed.get(name, {}).get("accuracy", {}).get(STRENGTH)),
            number(trained.get(name)),
        ]
        for name, one in methods.items()
        if name in SHOWN
    ]
    return table(HEADER, rows) + "\n"


def _value(one: Mapping, region: str, key: str, digits: int = 1) -> str:
    return number(one.get(region, {}).get(key), digits)
