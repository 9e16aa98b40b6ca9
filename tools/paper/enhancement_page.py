"""The page on what AHE-Retinex does to slides: Markdown from measured data.

Used by ``tools/paper/enhancement_evidence.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leuko_mm.report.html import number, table

REGIONS = ("background", "red cells", "leukocyte")
PARTS = ("leukocyte", "nucleus", "cytoplasm")
RAW, CLAHE = "raw", "CLAHE on V"
READINGS = ("hsv", "hsv_all", "rgb")
# What people wrote between these lines of the page survives its next making.
VERDICT = ("<!-- verdict: kept when the page is made again -->", "<!-- /verdict -->")

_HEAD = """# What AHE-Retinex does to smears, measured

{command}

made this page and every figure in it{date}; the same figures stand in \
[{json}](../{json}). How the method works and what its readings are: \
[AHE-Retinex](ahe_retinex.md).

![The five classes before and after]({picture})

*Synthetic cells, one of each class and each from a slide of its own. The same sheet \
of real cells is written to the work folder; real images are not part of this \
repository.*
"""
_MEASURED = """
## How it is measured

Colours are CIELAB (D65), distances Euclidean: about 2.3 is just noticeable. The \
regions of an image are found once, on the image as taken, and every method is judged \
on the same pixels: the leukocyte is its mask; outside it (7 pixels away) Otsu's \
threshold on the green channel divides red cells, which absorb green, from background. \
A region's colour is its median; a slide's is the mean of its images.

- **Spread** is the root mean square distance of the slides' colours from their mean. \
For leukocytes it is taken within each class, so that classes do not count as stains.
- **Separability** is the spread of the classes' means divided by that of slides \
within a class. A method that makes slides alike by making everything grey lowers the \
first figure and not the second; a larger one is better. Chance alone gives one over \
the root of the slides in a class: 0.3 with ten.
- **Border** is the distance between the colours 2 to 6 pixels inside and outside the \
leukocyte's outline, **grain** the median distance of background pixels from the \
background's colour. Enhancement raises both; their ratio says whether the border\
 gained.
- **Stain normalisation** is torchstain's Reinhard and Macenko (its NumPy code, which \
needs nothing else; tiatoolbox and histomicstk bring readers of whole slides along). \
Both were made for H&E sections and are fitted to the image whose mean colour is \
nearest to that of all. No dependency: `pip install torchstain` for this page alone.
- `gain_5` and `gain_192` give what `percentile` gives and are left out.
"""


def change(new: float | None, old: float | None) -> str:
    """Return a change in percent; a hyphen stands for one that has none."""
    return f"{100 * (new / old - 1):+.0f} %" if old and new is not None else "-"


def enhancement_page(
    evidence: Mapping,
    accuracy: Sequence[Mapping],
    *,
    picture: str,
    json_name: str,
    verdict: str = "",
) -> str:
    """Return the page.

    Args:
        evidence: ``about`` (``command``, ``date``), ``colour`` (of a dataset), and
            where they were measured ``nuclei`` (of a dataset with nuclei) and
            ``probe`` (by method).
        accuracy: of each run ``variant``, ``enhance``, ``iterations``, ``metrics``
            and ``git``.
        picture: path of the sheet from the page.
        json_name: path of the figures in the repository.
        verdict: what people wrote between the lines of ``VERDICT``.
    """
    about = evidence["about"]
    head = _HEAD.format(
        command=f"    {about['command']}",
        date=f" on {about['date']}",
        json=json_name,
        picture=picture,
    )
    parts = [head, _MEASURED, _colour_section(evidence["colour"])]
    parts += [_nuclei_section(evidence.get("nuclei"))]
    parts += [accuracy_section(evidence.get("probe"), accuracy)]
    parts += [
        "\n## What follows\n",
        "\n".join((VERDICT[0], verdict.strip(), VERDICT[1])),
    ]
    return "\n".join(parts) + "\n"


def kept_verdict(page: str) -> str:
    """Return what stands between the lines of ``VERDICT`` in a page.

    Example:
        >>> kept_verdict(f"x {VERDICT[0]} rgb helps. {VERDICT[1]}")
        'rgb helps.'
        >>> kept_verdict("a page without")
        ''
    """
    _, _, after = page.partition(VERDICT[0])
    return after.partition(VERDICT[1])[0].strip()


def _colour_section(data: Mapping) -> str:
    methods = data["methods"]
    header = [
        "method",
        *(f"{name}, spread" for name in REGIONS[:2]),
        "leukocyte, spread in class",
        "separability",
        "border",
        "grain",
        "border / grain",
    ]
    rows = [
        [
            name,
            *(_figure(one, region, "spread") for region in REGIONS[:2]),
            _figure(one, "leukocyte", "between_slides"),
            _figure(one, "leukocyte", "separability", digits=2),
            number(one["border"]),
            number(one["grain"]),
            number(one["border_to_grain"]),
        ]
        for name, one in methods.items()
    ]
    title = (
        f"\n## Between slides: {data['dataset']}, {data['slides']} slides, "
        f"{data['images']} images\n"
    )
    failed = {name: one["failed"] for name, one in methods.items() if one["failed"]}
    notes = [
        f"{name} could not do {many} of {data['images']} images."
        for name, many in failed.items()
    ]
    return "\n".join(
        [title, table(header, rows), "", *notes, *colour_findings(methods)]
    )


def _nuclei_section(data: Mapping | None) -> str:
    title = "\n## Nucleus and cytoplasm"
    if data is None:
        return (
            f"{title}\n\nNot measured: no dataset with nuclei was given "
            "(`--nuclei`; `leuko prepare segmentation_wbc` makes one)."
        )
    header = ["method"]
    for name in PARTS:
        header += [f"{name}, spread in class", "separability"]
    rows = []
    for name, one in data["methods"].items():
        row = [name]
        for part in PARTS:
            row.append(_figure(one, part, "between_slides"))
            row.append(_figure(one, part, "separability", digits=2))
        rows.append(row)
    said = (
        f"{data['dataset']}, {data['images']} images. Its publishers name no slides, "
        "so the spread is that between images, cells' own differences included."
    )
    return "\n".join([f"{title}\n", said, "", table(header, rows)])


def colour_findings(methods: Mapping[str, Mapping]) -> list[str]:
    """Return in words how the readings compare with the image as taken.

    Args:
        methods: as ``colour_evidence`` gives them.
    """
    raw = methods.get(RAW)
    said = []
    for name in (*READINGS, CLAHE):
        one = methods.get(name)
        if not raw or not one or "red cells" not in one:
            continue
        parts = [
            f"{label} {change(one[region][key], raw[region][key])}"
            for label, region, key in (
                ("the spread of background", "background", "spread"),
                ("of red cells", "red cells", "spread"),
                ("of leukocytes in their class", "leukocyte", "between_slides"),
                ("the separability of classes", "leukocyte", "separability"),
            )
        ]
        ratio = change(one["border_to_grain"], raw["border_to_grain"])
        said.append(
            f"- `{name}` against the image as taken: {', '.join(parts)}, border "
            f"against grain {ratio}."
        )
    return said


def _figure(one: Mapping, region: str, key: str, digits: int = 1) -> str:
    return number(one.get(region, {}).get(key), digits)


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
