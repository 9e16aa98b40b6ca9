"""What an enhancement does to accuracy: a section of its page, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leuko_mm.report.markdown import number, table


def accuracy_section(probe: Mapping | None, accuracy: Sequence[Mapping]) -> str:
    """Return the section on accuracy; see ``enhancement_page`` for the arguments."""
    lines = ["\n## What it does to accuracy\n"]
    if probe:
        strengths = list(next(iter(probe.values()))["accuracy"])
        cells = next(iter(probe.values()))["cells"]
        lines += [
            "A linear probe: logistic regression on frozen VGG16 features of whole "
            f"cells, {cells} BCISC cells of folds 1 to 4, each judged by the other "
            "folds; fold 5 is not looked at. Percent of cells whose class is right, by "
            "the inverse strength of the penalty. One cell is "
            f"{100 / cells:.1f} points.\n",
            table(
                ["method", *(f"C = {s}" for s in strengths)],
                [
                    [name, *(number(one["accuracy"][s]) for s in strengths)]
                    for name, one in probe.items()
                ],
            ),
            "",
        ]
    if not accuracy:
        return "\n".join([*lines, "No training on the development split is published."])
    iterations = {run["iterations"] for run in accuracy}
    equal = (
        f"{iterations.pop()} iterations each"
        if len(iterations) == 1
        else "**not of equal length**"
    )
    lines += [
        "The CBAM U-Net trained under the protocol `half`, tested on the development "
        f"fold, one seed, {equal}:\n",
        table(
            [
                "variant",
                "enhancement",
                "iterations",
                "mIoU",
                "foreground mIoU",
                "pixels",
            ],
            [
                [
                    run["variant"] or "as configured",
                    _recipe(run["enhance"]),
                    str(run["iterations"]),
                    number(run["metrics"]["mIoU"], 2),
                    number(run["metrics"]["mIoU_fg"], 2),
                    number(run["metrics"]["pixel_accuracy"], 2),
                ]
                for run in accuracy
            ],
        ),
    ]
    return "\n".join(lines)


def _recipe(enhance: Mapping | None) -> str:
    """Return an enhancement's config in one line.

    Example:
        >>> _recipe({"type": "leuko_mm.AHERetinex", "reading": "rgb"}), _recipe(None)
        ('AHERetinex, reading rgb', 'none')
    """
    if not enhance:
        return "none"
    name = enhance["type"].rpartition(".")[2]
    rest = [f"{key} {value}" for key, value in enhance.items() if key != "type"]
    return ", ".join([name, *rest])
