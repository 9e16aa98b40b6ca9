"""Results files as a comparison publishes them, without a training.

Whoever tests what is made of published results takes these. The confusions are drawn
from a seed: cells of a slide are alike, and a worse method confuses more of them.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES
from leuko_mm.datasets.composition import EACH_ONCE
from leuko_mm.evaluation.confusion import scores

SLIDES = 10
PIXELS = 4096


def write_run(
    results: Path,
    method: str,
    variant: str | None = None,
    *,
    folder: str = "half",
    split: str = "fold5",
    quality: float = 0.8,
    losses: bool = False,
    **more,
) -> Path:
    """Write a results file with its cells; return its path.

    ``fold1`` ... ``fold5`` test two slides a class each, ``development`` those of
    ``fold4``, any other split those of ``fold5``. About ``quality`` of a cell's pixels
    are right. Modes ``every`` and ``every_alike`` are tests of a checkpoint.
    """
    given = dict(
        iterations=650, seed=0, amp=True, size=256, n=2, dataset="bcisc", classes=6
    )
    given |= dict(gmacs=30.0, train_groups=40, per_slide=3, mode="resample") | more
    stems, groups, confusion = _cells(method, variant, split, quality, given)
    parts = [method, variant, given.get("tag"), split, f"s{given['seed']}"]
    stem = "-".join(str(part) for part in parts if part)
    verb = "test" if given["mode"] in EACH_ONCE else "train"
    place = results / folder / f"{stem}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    cells = place.with_name(f"{stem}.cells.npz")
    np.savez_compressed(cells, stem=stems, group=groups, confusion=confusion)
    names = CLASS_NAMES if given["classes"] == 6 else BINARY_NAMES
    scored = scores(confusion.sum(axis=0), names)
    content = dict(
        schema=1,
        run=dict(
            name=stem,
            command=f"leuko {verb} {method}",
            method=method,
            variant=variant,
            protocol=folder,
            split=split,
            **{key: given[key] for key in ("seed", "iterations", "amp")},
        ),
        data=dict(
            dataset=given["dataset"],
            sha256="1",
            train_groups=[f"slide_{i}" for i in range(given["train_groups"])],
            mosaic={k: given[k] for k in ("n", "mode")} if given["n"] > 1 else None,
            size=given["size"],
        ),
        model=dict(gmacs=given["gmacs"], reading=given.get("reading", {})),
        metrics=scored.metrics,
        per_class=scored.per_class,
        confusion=confusion.sum(axis=0).tolist(),
        cells=cells.name,
        checkpoint=dict(sha256=given.get("checkpoint")),
    )
    place.write_text(json.dumps(content, indent=1) + "\n")
    if losses:
        steps = list(range(10, given["iterations"] + 1, 10))
        lines = ["iteration,loss", *(f"{step},{1 + 50 / step}" for step in steps)]
        place.with_name(f"{stem}.losses.csv").write_text("\n".join(lines) + "\n")
    return place


def change(path: Path, **blocks: dict) -> dict:
    """Change keys of blocks of a results file; return its content."""
    content = json.loads(path.read_text())
    for block, keys in blocks.items():
        content[block] |= keys
    path.write_text(json.dumps(content))
    return content


def _cells(method, variant, split, quality, given):
    """Return stems, groups and confusions of a split's test cells."""
    fold = 4 if split.startswith("development") else SLIDES // 2
    if split.startswith("fold"):
        fold = int(split.removeprefix("fold"))
    tested = [2 * fold - 1, 2 * fold]
    stems, groups, matrices = [], [], []
    classes = given["classes"]
    key = zlib.crc32(f"{method}{variant}{given['seed']}".encode())
    for label in range(1, classes):
        for slide in tested:
            # The same method does as well on a slide's cells, whatever the split.
            random = np.random.default_rng([key, label, slide])
            shared = np.clip(quality + random.normal(0, 0.08), 0.05, 0.99)
            for number in range(1, given["per_slide"] + 1):
                share = np.clip(shared + random.normal(0, 0.03), 0.02, 0.995)
                matrix = np.zeros((classes, classes), np.int64)
                size = 600 + 40 * number + 10 * label
                right = int(size * share)
                other = label % (classes - 1) + 1 if classes > 2 else 0
                matrix[label, label] = right
                matrix[label, 0] += (size - right) // 2
                matrix[label, other] += size - right - (size - right) // 2
                matrix[0, label] = int(60 * (1 - share))
                matrix[0, 0] = PIXELS - size - matrix[0, label]
                stems.append(f"cell_{label}_{slide}_{number}")
                groups.append(f"{label}_{slide}")
                matrices.append(matrix)
    return np.array(stems), np.array(groups), np.array(matrices)


def write_many(results: Path) -> None:
    """Write a comparison with something for every section of the report."""
    folds = [f"fold{k}" for k in range(1, 6)]
    kept = [
        ("cbam_unet", "B", 0.86),
        ("cbam_unet", None, 0.9),
        ("unet_vgg16", "B", 0.8),
    ]
    for order, (method, variant, quality) in enumerate(kept):
        for fold in folds:
            how = dict(quality=quality, split=fold, gmacs=30.0 + order)
            write_run(results, method, variant, losses=fold == "fold5", **how)
    singles = ["deeplabv3plus_r50", "pspnet_r50", "segnet", "fcn_r50", "unet"]
    for order, method in enumerate(singles):
        for variant in ("A", "B"):
            how = dict(quality=0.6 + 0.04 * order, gmacs=40.0 + 5 * order)
            write_run(results, method, variant, **how)
    for name in ("none", "cbam", "retinex", "retinex_cbam", "cbam_dice_focal"):
        write_run(results, "unet_vgg16", name, quality=0.7 + 0.02 * len(name))
    write_run(results, "cbam_unet_resnet50", "B", quality=0.82)
    for split in ("paper", "paper_mosaics"):
        write_run(results, "cbam_unet", split=split, quality=0.97)
    write_run(results, "cbam_unet", "i300", iterations=300, quality=0.84)
    write_run(results, "cbam_unet", split="fold5", seed=1, train_groups=20)
    for method, variant, quality in (kept[0], kept[2]):
        write_run(results, method, variant, quality=quality, seed=1)
    for n in (3, 4):
        write_run(results, "cbam_unet", folder=f"half-{n}", n=n, quality=0.85)
    for quality, name in ((0.8, "raw"), (0.84, "stain")):
        write_run(results, "cbam_unet", name, split="development", quality=quality)
    write_run(results, "segnext_t", "i100", iterations=100)
    data = {"robust": "bcisc", "robust-segmentation_wbc_1": "segmentation_wbc_1"}
    for folder, dataset in data.items():
        for method in ("cbam_unet", "unet_vgg16", "wbc_net"):
            how = dict(folder=folder, dataset=dataset, classes=2, n=1, quality=0.95)
            write_run(results, method, "A", **how)
