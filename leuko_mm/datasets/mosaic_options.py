"""Which options of a mosaic dataset there are, and which fit together."""

from __future__ import annotations

# Every cell once: in the order of chance, or cells of one class together.
EVERY, EVERY_ALIKE = "every", "every_alike"
EACH_ONCE = (EVERY, EVERY_ALIKE)
MODES = ("fixed", "resample", *EACH_ONCE)
SPLIT_STAGES = ("cells", "mosaics")
LAYOUTS = ("grid", "scattered", "smear")
MOSAIC_SPLIT = "paper_mosaics"


def check_numbers(n: int, size: int, *, mode: str, mosaics: int | None, fill: int):
    """Refuse numbers of which no mosaic can be made.

    Raises:
        ValueError: naming the number, and what was expected.
    """
    if n < 1 or size < n:
        raise ValueError(f"n must be 1 or more and at most size, got {n}, {size}")
    if mode not in EACH_ONCE and (mosaics is None or mosaics < 1):
        raise ValueError(
            f"mode {mode!r} needs the number of mosaics, 1 or more; got {mosaics}"
        )
    if not 0 <= fill <= 255:
        raise ValueError(f"fill must be a grey level of 0 to 255, got {fill}")


def check_fields(fields: float, *, enhance, mode: str) -> None:
    """Refuse a share of fields that is none, or that nothing could draw.

    Raises:
        ValueError: naming the number, and what was expected.
    """
    if not 0 <= fields < 1:
        raise ValueError(f"fields must be a share of 0 to below 1, got {fields}")
    if fields and (enhance is not None or mode != "resample"):
        raise ValueError(
            f"fields={fields} shows windows of raw fields among mosaics that are drawn "
            f"afresh; use mode 'resample' without enhance, not {mode!r} with {enhance}"
        )


def check_choices(
    mode: str, split_stage: str, *, layout: str, class_balanced: bool, test_mode: bool
) -> None:
    """Refuse unknown names, and choices that contradict each other.

    Raises:
        ValueError: naming the choices, and what to do.
    """
    if mode not in MODES or split_stage not in SPLIT_STAGES:
        raise ValueError(
            f"mode must be one of {MODES} and split_stage one of {SPLIT_STAGES}, "
            f"got {mode!r} and {split_stage!r}"
        )
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}")
    if split_stage == "mosaics" and mode != "fixed":
        raise ValueError(f"split_stage 'mosaics' needs mode 'fixed', got {mode!r}")
    if test_mode and (class_balanced or layout != "grid"):
        raise ValueError(
            "test mosaics show their cells on the grid as they are; leave out "
            f"class_balanced={class_balanced} and layout={layout!r}, or test_mode"
        )
    if class_balanced and (mode in EACH_ONCE or split_stage == "mosaics"):
        raise ValueError(
            f"class_balanced chooses among cells, but mode {mode!r} with split_stage "
            f"{split_stage!r} fixes which ones are shown; use mode 'resample' or "
            "'fixed', and split_stage 'cells'"
        )
