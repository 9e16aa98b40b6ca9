"""Measure what AHE-Retinex does to the colours of smears, and write the table of it.

    python tools/paper/enhancement_evidence.py --nuclei segmentation_wbc --probe

writes results/enhancement.json with every number, the table and the picture of
synthetic cells of docs/reproduce.md, and to --out the picture of real cells. With
--reuse the numbers of that file are taken, and only what it lacks is measured: to go on
after an interruption, and to put newer runs on the development split into the table.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from enhancement_page import enhancement_table
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.mosaic import resize_tile
from leuko_mm.datasets.prepared import (
    DatasetError,
    IndexRow,
    dataset_root,
    read_about,
    read_index,
    read_nucleus,
    read_split,
)
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.engine.encoder_weights import find_weights
from leuko_mm.files import write_text
from leuko_mm.models.encoders import VGG
from leuko_mm.report.contact_sheet import contact_sheet, write_sheet
from leuko_mm.report.html import put_into
from leuko_mm.training.preflight import draw_synthetic
from leuko_mm.transforms import (
    READINGS,
    RandomCellAffine,
    RetinexParams,
    StainJitter,
    enhance_image,
    equalise_value,
)
from leuko_mm.transforms.ahe_retinex import in_windows
from leuko_mm.transforms.retinex import PRESETS

ROOT = Path(__file__).resolve().parents[2]
Method = Callable[[np.ndarray], np.ndarray]
RAW = "raw"
CLAHE = "CLAHE on V"
# An image-driven stretch cancels gain and offset, so that these give what another
# preset gives.
SAME_AS_PERCENTILE = ("gain_5", "gain_192")
SHOWN = (RAW, CLAHE, "grey world", "Reinhard", "hsv", "hsv_all", "rgb")
PROBED = (RAW, CLAHE, "grey world", "Reinhard", "hsv", "hsv_all", "rgb")
RUNS = "half/cbam_unet*-development-s0.json"
VARIANTS = (None, "raw", "hsv", "hsv_all", "rgb", "clahe")
PICTURE = "images/enhancement.jpg"
MARK = "enhancement"
RESULT = "results/enhancement.json"

# Regions. Pixels beside an outline that belong to neither side of it.
HALO = 7
EDGE = 2
RING = (1, 6)
# Grey levels of green between red cells and background; less is no red cell.
LEAST_CONTRAST = 15
LEAST_PIXELS = 200
COLOURED = ("background", "red cells", "leukocyte", "nucleus", "cytoplasm")
OF_CLASSES = ("leukocyte", "nucleus", "cytoplasm")
MOST_PIXELS = 3000

# The linear probe.
PROBE_SIDE = 128
COPIES = 6
BATCH = 16
STRENGTHS = (1e-4, 1e-3, 1e-2)
# Fold 5 stays unseen, as in every choice that is made on BCISC.
FOLDS = ("fold1", "fold2", "fold3", "fold4")
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def smear_regions(
    image: np.ndarray, cell: np.ndarray, nucleus: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Find background, red cells and the leukocyte of an image that holds one.

    Haemoglobin absorbs green, so outside the leukocyte (and 7 pixels around it) the
    green channel is cut in two by Otsu's threshold: below are red cells, above is
    background, each without the 2 pixels along the cut. Where the two differ by less
    than 15 levels there is no red cell, and all is background. What else lies there,
    platelets and pieces of other leukocytes, counts as red cells: take medians.

    Args:
        image: RGB as taken, uint8.
        cell: the leukocyte, bool.
        nucleus: its nucleus, bool, where that is known.

    Shape:
        (H, W, 3), (H, W), (H, W) -> name to (H, W) bool: ``background``,
        ``red cells``, ``leukocyte``, ``inside`` and ``outside`` (2 to 6 pixels from
        the outline), with a nucleus also ``nucleus`` and ``cytoplasm``. Regions of
        fewer than 200 pixels are left out.
    """
    cell = np.asarray(cell, bool)
    around = ~_grown(cell, HALO)
    near, far = RING
    found = {
        "leukocyte": cell,
        "inside": _shrunk(cell, near) & ~_shrunk(cell, far),
        "outside": _grown(cell, far) & ~_grown(cell, near),
        **_red_and_background(image[..., 1], around),
    }
    if nucleus is not None:
        nucleus = np.asarray(nucleus, bool) & cell
        found["nucleus"] = _shrunk(nucleus, EDGE)
        found["cytoplasm"] = _shrunk(cell, EDGE) & ~_grown(nucleus, EDGE)
    return {name: place for name, place in found.items() if place.sum() >= LEAST_PIXELS}


def _red_and_background(green: np.ndarray, around: np.ndarray) -> dict[str, np.ndarray]:
    levels = green[around]
    if levels.size < LEAST_PIXELS:
        return {}
    cut, _ = cv2.threshold(levels[None], 0, 255, cv2.THRESH_OTSU)
    bright = levels > cut
    flat = bright.all() or not bright.any()
    if flat or levels[bright].mean() - levels[~bright].mean() < LEAST_CONTRAST:
        return {"background": around}
    return {
        "background": _shrunk(green > cut, EDGE) & around,
        "red cells": _shrunk(green <= cut, EDGE) & around,
    }


def _grown(place: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(place.astype(np.uint8), _disc(pixels)).astype(bool)


def _shrunk(place: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.erode(place.astype(np.uint8), _disc(pixels)).astype(bool)


def _disc(radius: int) -> np.ndarray:
    side = 2 * radius + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def cielab(pixels: np.ndarray) -> np.ndarray:
    """Return sRGB colours as CIELAB (D65): L 0 to 100, a and b about -100 to 100.

    Shape:
        (N, 3) uint8 RGB -> (N, 3) float64.
    """
    scaled = np.ascontiguousarray(pixels)[:, None].astype(np.float32) / 255
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[:, 0].astype(np.float64)


def spread(colours: np.ndarray) -> float:
    """Return the root mean square distance of colours from their mean.

    The distance is the Euclidean one (CIE 1976); about 2.3 is just noticeable.

    Shape:
        (N, 3) -> a number; NaN without a colour.
    """
    colours = np.asarray(colours, np.float64)
    if len(colours) == 0:
        return float("nan")
    off = colours - colours.mean(axis=0)
    return float(np.sqrt((off**2).sum(axis=1).mean()))


@dataclass(frozen=True)
class ClassSpread:
    """Spread of one colour a slide, where every slide shows one class.

    Attributes:
        between_slides: root mean square distance of slides from the mean of their
            class, classes weighing the same.
        between_classes: the same of the classes' means from the mean of them all.
    """

    between_slides: float
    between_classes: float

    @property
    def separability(self) -> float:
        """How many times the classes differ by more than their slides do."""
        if self.between_slides == 0:
            return float("inf") if self.between_classes else float("nan")
        return self.between_classes / self.between_slides


def class_spread(colours: np.ndarray, classes: Sequence[str]) -> ClassSpread:
    """Divide the spread of slides' colours into that within and between classes.

    Args:
        colours: one a slide.
        classes: the class of each.

    Shape:
        (N, 3), N names.
    """
    colours, classes = np.asarray(colours, np.float64), np.asarray(classes)
    if len(colours) != len(classes) or len(colours) == 0:
        raise ValueError(
            f"{len(colours)} colours and {len(classes)} classes; expected as many, "
            "one or more"
        )
    members = [colours[classes == name] for name in np.unique(classes)]
    within = np.mean([spread(group) ** 2 for group in members])
    return ClassSpread(
        between_slides=float(np.sqrt(within)),
        between_classes=spread([group.mean(axis=0) for group in members]),
    )


def retinex_methods() -> dict[str, Method]:
    """Return every reading with every preset, the default ones by the reading alone."""
    return {
        method_name(reading, preset): partial(
            enhance_image, reading=reading, params=RetinexParams.preset(preset)
        )
        for preset in PRESETS
        if preset not in SAME_AS_PERCENTILE
        for reading in READINGS
    }


def method_name(reading: str, preset: str) -> str:
    """Return the name that a reading with a preset goes by on the page."""
    return reading if preset == "default" else f"{reading}, {preset}"


def other_methods(target: np.ndarray) -> dict[str, Method]:
    """Return what AHE-Retinex competes with; stain normalisation if it is installed.

    Args:
        target: the image that stain normalisation makes others look like, uint8 RGB.
    """
    found: dict[str, Method] = {
        RAW: np.asarray,
        CLAHE: lambda image: in_windows(image, equalise_value),
        "grey world": grey_world,
    }
    try:
        from torchstain.base.normalizers import MacenkoNormalizer, ReinhardNormalizer
    except ImportError:
        return found
    reinhard = ReinhardNormalizer(backend="numpy")
    macenko = MacenkoNormalizer(backend="numpy")
    for normaliser in (reinhard, macenko):
        normaliser.fit(target)
    found["Reinhard"] = reinhard.normalize
    found["Macenko"] = lambda image: macenko.normalize(image, stains=False)[0]
    return found


def grey_world(image: np.ndarray) -> np.ndarray:
    """Scale R, G and B so that the image's mean is grey."""
    means = image.reshape(-1, 3).mean(axis=0)
    scaled = image * (means.mean() / np.maximum(means, 1))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def most_usual(images: Sequence[np.ndarray]) -> int:
    """Return the place of the image whose mean colour is nearest to that of all.

    Args:
        images: uint8 RGB.
    """
    means = np.array([cielab(i[::4, ::4].reshape(-1, 3)).mean(axis=0) for i in images])
    return int(np.argmin(((means - means.mean(axis=0)) ** 2).sum(axis=1)))


def colour_evidence(
    root: Path,
    methods: Mapping[str, Method],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Return the spread of colours between slides, per method and region.

    The regions are found once, on the image as taken, so that every method is judged
    on the same pixels. A region's colour in an image is the median of its CIELAB
    values; a slide's colour is the mean of its images'.

    Args:
        root: a prepared dataset.
        methods: functions from (H, W, 3) uint8 RGB to the same, by name.
        progress: called with the images done and their number.

    Returns:
        ``dataset``, ``sha256``, ``images``, ``slides`` and ``methods``: for each a
        dict with a dict for every region (``slides``, ``spread``; for parts of
        leukocytes ``between_slides`` within a class, ``between_classes`` and
        ``separability``), ``border`` (CIELAB distance over the cell's outline),
        ``grain`` (median distance of background pixels from their median),
        ``border_to_grain``, and ``failed`` (images that the method could not do).
    """
    rows = [row for row in read_index(root) if row.kind == "cell"]
    found = {name: _Collected() for name in methods}
    for i, row in enumerate(rows):
        if progress:
            progress(i, len(rows))
        image, regions = read_cell(root, row)
        places = {name: _pixels(place) for name, place in regions.items()}
        for name, method in methods.items():
            try:
                enhanced = method(image)
            # A method of another library may meet an image that it cannot do.
            except (ValueError, np.linalg.LinAlgError):
                found[name].failed += 1
                continue
            found[name].add(enhanced, places, row)
    about = read_about(root)
    return dict(
        dataset=about["name"],
        sha256=about["sha256"],
        images=len(rows),
        slides=len({row.group for row in rows}),
        methods={name: one.summary() for name, one in found.items()},
    )


def read_cell(root: Path, row: IndexRow) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a cell's image, uint8 RGB, and its regions (see ``smear_regions``)."""
    image = read_image(Path(root) / row.image)
    with Image.open(Path(root) / row.mask) as mask:
        labels = np.array(mask)
    cell = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    return image, smear_regions(image, cell, read_nucleus(root, row))


def _pixels(place: np.ndarray) -> np.ndarray:
    """Return flat indices of a region, evenly thinned to a number that is enough."""
    indices = np.flatnonzero(place)
    return indices[:: max(1, len(indices) // MOST_PIXELS)]


class _Collected:
    """What one method did to every image."""

    def __init__(self) -> None:
        self.colours: dict[str, dict] = {name: defaultdict(list) for name in COLOURED}
        self.classes: dict[str, str] = {}
        self.border: list[float] = []
        self.grain: list[float] = []
        self.failed = 0

    def add(
        self, image: np.ndarray, places: Mapping[str, np.ndarray], row: IndexRow
    ) -> None:
        """Take in one enhanced image."""
        flat = image.reshape(-1, 3)
        labs = {name: cielab(flat[place]) for name, place in places.items()}
        medians = {name: np.median(lab, axis=0) for name, lab in labs.items()}
        self.classes[row.group] = row.class_name
        for name in COLOURED:
            if name in medians:
                self.colours[name][row.group].append(medians[name])
        if {"inside", "outside"} <= set(medians):
            step = medians["inside"] - medians["outside"]
            self.border.append(float(np.linalg.norm(step)))
        if "background" in labs:
            off = labs["background"] - medians["background"]
            self.grain.append(float(np.median(np.linalg.norm(off, axis=1))))

    def summary(self) -> dict:
        """Return the numbers of ``colour_evidence`` for this method."""
        out: dict = {"failed": self.failed}
        for name, of_slide in self.colours.items():
            if not of_slide:
                continue
            colours = np.array([np.mean(c, axis=0) for c in of_slide.values()])
            out[name] = dict(slides=len(colours), spread=spread(colours))
            if name in OF_CLASSES:
                divided = class_spread(colours, [self.classes[g] for g in of_slide])
                out[name].update(
                    between_slides=divided.between_slides,
                    between_classes=divided.between_classes,
                    separability=divided.separability,
                )
        border = float(np.mean(self.border)) if self.border else float("nan")
        grain = float(np.mean(self.grain)) if self.grain else float("nan")
        ratio = border / grain if grain > 0 else float("nan")
        return {**out, "border": border, "grain": grain, "border_to_grain": ratio}


@dataclass(frozen=True)
class ProbeCells:
    """Enhanced cells, uint8 RGB, with masks, classes and the fold that tests each."""

    images: list[np.ndarray]
    masks: list[np.ndarray]
    classes: np.ndarray
    folds: np.ndarray


def probe(root: Path, method: Method, *, encoder: Callable | None = None) -> dict:
    """Return the share of cells whose class is found on slides not trained on.

    One training of a network moves by points from seed to seed; logistic regression on
    the frozen features of an ImageNet VGG16 has one solution. It says how much of the
    class such an encoder can read off, not how a trained network does.

    Every fold's cells are judged by a logistic regression on the other folds' cells:
    means and standard deviations, over the cell, of VGG16's last three maps. Trained
    on are each cell and six copies of it, turned, scaled and recoloured.

    Args:
        root: a prepared dataset with the splits ``fold1`` to ``fold5``.
        method: the enhancement.
        encoder: from (B, 3, H, W) to maps; None takes VGG16 with ImageNet weights.

    Returns:
        ``cells``, and ``accuracy``: percent for each inverse strength of the
        regression's penalty.
    """
    cells = probe_cells(root, method)
    maps_of = encoder or imagenet_vgg()
    np.random.seed(0)  # what the augmentation draws from
    as_is = np.concatenate(list(_features(cells, maps_of, changed=False)))
    copies = [
        np.concatenate(list(_features(cells, maps_of, changed=True)))
        for _ in range(COPIES)
    ]
    accuracy = {}
    for strength in STRENGTHS:
        right = np.zeros(len(cells.classes), bool)
        for fold in np.unique(cells.folds):
            test = cells.folds == fold
            seen = np.concatenate([part[~test] for part in (as_is, *copies)])
            classes = np.tile(cells.classes[~test], 1 + COPIES)
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=strength, max_iter=300)
            ).fit(seen, classes)
            right[test] = model.predict(as_is[test]) == cells.classes[test]
        accuracy[f"{strength:g}"] = float(100 * right.mean())
    return dict(cells=len(cells.classes), accuracy=accuracy)


def probe_cells(root: Path, method: Method) -> ProbeCells:
    """Return the enhanced cells of folds 1 to 4."""
    fold_of = {
        stem: fold
        for fold in FOLDS
        for stem, part in read_split(root, fold).items()
        if part == "test"
    }
    rows = [row for row in read_index(root) if row.stem in fold_of]
    masks = []
    for row in rows:
        with Image.open(Path(root) / row.mask) as mask:
            masks.append((np.array(mask) > 0).astype(np.uint8))
    return ProbeCells(
        images=[method(read_image(Path(root) / row.image)) for row in rows],
        masks=masks,
        classes=np.array([row.class_name for row in rows]),
        folds=np.array([fold_of[row.stem] for row in rows]),
    )


def imagenet_vgg() -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Return VGG16 with ImageNet weights as a function from a batch to its maps."""
    network = VGG(depth=16)
    weights = load_tensors(find_weights("vgg16"))
    wanted = network.state_dict()
    network.load_state_dict({key: weights[key].float() for key in wanted})
    return network.eval().to(memory_format=torch.channels_last)


def _features(
    cells: ProbeCells, maps_of: Callable, *, changed: bool
) -> Iterator[np.ndarray]:
    affine, stain = RandomCellAffine(), StainJitter()
    for begin in range(0, len(cells.images), BATCH):
        images, masks = [], []
        for i in range(begin, min(begin + BATCH, len(cells.images))):
            cell = cells.images[i], cells.masks[i]
            image, mask = resize_tile(*cell, PROBE_SIDE, PROBE_SIDE)
            if changed:
                sample = dict(img=image, gt_seg_map=mask, seg_fields=["gt_seg_map"])
                sample = stain.transform(affine.transform(sample))
                image, mask = sample["img"], sample["gt_seg_map"]
            images.append(image)
            masks.append(mask == 1)
        yield _pooled(np.stack(images), np.stack(masks), maps_of)


def _pooled(images: np.ndarray, masks: np.ndarray, maps_of: Callable) -> np.ndarray:
    """Return (B, features) of (B, H, W, 3) images and (B, H, W) masks."""
    batch = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    batch = torch.from_numpy(batch).permute(0, 3, 1, 2)
    inside = torch.from_numpy(masks.astype(np.float32))[:, None]
    # Half the digits cost a third of the time, and are enough to rank methods.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        maps = maps_of(batch.contiguous(memory_format=torch.channels_last))
    pooled = []
    for one in (level.float() for level in maps[-3:]):
        weight = torch.nn.functional.adaptive_avg_pool2d(inside, one.shape[-2:])
        weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)
        mean = (one * weight).sum((2, 3))
        off = (one - mean[:, :, None, None]) ** 2
        pooled += [mean, (off * weight).sum((2, 3)).sqrt()]
    return torch.cat(pooled, dim=1).numpy()


def measure(args: argparse.Namespace, found: dict, save: Callable) -> None:
    """Add to the numbers what is asked for and not among them, saving each at once."""
    root = dataset_root(args.data)
    sources = {"colour": root}
    if args.nuclei:
        sources["nuclei"] = dataset_root(args.nuclei)
    for key, source in sources.items():
        known = found.get(key, {}).get("methods", {})
        methods = methods_for(source)
        lacking = {name: m for name, m in methods.items() if name not in known}
        if lacking:
            found[key] = colour_evidence(source, lacking, progress=show)
            measured = {**known, **found[key]["methods"]}
            # In the order of the methods, whenever each was measured.
            order = sorted(measured, key=list({**methods, **measured}).index)
            found[key]["methods"] = {name: measured[name] for name in order}
            save(found)
    if args.probe:
        probed = found.setdefault("probe", {})
        methods = methods_for(root)
        for name in (name for name in PROBED if name in methods and name not in probed):
            probed[name] = probe(root, methods[name])
            print(f"probe {name}: {probed[name]['accuracy']}", flush=True)
            save(found)


def methods_for(root: Path) -> dict:
    """Return every method, stain normalisation fitted to the dataset's usual image."""
    rows = [row for row in read_index(root) if row.kind == "cell"]
    images = [read_image(root / row.image) for row in rows]
    return {**other_methods(images[most_usual(images)]), **retinex_methods()}


def about() -> dict:
    """Return what was run, when, and with which libraries."""
    versions = {}
    for name in ("numpy", "opencv-python", "torchstain"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    words = [a for a in sys.argv[1:] if a != "--reuse"]
    for flag in ("--root", "--out"):  # where it is written is no matter
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    command = shlex.join(["python", "tools/paper/enhancement_evidence.py", *words])
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return dict(command=command, date=date, libraries=versions)


def without_nan(value):
    """Return the same with None for what is no finite number: JSON has none."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show(done: int, total: int) -> None:
    """Print a line now and then."""
    if done % 20 == 0:
        print(f"{done} of {total} images", flush=True)


def sheet(name: str, out: Path) -> None:
    """Write one cell of each class, each from a slide of its own, by every method."""
    root = dataset_root(name)
    rows = [row for row in read_index(root) if row.kind == "cell"]
    chosen = []
    for i, kind in enumerate(sorted({row.class_name for row in rows})):
        of_class = [row for row in rows if row.class_name == kind]
        groups = sorted({row.group for row in of_class})
        chosen.append(next(r for r in of_class if r.group == groups[i % len(groups)]))
    methods = {n: m for n, m in methods_for(root).items() if n in SHOWN}
    images = [read_image(root / row.image) for row in chosen]
    pictures = [method(image) for image in images for method in methods.values()]
    captions = [
        f"{row.class_name}, {method}" if method == RAW else method
        for row in chosen
        for method in methods
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    page = contact_sheet(pictures, captions, columns=len(methods), tile=150)
    write_sheet(out, page)


def published_runs(results: Path) -> list[dict]:
    """Return the trainings on the development split, in the order of VARIANTS.

    Of several lengths of training, the one that most variants were trained for.
    """
    found = []
    for path in sorted(results.glob(RUNS)):
        run = json.loads(path.read_text(encoding="utf-8"))
        iterations = run["run"]["iterations"]
        # ``--iterations`` appends the number to the name.
        words = (run["run"]["variant"] or "").split("-")
        variant = "-".join(w for w in words if w != f"i{iterations}") or None
        if run["run"]["method"] == "cbam_unet" and variant in VARIANTS:
            found.append(
                dict(
                    variant=variant,
                    iterations=iterations,
                    metrics=run["metrics"],
                )
            )
    lengths = Counter(run["iterations"] for run in found)
    chosen = max(lengths, key=lambda length: (lengths[length], length), default=None)
    same = [run for run in found if run["iterations"] == chosen]
    return sorted(same, key=lambda run: VARIANTS.index(run["variant"]))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--data", default="bcisc", help="prepared dataset with slides")
    made.add_argument("--nuclei", help="prepared dataset with nuclei")
    made.add_argument("--synthetic", default="synthetic", help="for the page's picture")
    made.add_argument("--probe", action="store_true", help="linear probe too (slow)")
    made.add_argument("--reuse", action="store_true", help=f"add to {RESULT}")
    made.add_argument("--root", type=Path, default=ROOT, help="where docs/ is written")
    made.add_argument("--out", type=Path, default=Path("work_dirs/enhancement"))
    return made


def main(argv: list[str] | None = None) -> int:
    """Measure, and write table, pictures and numbers."""
    args = parser().parse_args(argv)
    cv2.setNumThreads(1)
    page = args.root / "docs" / "reproduce.md"
    put_into(page.read_text(encoding="utf-8"), MARK, "")
    file = args.root / RESULT
    file.parent.mkdir(parents=True, exist_ok=True)

    def save(found: dict) -> None:
        write_text(file, json.dumps(without_nan(found), indent=1) + "\n")

    try:
        draw_synthetic(args.synthetic)
        # What is missing is named before minutes of measuring.
        for name in filter(None, (args.data, args.nuclei, args.synthetic)):
            read_index(dataset_root(name))
        found = {"about": about()}
        if args.reuse:
            found = json.loads(file.read_text(encoding="utf-8"))
        measure(args, found, save)
        found = without_nan(found)
        sheet(args.data, args.out / "cells.jpg")
        sheet(args.synthetic, args.root / "docs" / PICTURE)
    except (DatasetError, FileNotFoundError) as error:
        print(f"tools/paper/enhancement_evidence.py: {error}", file=sys.stderr)
        return 2
    text = enhancement_table(found, published_runs(args.root / "results"))
    write_text(page, put_into(page.read_text(encoding="utf-8"), MARK, text))
    print(f"{page} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
