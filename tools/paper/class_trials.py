"""Leave a laboratory out and change one thing of the class network's recipe at a time.

    python tools/paper/class_trials.py bccd segmentation_wbc_1 --out results

Every trial trains `cell_classes` on the other four of five laboratories and names the
cells of the one that is left out: one view of each, its outline given. Scores are those
of the cells to choose on (see tools/laboratories.py), and one training each: a
difference of a few points may be chance. A trial that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from laboratories import FEWEST, HALVES, half_of

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, OTHER
from leuko_mm.datasets.cell_crops import CellCropDataset
from leuko_mm.errors import LeukoError
from leuko_mm.evaluation.metric import CELLS_FILE, load_cells
from leuko_mm.files import write_text
from leuko_mm.registry import DATASETS, SCOPE, TRANSFORMS
from leuko_mm.report.html import table
from leuko_mm.training.run import TrainRequest, train

LABORATORIES = ("bcisc", "pbc", "bccd", "segmentation_wbc_1", "segmentation_wbc_2")
TRAIN, TEST = (f"{part}_dataloader.dataset" for part in ("train", "test"))
# Of DensityJitter, which is step 2 of the pipeline.
JITTER = f"{TRAIN}.pipeline.2"


@DATASETS.register_module(force=True)
class EnhancedCrops(CellCropDataset):
    """Squares that are enhanced before they are varied.

    Args:
        enhance: config of a transform, or None: a report also shows the images
            without it. The rest as of ``CellCropDataset``.
    """

    def __init__(self, dataset: Mapping, *, enhance: Mapping | None, **options):
        super().__init__(dataset, **options)
        self.enhance = enhance and TRANSFORMS.build({"_scope_": SCOPE, **enhance})

    def _cut(self, cell: int, side: int) -> np.ndarray:
        image = super()._cut(cell, side)
        if self.enhance is None:
            return image
        bgr = np.ascontiguousarray(image[..., ::-1])
        return np.ascontiguousarray(self.enhance(dict(img=bgr))["img"][..., ::-1])


def _enhanced(enhance: Mapping) -> dict:
    parts = (TRAIN, TEST)
    kinds = {f"{part}.type": "leuko_mm.EnhancedCrops" for part in parts}
    return kinds | {f"{part}.enhance": dict(enhance) for part in parts}


def trials() -> dict[str, dict]:
    """Return what every trial changes, as options of the config."""
    jitter = dict(strength=0.44, channel=0.3, mix=0.2, white=0.3, gamma=0.5, hue=24.0)
    return {
        "as it is": {},
        "without white balance": {"model.backbone.white_balance": False},
        "half of the colour changes": {
            f"{JITTER}.{key}": value / 2 for key, value in jitter.items()
        },
        "no grey images, no other hues": {f"{JITTER}.rare": 0.0},
        "weights not averaged": {
            "custom_hooks": [dict(type="leuko_mm.ChannelsLastHook")]
        },
        "twice as many labelled others": {f"{TRAIN}.places": 0.2},
        "CLAHE of the value first": _enhanced(dict(type="leuko_mm.ValueEqualisation")),
        "AHE-Retinex first (hsv)": _enhanced(dict(type="leuko_mm.AHERetinex")),
    }


def scored(work_dir: Path) -> dict:
    """Return the scores of a finished run on the cells to choose on."""
    cells = load_cells(work_dir / CELLS_FILE)
    names = [str(group).split("/", 1)[-1] for group in cells.group]
    chosen = np.array([half_of(name) == HALVES[0] for name in names])
    counts = cells.confusion[chosen]
    truth, given = counts.sum(axis=2).argmax(axis=1), counts.sum(axis=1).argmax(axis=1)
    own = truth != BACKGROUND
    recalls = [
        float((given[truth == label] == label).mean())
        for label in range(1, len(CLASS_NAMES))
        if (truth == label).sum() >= FEWEST / 2
    ]
    return dict(
        cells=int(own.sum()),
        right=int((truth == given)[own].sum()),
        macro_recall=round(100 * float(np.mean(recalls)), 2),
        lost_to_other=int((given[own] == BACKGROUND).sum()),
    )


def run_trial(name: str, options: Mapping, left: str, work_dirs: Path) -> dict:
    """Train one trial, unless it is there, and return its scores."""
    place = work_dirs / f"{name.replace(' ', '-')}-without_{left}"
    if not (place / CELLS_FILE).is_file():
        train(
            TrainRequest(
                "cell_classes",
                data=",".join(LABORATORIES),
                split=f"without_{left}",
                options=options,
                work_dir=str(place),
                force=True,
            )
        )
    return scored(place)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("left", nargs="+", choices=LABORATORIES)
    parser.add_argument(
        "--out", type=Path, required=True, help="gets class_trials_LABORATORY.json"
    )
    parser.add_argument("--work-dirs", type=Path, default=Path("work_dirs/trials"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        for left in args.left:
            found = {}
            for name, options in trials().items():
                found[name] = run_trial(name, options, left, args.work_dirs)
                path = args.out / f"class_trials_{left}.json"
                write_text(path, json.dumps(found, indent=1) + "\n")
            print(left)
            print(as_table(found))
    except LeukoError as error:
        print(f"class_trials: {error}", file=sys.stderr)
        return 2
    return 0


def as_table(found: Mapping[str, Mapping]) -> str:
    """Return the scores of a laboratory's trials as a table in Markdown."""
    rows = [
        [
            name,
            f"{one['right']} of {one['cells']}",
            f"{one['macro_recall']:.1f}",
            f"{one['lost_to_other']}",
        ]
        for name, one in found.items()
    ]
    return table(["recipe", "right class", "macro recall, %", f"lost to {OTHER}"], rows)


if __name__ == "__main__":
    sys.exit(main())
