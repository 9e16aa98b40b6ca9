"""Draw the figures of the paper with a dataset's own cells and your networks.

    python tools/paper/figures.py --out figures

Shown are cells of a split's test part, and only networks that were not trained on
them. Whether figures of real cells may be passed on is up to the dataset's licence.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import figure_drawing as draw
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from leuko_mm.browse import as_rgb
from leuko_mm.classes import CELL_CLASSES, CLASS_NAMES
from leuko_mm.cli.main import WRONG_USE, at_least, exit_code_of
from leuko_mm.comparison.paper_tables import load_published
from leuko_mm.comparison.results import LENGTH
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.composition import compose_every
from leuko_mm.datasets.layouts import lay_grid
from leuko_mm.datasets.leukocyte import (
    LeukocyteDataset,
    build_pipeline,
    with_enhancement,
)
from leuko_mm.datasets.mosaic import TileStore
from leuko_mm.datasets.prepared import dataset_root, is_binary, read_about
from leuko_mm.datasets.sampling import sample_randomness
from leuko_mm.engine.checkpoints import STATE_FILES, load_tensors
from leuko_mm.errors import UsageError, did_you_mean
from leuko_mm.files import refuse_others
from leuko_mm.models.size import build_bare
from leuko_mm.training.config import COMBINATIONS, SAME_AS, SETTINGS, protocol_names
from leuko_mm.training.preflight import draw_synthetic
from leuko_mm.training.sidecar import read_sidecar, training_cells, training_splits

# File and what it is, in the paper's order.
FIGURES = {
    "figure_09_methods.png": "methods, and the cells that each cuts out",
    "figure_10_ablation.png": "the ablation, masks blended over the image",
    "figure_11_counts.png": "4, 9 and 16 cells",
}
ABOUT = "figures.json"
SCHEMA = 1
SHOWN = 3
SIDE = 512  # px of a mosaic, as in the paper
FILL = 230
RETINEX = dict(type="leuko_mm.AHERetinex", reading="hsv")
LOADING = (dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"))
ALL = "all"
# Where a method is there under several settings; an ablation is none of them.
SETTINGS_BY_RANK = ("B", "A", None)

Cells = tuple[int | None, ...]


@dataclass(frozen=True)
class TrainedMethod:
    """A checkpoint with its sidecar.

    ``variant`` (a setting or ablation) and ``protocol`` are those of the file's name;
    ``given`` says whether the user named the file.
    """

    path: Path
    sidecar: Mapping
    variant: str | None
    given: bool
    protocol: str | None = None

    @property
    def method(self) -> str:
        return str(self.sidecar["method"])

    @property
    def training(self) -> tuple[str | None, int, str]:
        """Protocol, iterations and split: what methods must share to be compared."""
        training = self.sidecar.get("training", {})
        length, split = training.get("iterations") or 0, training.get("split")
        return self.protocol, int(length), str(split)

    @property
    def title(self) -> str:
        if self.variant in SETTINGS:
            return f"{self.method}, setting {self.variant}"
        return f"{self.method}, {self.variant}" if self.variant else self.method

    @property
    def combination(self) -> str | None:
        """The row of the ablation that it is, None if it is none."""
        if self.method == "unet_vgg16" and self.variant in COMBINATIONS:
            return self.variant
        return SAME_AS.get((self.method, self.variant))


def find_methods(
    work_dirs: Path, given: Iterable[str], classes: Sequence[str]
) -> list[TrainedMethod]:
    """Return the checkpoints that the user named, then those below ``work_dirs``."""
    named = [_named(Path(path), classes) for path in given]
    known = {found.path.resolve() for found in named}
    states = set(work_dirs.glob(f"*/{STATE_FILES}"))
    found = []
    for path in sorted(set(work_dirs.glob("*/*.pth")) - states):
        sidecar = _loose_sidecar(path)
        if path.resolve() in known or list(sidecar.get("classes", ())) != list(classes):
            continue
        variant, protocol = named_parts(path, sidecar)
        found.append(TrainedMethod(path, sidecar, variant, False, protocol))
    return named + found


def _named(path: Path, classes: Sequence[str]) -> TrainedMethod:
    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist")
    sidecar = read_sidecar(path)
    if not sidecar:
        raise UsageError(
            f"{path} has no {path.with_suffix('.json').name} beside it, which says how "
            "to build its network; copy both from the run's folder"
        )
    if list(sidecar["classes"]) != list(classes):
        raise UsageError(
            f"{path} tells {', '.join(sidecar['classes'])} apart, the dataset has "
            f"{', '.join(classes)}; choose another --dataset or checkpoint"
        )
    variant, protocol = named_parts(path, sidecar)
    return TrainedMethod(path, sidecar, variant, True, protocol)


def _loose_sidecar(path: Path) -> dict:
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(content, dict) and {"method", "config"} <= set(content)
    return content if known else {}


def named_parts(path: Path, sidecar: Mapping) -> tuple[str | None, str | None]:
    """Return variant and protocol of ``<method>[-<variant>][-iN]-<protocol>-...``."""
    rest = path.stem.removeprefix(str(sidecar["method"])).split("-")[1:]
    protocols = set(protocol_names())
    for place, word in enumerate(rest):
        if word in protocols:
            kept = [said for said in rest[:place] if not LENGTH.match(said)]
            return "-".join(kept) or None, word
    return None, None


def unseen(
    methods: Iterable[TrainedMethod], root: Path, stems: set[str]
) -> tuple[list[TrainedMethod], list[str]]:
    """Return the methods that were not trained on a cell that is shown, and notes.

    A checkpoint of another dataset is taken only where the user named it. A note says
    why a method is left out, where no other network of the same method and setting is
    there or the user named it.
    """
    digest, fit, trained_on_some = read_about(root)["sha256"], [], []
    for method in methods:
        here = method.sidecar.get("training", {}).get("sha256") == digest
        seen = training_cells(root, method.sidecar)
        if seen & stems:
            note = (
                f"{method.path}: it was trained on {len(seen & stems)} of the cells "
                f"shown; --split {training_splits(root, method.sidecar)[0]} shows "
                "others"
            )
            trained_on_some.append((method, note))
        elif here or method.given:
            fit.append(method)
    titles = {method.title for method in fit}
    return fit, [n for m, n in trained_on_some if m.given or m.title not in titles]


def paper_columns() -> dict[str, str]:
    """Return the methods of the paper's Fig. 9 and Table 1, and the setting of each."""
    table = next(t for t in load_published()["tables"] if t["table"] == "1")
    return {row["config"]: row["setting"] for row in table["rows"]}


def compared(
    methods: Sequence[TrainedMethod], wanted: Sequence[str], split: str | None
) -> list[TrainedMethod]:
    """Return the networks of Fig. 9: those the user named, then one a method.

    The others come from trainings under one protocol, equally long and on one split:
    those that show the most methods.

    Args:
        methods: that were not trained on the cells shown.
        wanted: names in the order of the columns, or ``all``; none for the paper's,
            each under the paper's setting where it is.
        split: whose cells are shown.
    """
    given = [method for method in methods if method.given]
    named = {method.method for method in given}
    found = [m for m in methods if not m.given and m.method not in named]
    found = [m for m in found if m.protocol and m.variant in SETTINGS_BY_RANK]
    known = {method.method for method in [*found, *given]}
    if not wanted:
        settings = paper_columns()
    elif list(wanted) == [ALL]:
        settings = dict.fromkeys(sorted(known), SETTINGS_BY_RANK[0])
    else:
        settings = dict.fromkeys(wanted, SETTINGS_BY_RANK[0])
        _refuse_missing(wanted, known)

    def rank(method: TrainedMethod) -> tuple[bool, int]:
        other = method.variant != settings[method.method]
        return other, SETTINGS_BY_RANK.index(method.variant)

    found = sorted((m for m in found if m.method in settings), key=rank)
    chosen = trained_alike(found, lambda method: method.method, split)
    return given + [chosen[name] for name in settings if name in chosen]


def ablation(
    methods: Sequence[TrainedMethod], split: str | None
) -> dict[str, TrainedMethod]:
    """Return a run of each row of the ablation, in the paper's order.

    Named ones first; the others are trained alike, see :func:`compared`.
    """
    rows = [method for method in methods if method.combination]
    found = [method for method in rows if not method.given and method.protocol]
    chosen = trained_alike(found, lambda method: method.combination, split)
    chosen |= {m.combination: m for m in reversed(rows) if m.given}
    return {name: chosen[name] for name in COMBINATIONS if name in chosen}


def trained_alike(
    methods: Iterable[TrainedMethod],
    place: Callable[[TrainedMethod], str],
    split: str | None,
) -> dict[str, TrainedMethod]:
    """Return the first network of each place, all of one protocol, length and split.

    Of several such kinds the one that fills the most places; then the one on
    ``split``, then the longest.
    """
    kinds: dict[tuple, dict[str, TrainedMethod]] = defaultdict(dict)
    for method in methods:
        kinds[method.training].setdefault(place(method), method)

    def worth(kind: tuple) -> tuple:
        protocol, iterations, trained_on = kind
        return len(kinds[kind]), trained_on == split, iterations, protocol, trained_on

    return kinds[max(kinds, key=worth)] if kinds else {}


def _refuse_missing(wanted: Iterable[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"there is no checkpoint of {name!r}{did_you_mean(name, known)} that "
                "was not trained on the cells shown. There are: "
                f"{', '.join(sorted(known)) or 'none'}; leuko compare or leuko train "
                "make more"
            )


def load_network(method: TrainedMethod) -> nn.Module:
    """Build a method's network from its sidecar and load its weights."""
    recipe = dict(method.sidecar["config"]["model"])
    model = build_bare(Config(dict(model=recipe)))
    tensors = load_tensors(method.path)
    try:
        model.load_state_dict(tensors.get("state_dict", tensors))
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UsageError(
            f"{method.path} does not fit its sidecar: {reason[:300]}"
        ) from None
    return model.eval()


def segment(
    model: nn.Module, images: Iterable[np.ndarray], side: int
) -> Iterator[np.ndarray]:
    """Yield the labels (side, side) that a network predicts for RGB uint8 images."""
    for number, image in enumerate(images):
        shape = image.shape[:2]
        about = dict(ori_shape=shape, img_shape=shape, pad_shape=shape)
        bgr = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
        batch = dict(
            inputs=[torch.from_numpy(bgr)], data_samples=[SegDataSample(metainfo=about)]
        )
        # One of the networks draws random numbers in its forward pass.
        with (
            torch.no_grad(),
            sample_randomness(0, number),
            warnings.catch_warnings(),
            DefaultScope.overwrite_default_scope("mmseg"),
        ):
            warnings.simplefilter("ignore")
            labels = model.test_step(batch)[0].pred_sem_seg.data[0]
        yield cv2.resize(
            labels.cpu().numpy().astype(np.uint8),
            (side, side),
            interpolation=cv2.INTER_NEAREST_EXACT,
        )


@dataclass(frozen=True)
class Composed:
    """Which cells a mosaic holds: numbers in the stock, None for a spare tile."""

    cells: Cells
    n: int


class CellStock:
    """Test cells of a split, from which mosaics are composed as in training."""

    def __init__(self, name: str, split: str):
        self.split = split
        self.cells = LeukocyteDataset(name, split=split, part="test", test_mode=True)
        self.root = Path(self.cells.root)
        self.infos = [self.cells.get_data_info(i) for i in range(len(self.cells))]
        self._stores: dict[str, TileStore] = {}

    def _store(self, enhance: Mapping | None) -> TileStore:
        key = json.dumps(enhance, sort_keys=True)
        if key not in self._stores:
            steps = build_pipeline(with_enhancement(LOADING, enhance))
            self._stores[key] = TileStore(self.cells, steps)
        return self._stores[key]

    def mosaic(
        self,
        composed: Composed,
        *,
        size: int | None = None,
        enhance: Mapping | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return image RGB (size, size, 3) and labels (size, size) of a mosaic."""
        tile_of = self._store(enhance).tile
        how = dict(n=composed.n, size=size or SIDE, fill=FILL)
        laid = lay_grid(composed.cells, tile_of, **how)
        return as_rgb(laid.image), laid.labels

    def dealt(self, n: int, *, seed: int) -> list[Composed]:
        """Return mosaics that show every cell once, in a random order."""
        dealt = compose_every(len(self.infos), n * n, seed=seed)
        return [Composed(tuple(cells), n) for cells in dealt]

    def of_one_class(self, n: int) -> Composed:
        """Return a mosaic of the class that has most cells, groups mixed."""
        groups = self.by_class()
        numbers = max(groups.values(), key=len)[: n * n]
        return Composed((*numbers, *[None] * (n * n - len(numbers))), n)

    def by_class(self) -> dict[str, list[int]]:
        """Return the cells of each class, one of every group before the second."""
        found: dict[str, list[int]] = {}
        for kind in [c.name for c in CELL_CLASSES]:
            turns: dict[str, int] = {}
            order = []
            for number, info in enumerate(self.infos):
                if info["class_name"] == kind:
                    turn = turns[info["group"]] = turns.get(info["group"], 0) + 1
                    order.append((turn, number))
            if order:
                found[kind] = [number for _, number in sorted(order)]
        return found

    def stems(self, shown: Sequence[Composed]) -> set[str]:
        """Return the names of all cells in mosaics."""
        numbers = {c for composed in shown for c in composed.cells if c is not None}
        return {self.infos[number]["stem"] for number in numbers}


class GatheredFigures:
    """What every figure shows.

    Args:
        stock: the cells that may be shown.
        found: checkpoints; those trained on a cell shown are left out.
        wanted: methods of Fig. 9, see :func:`compared`.
        seed: which cells.
    """

    def __init__(
        self,
        stock: CellStock,
        found: Sequence[TrainedMethod],
        *,
        wanted: Sequence[str] = (),
        seed: int = 0,
    ):
        self.stock = stock
        self.four = stock.dealt(2, seed=seed)[: SHOWN + 1]
        self.rows = {
            f"{n * n} cells": (stock.dealt(n, seed=seed)[0], stock.of_one_class(n))
            for n in (2, 3, 4)
        }
        every = [*self.four, *(c for row in self.rows.values() for c in row)]
        methods, self.left_out = unseen(found, stock.root, stock.stems(every))
        self.compared = compared(methods, wanted, stock.split)
        self.ablation = ablation(methods, stock.split)
        shown = {m.method for m in [*self.compared, *self.ablation.values()]}
        self.others = sorted({m.method for m in methods} - shown)
        self.counted = self._counted()
        self.predictions: dict[tuple[Path, Composed], np.ndarray] = {}

    def _counted(self) -> TrainedMethod | None:
        """Choose the network of Fig. 11: the paper's, or the nearest to it."""
        named = [method for method in self.compared if method.given]
        rows = ("all_three", "cbam_dice_focal")
        paper = [self.ablation[row] for row in rows if row in self.ablation]
        return next(iter([*named, *paper, *self.compared]), None)

    def draw(self) -> dict[str, np.ndarray]:
        """Return every figure, RGB uint8, by file name; fill ``left_out``."""
        self._predict()
        makers = (self._compared, self._ablated, self._counts)
        self._note_missing()
        return {name: make() for name, make in zip(FIGURES, makers, strict=True)}

    def _note_missing(self) -> None:
        missing = [COMBINATIONS[r] for r in COMBINATIONS if r not in self.ablation]
        if not self.compared:
            self.left_out.append(
                "Fig. 9 and 11 show no method: no checkpoint of the wanted ones is "
                "there that was not trained on these cells; leuko compare or leuko "
                "train make some"
            )
        if self.others:
            self.left_out.append(
                f"Other methods that have a checkpoint: {', '.join(self.others)}; "
                "--methods NAME,NAME or --methods all shows those of leuko train and "
                "leuko compare in Fig. 9, --checkpoint FILE any"
            )
        if missing:
            self.left_out.append(
                f"Fig. 10 lacks {len(missing)} of {len(COMBINATIONS)} rows, for want "
                f"of a checkpoint: {'; '.join(missing)}"
            )

    def _predict(self) -> None:
        """Let every network see its mosaics, one network after another."""
        wanted: dict[Path, tuple[TrainedMethod, list[Composed]]] = {}
        for method in self.compared:
            wanted[method.path] = (method, list(self.four[:SHOWN]))
        for method in self.ablation.values():
            more = wanted.setdefault(method.path, (method, []))[1]
            more += [composed for composed in self.four if composed not in more]
        if self.counted:
            rows = [composed for row in self.rows.values() for composed in row]
            wanted[self.counted.path][1].extend(rows)
        for path, (method, mosaics) in wanted.items():
            print(f"{method.title}: {path}", flush=True)
            images = [self._seen(method, composed) for composed in mosaics]
            for composed, labels in zip(
                mosaics, segment(load_network(method), images, SIDE), strict=True
            ):
                self.predictions[path, composed] = labels

    def _seen(self, method: TrainedMethod, composed: Composed) -> np.ndarray:
        """Return a mosaic as a network was trained on such: its scale, its stains."""
        cell = method.sidecar.get("scale", {}).get("cell_px") or SIDE // 2
        enhance = method.sidecar.get("enhance")
        return self.stock.mosaic(composed, size=cell * composed.n, enhance=enhance)[0]

    def _shown(
        self, composed: Composed, methods: Sequence[TrainedMethod]
    ) -> draw.ShownMosaic:
        image, truth = self.stock.mosaic(composed)
        return draw.ShownMosaic(
            image,
            self.stock.mosaic(composed, enhance=RETINEX)[0],
            truth,
            tuple(self.predictions[method.path, composed] for method in methods),
        )

    def _compared(self) -> np.ndarray:
        shown = [self._shown(c, self.compared) for c in self.four[:SHOWN]]
        return draw.methods_figure(shown, [method.title for method in self.compared])

    def _ablated(self) -> np.ndarray:
        methods = list(self.ablation.values())
        shown = [self._shown(composed, methods) for composed in self.four]
        return draw.ablation_figure(shown, [COMBINATIONS[r] for r in self.ablation])

    def _counts(self) -> np.ndarray:
        methods = [self.counted] if self.counted else []
        rows = {
            name: [self._shown(composed, methods) for composed in row]
            for name, row in self.rows.items()
        }
        return draw.counts_figure(rows, self.counted and self.counted.title)

    def about(self) -> dict:
        """Return which data, cells and checkpoints the figures show."""
        stock, infos = self.stock, self.stock.infos

        def named(mosaics: Sequence[Composed]) -> list[list[str | None]]:
            return [
                [None if c is None else infos[c]["stem"] for c in one.cells]
                for one in mosaics
            ]

        about = read_about(stock.root)
        return dict(
            schema=SCHEMA,
            dataset=about["name"],
            sha256=about["sha256"],
            licence=about.get("licence"),
            figures=dict(FIGURES),
            mosaics=named(self.four),
            counts={name: named(row) for name, row in self.rows.items()},
            compared=[_summary(method) for method in self.compared],
            ablation={row: _summary(m) for row, m in self.ablation.items()},
            left_out=self.left_out,
        )


def _summary(method: TrainedMethod) -> dict:
    return dict(
        title=method.title,
        protocol=method.protocol,
        iterations=method.training[1],
        checkpoint=str(method.path),
        sha256=method.sidecar.get("sha256"),
    )


def _write(out: Path, pictures: Mapping[str, np.ndarray], about: Mapping) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            Image.fromarray(picture).save(out / name)
        (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: {error}; choose another --out") from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--dataset", default="bcisc", help="default: bcisc")
    made.add_argument("--split", default="fold5", help="default: fold5")
    made.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="show this network, too; may be given several times",
    )
    made.add_argument(
        "--methods",
        type=lambda text: text.split(","),
        default=[],
        metavar="NAME,NAME",
        help="the networks of Fig. 9, in this order, or all; default: the paper's: "
        "U-Net, DeepLabv3+, PSPNet, CBAM U-Net",
    )
    made.add_argument("--work-dirs", type=Path, default=Path("work_dirs"))
    made.add_argument("--seed", type=at_least(0), default=0, help="which cells")
    made.add_argument("--out", type=Path, default=Path("figures"))
    made.add_argument("--force", action="store_true", help="replace the figures")
    return made


def draw_figures(args: argparse.Namespace) -> list[str]:
    """Write all figures; return a line on everything that is left out."""
    refuse_others(args.out, "figures", (ABOUT, *FIGURES), force=args.force)
    root = dataset_root(args.dataset)
    draw_synthetic(args.dataset)
    quick_check(root, split=args.split)
    if is_binary(root):
        raise UsageError(f"{args.dataset} has leukocytes without their class")
    gathered = GatheredFigures(
        CellStock(args.dataset, args.split),
        find_methods(args.work_dirs, args.checkpoint, CLASS_NAMES),
        wanted=args.methods,
        seed=args.seed,
    )
    pictures = gathered.draw()
    about = {**gathered.about(), "split": args.split, "seed": args.seed}
    _write(args.out, pictures, about)
    return gathered.left_out


def main(argv: list[str] | None = None) -> int:
    """Draw the figures and return the exit code."""
    args = parser().parse_args(argv)
    try:
        left_out = draw_figures(args)
    except Exception as error:
        if exit_code_of(error) is None:
            raise
        print(f"tools/paper/figures.py: {error}", file=sys.stderr)
        return WRONG_USE
    for name in (*FIGURES, ABOUT):
        print(f"written:  {args.out / name}")
    for line in left_out:
        print(f"left out: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
