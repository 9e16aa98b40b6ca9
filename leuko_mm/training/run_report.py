"""The page and the pictures of a finished run."""

from __future__ import annotations

import copy
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from PIL import Image
from torch.utils.data import Dataset

from leuko_mm.classes import BACKGROUND, CLASSES, OTHER
from leuko_mm.engine.runner import unwrapped
from leuko_mm.engine.staged_freeze import StagedFreezeHook
from leuko_mm.evaluation.cell_scores import cell_dice, majority_classes
from leuko_mm.evaluation.confusion import MEAN_OF, merge_leukocytes, scores
from leuko_mm.evaluation.metric import CELLS_FILE, Cells, load_cells
from leuko_mm.files import write_text
from leuko_mm.inference.cells import wilson_interval
from leuko_mm.models.cell_class_head import CellClassHead
from leuko_mm.progress import duration
from leuko_mm.registry import DATASETS
from leuko_mm.report.overlay import truth_against_prediction
from leuko_mm.report.plots import loss_curve
from leuko_mm.report.run_page import (
    CellCard,
    ClassLabel,
    ClassRow,
    FactGroup,
    FileLink,
    Headline,
    LossHistory,
    MeanRow,
    PixelRow,
    RunReport,
    render_run_report,
)

REPORT_FILE = "report.html"
SHOWN_IMAGES = 4  # drawn whole, beside their truth
WORST, BEST = 10, 6  # cells that are shown
SCORED = (
    "What the training ended with is what is scored: no checkpoint is picked on test "
    "cells."
)
CLOSING = "For research, not for diagnosis."
# Files that a run leaves, in the order of their use, and what they hold.
FILES = (
    ("results.json", "every number of this page, for programs"),
    ("table.md", "the table of scores as text"),
    ("cells.npz", "confusion matrix of every test cell"),
    ("calibration.json", "how far the confidence of its answers can be believed"),
    ("metrics.json", "what the evaluator wrote"),
    ("loss.png", "the loss curve"),
)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PredictedImage:
    """A test image with its truth and its prediction, all of one size.

    Args:
        image: (H, W, 3), as taken, uint8 RGB.
        enhanced: (H, W, 3), as the model saw it; None without an enhancement.
        truth, prediction: (H, W) uint8 class ids.
        boxes: x0, y0, x1, y1 of each cell's tile, ends excluded.
    """

    image: np.ndarray
    enhanced: np.ndarray | None
    truth: np.ndarray
    prediction: np.ndarray
    boxes: tuple[Box, ...]

    def cell(self, number: int) -> PredictedImage:
        """Return one cell's tile of every array."""
        x0, y0, x1, y1 = self.boxes[number]
        tile = np.s_[y0:y1, x0:x1]
        return PredictedImage(
            image=self.image[tile],
            enhanced=None if self.enhanced is None else self.enhanced[tile],
            truth=self.truth[tile],
            prediction=self.prediction[tile],
            boxes=((0, 0, x1 - x0, y1 - y0),),
        )


def predict_images(runner: Runner, indices: Iterable[int]) -> dict[int, PredictedImage]:
    """Segment some test images, each once; return them by their index."""
    plain = _without_enhancement(runner)
    runner.model.eval()
    return {index: _predict(runner, plain, index) for index in sorted(set(indices))}


def _predict(runner: Runner, plain: Dataset | None, index: int) -> PredictedImage:
    batch = pseudo_collate([runner.test_dataloader.dataset[index]])
    with torch.no_grad():
        sample = runner.model.test_step(batch)[0]
    truth = sample.gt_sem_seg.data[0].cpu().numpy().astype(np.uint8)
    image, enhanced = _rgb(batch, truth.shape), None
    if plain is not None:
        image, enhanced = _rgb(pseudo_collate([plain[index]]), truth.shape), image
    return PredictedImage(
        image=image,
        enhanced=enhanced,
        truth=truth,
        prediction=sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8),
        boxes=cell_boxes(sample, truth.shape),
    )


def _rgb(batch: dict, shape: tuple[int, int]) -> np.ndarray:
    """Return the first input of a batch as RGB in the mask's size; mmcv loads BGR."""
    image = batch["inputs"][0].numpy()  # (3, H, W)
    image = np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])
    if image.shape[:2] == shape:
        return image
    # A test pipeline may resize the image, while its mask keeps the published size.
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)


def _without_enhancement(runner: Runner) -> Dataset | None:
    """Return the test dataset with the images as taken, if they were enhanced."""
    config = copy.deepcopy(runner.cfg.test_dataloader.dataset)
    if not config.get("enhance"):
        return None
    config["enhance"] = None
    return DATASETS.build(config)


def cell_boxes(sample: BaseDataElement, shape: tuple[int, int]) -> tuple[Box, ...]:
    """Return the tile of every cell in a sample: the whole image if it is no mosaic."""
    tiles = sample.metainfo.get("tiles")
    if tiles is None:
        return ((0, 0, shape[1], shape[0]),)
    return tuple(tuple(tile["box"]) for tile in tiles)


def locate_cells(
    dataset: Dataset, stems: Sequence[str]
) -> list[tuple[int, int] | None]:
    """Return image index and tile number of test cells, None for one that is not there.

    ``stems`` are in the order of the test; a name may repeat.
    """
    places: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
    for index in range(len(dataset)):
        for number, stem in enumerate(_stems_of(dataset, index)):
            places[stem].append((index, number))
    return [places[stem].popleft() if places[stem] else None for stem in stems]


def _stems_of(dataset: Dataset, index: int) -> list[str]:
    if hasattr(dataset, "cells_of"):
        cells = [cell for cell in dataset.cells_of(index) if cell is not None]
        return [dataset.cells.get_data_info(cell)["stem"] for cell in cells]
    info = dataset.get_data_info(index)
    return [info.get("stem") or Path(info["img_path"]).stem]


def draw_pictures(
    runner: Runner, work_dir: Path, predictions: Mapping[int, PredictedImage]
) -> None:
    """Write ``loss.png``, and ``overlays/<i>.png`` of the first images."""
    dataset = runner.test_dataloader.dataset
    (work_dir / "overlays").mkdir(parents=True, exist_ok=True)
    colours = [tuple(colour) for colour in dataset.metainfo["palette"]]
    legend = dict(zip(dataset.metainfo["classes"], colours, strict=True))
    for index in range(min(SHOWN_IMAGES, len(dataset))):
        shown = predictions[index]
        picture = truth_against_prediction(
            shown.image,
            shown.truth,
            shown.prediction,
            enhanced=shown.enhanced,
            title=f"test image {index + 1} of {len(dataset)}",
            legend=legend,
        )
        path = work_dir / "overlays" / f"{index + 1:02d}.png"
        # Half the time of the default, for files that are a twentieth larger.
        Image.fromarray(picture).save(path, compress_level=4)
    history = read_losses(work_dir)
    if history:
        loss_curve(
            list(history),
            list(history.values()),
            out=work_dir / "loss.png",
            marks=thaw_marks(runner),
            title=work_dir.name,
        )


def thaw_marks(runner: Runner) -> dict[int, str]:
    """Return what happened at which iteration of the training, for its curve."""
    return {
        hook.iters: "encoder thawed"
        for hook in runner.hooks
        if isinstance(hook, StagedFreezeHook) and hook.iters and hook.acts
    }


def read_losses(work_dir: Path) -> dict[int, float]:
    """Return {iteration: loss} from the logs of a run; of two logs the later counts.

    Lines that a full disk or a lost machine has cut short are left out.
    """
    losses: dict[int, float] = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "loss" in entry:
                losses[int(entry["step"])] = float(entry["loss"])
    return dict(sorted(losses.items()))


def show_run(
    runner: Runner,
    config: Config,
    results: Mapping,
    *,
    tested: bool,
    remark: str | None = None,
) -> None:
    """Draw a run's pictures and write its page; the model sees each image once.

    ``tested``: whether the run only tests a checkpoint; ``remark``: on the data.
    """
    work_dir = Path(config.work_dir)
    dataset = runner.test_dataloader.dataset
    cells = load_cells(work_dir / CELLS_FILE)
    labels = class_labels(dataset.metainfo)
    whole = names_cells(runner)
    if whole:
        labels = (replace(labels[0], name=OTHER, short=OTHER), *labels[1:])
    chosen = choose_cells(cells.confusion)
    found = locate_cells(dataset, cells.stem.tolist())
    places = {cell.row: found[cell.row] for cell in chosen if found[cell.row]}
    drawn = {index for index, _ in places.values()}
    first = range(min(SHOWN_IMAGES, len(dataset)))
    images = predict_images(runner, {*first, *drawn})
    draw_pictures(runner, work_dir, images)
    pictures = {row: images[i].cell(number) for row, (i, number) in places.items()}
    metrics, confusion = results["metrics"], np.array(results["confusion"])
    page = RunReport(
        name=results["run"]["name"],
        summary=" ".join(filter(None, [summary_of(results, tested=tested), remark])),
        headlines=headlines(results, cells, whole=whole),
        classes=labels,
        rows=class_rows(results["per_class"], cells, labels, whole=whole),
        means=(
            MeanRow("mean", {score: metrics[key] for key, score in MEAN_OF.items()}),
            MeanRow(f"mean without {labels[0].name}", {"iou": metrics["mIoU_fg"]}),
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confusion_percent=row_percent(confusion),
        loss=loss_history(runner, work_dir),
        cells=cell_cards(cells, chosen, pictures, labels, whole=whole),
        cell_count=len(cells.stem),
        facts=fact_groups(results, tested=tested),
        files=files_beside(work_dir),
        closing=CLOSING if tested else f"{SCORED} {CLOSING}",
        whole=whole,
    )
    write_text(work_dir / REPORT_FILE, render_run_report(page))


def summary_of(results: Mapping, *, tested: bool) -> str:
    """Say in a sentence what was trained or tested on what."""
    run, data = results["run"], results["data"]
    split = f"split {run['split']}" if run["split"] else "every cell"
    where = f"{data['dataset']}, {split}"
    under = f" under the protocol {run['protocol']}" if run["protocol"] else ""
    if tested:
        return f"{_method(run)}, from a checkpoint, tested{under} on {where}."
    return (
        f"{_method(run)}, trained{under} on {where}, seed {run['seed']}: "
        f"{run['iterations']} iterations in {duration(run['wall_s'])} on "
        f"{run['device']}."
    )


def _method(run: Mapping) -> str:
    return " ".join(str(run[key]) for key in ("method", "variant") if run[key])


def names_cells(runner: Runner) -> bool:
    """Whether a run's network names whole cells, and does not segment."""
    head = getattr(unwrapped(runner.model), "decode_head", None)
    return isinstance(head, CellClassHead)


def pictures_right(confusion: np.ndarray) -> str:
    """Say how many pictures get their class from a network that names cells."""
    truth, given = classes_of(confusion, whole=True)
    right, total = int((truth == given).sum()), len(truth)
    low, high = (100 * end for end in wilson_interval(right, total))
    return (
        f"{right} of {total} pictures get their class (95 % interval {low:.1f} to "
        f"{high:.1f} %)"
    )


def classes_of(confusion: np.ndarray, *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted class of each cell; ``whole``: 0 is a class, too."""
    if whole:
        return confusion.sum(axis=2).argmax(axis=1), confusion.sum(axis=1).argmax(
            axis=1
        )
    return majority_classes(confusion)


def headlines(
    results: Mapping, cells: Cells, *, whole: bool = False
) -> tuple[Headline, ...]:
    """Return the first numbers of the page."""
    metrics, confusion = results["metrics"], np.array(results["confusion"])
    if whole:
        right = metrics["pixel_accuracy"]
        return (
            Headline("right class", right, pictures_right(cells.confusion)),
            Headline("mean recall", metrics["mRecall"], "all classes, with other"),
            Headline("mean F1", metrics["mF1"], "all classes, with other"),
        )
    shown = (
        Headline("mean IoU", metrics["mIoU"], "all classes, with the background"),
        Headline("mean IoU of cells", metrics["mIoU_fg"], "the cell classes only"),
        Headline("mean F1", metrics["mF1"], "all classes, with the background"),
        Headline("pixel accuracy", metrics["pixel_accuracy"], "of all pixels"),
    )
    if len(confusion) == 2:
        return shown
    leukocyte = scores(merge_leukocytes(confusion)).per_class["leukocyte"]
    truth, majority = majority_classes(cells.confusion)
    judged = truth != BACKGROUND
    total, right = int(judged.sum()), int((truth == majority)[judged].sum())
    missed = int((majority == BACKGROUND)[judged].sum())
    note = (
        f"{right} of {total} by most of their pixels; {missed} without any leukocyte "
        "pixel"
    )
    return (
        *shown,
        Headline("leukocyte IoU", leukocyte["iou"], "found, whatever its class"),
        Headline("cells right", 100 * right / total if total else None, note),
    )


def class_labels(metainfo: Mapping) -> tuple[ClassLabel, ...]:
    """Return name, short name and colour of a dataset's classes."""
    short = {c.name: c.aliases[0] for c in CLASSES}
    pairs = zip(metainfo["classes"], metainfo["palette"], strict=True)
    return tuple(
        ClassLabel(name, short.get(name, name[:4]), tuple(colour))
        for name, colour in pairs
    )


def class_rows(
    per_class: Mapping,
    cells: Cells,
    labels: Sequence[ClassLabel],
    *,
    whole: bool = False,
) -> tuple[ClassRow, ...]:
    """Return the table of scores, with the cells of each class counted whole."""
    truth, majority = classes_of(cells.confusion, whole=whole)
    rows = []
    scored = zip(labels, per_class.values(), strict=True)
    for number, (label, values) in enumerate(scored):
        own = truth == number
        counts = (None, None)
        if whole or number != BACKGROUND:
            counts = int(own.sum()), int((own & (majority == number)).sum())
        rows.append(ClassRow(label, values, *counts))
    return tuple(rows)


def row_percent(confusion: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    """Return a confusion matrix in percent of each row's total; None without one."""
    totals = confusion.sum(axis=1)
    return tuple(
        tuple(100.0 * int(value) / int(total) if total else None for value in row)
        for row, total in zip(confusion, totals, strict=True)
    )


def loss_history(runner: Runner, work_dir: Path) -> LossHistory | None:
    """Return the losses of a run with its marks, None without a log."""
    losses = read_losses(work_dir)
    if not losses:
        return None
    return LossHistory(tuple(losses), tuple(losses.values()), thaw_marks(runner))


@dataclass(frozen=True)
class ChosenCell:
    """A row of ``cells.npz``, its rank among all cells, and why it is shown."""

    row: int
    rank: int
    chosen_as: str


def choose_cells(
    confusion: np.ndarray, *, worst: int = WORST, best: int = BEST
) -> list[ChosenCell]:
    """Choose the cells with the lowest and the highest Dice, the worst first.

    Cells without any cell pixel, true or predicted, are left out; equals keep their
    order. Where cells are few, the worst come first.

    Shape:
        confusion: (N, C, C), of each cell rows truth, columns prediction.
    """
    dice = cell_dice(confusion)
    order = np.argsort(dice, kind="stable")  # NaN comes last
    order = order[: np.isfinite(dice).sum()]
    ranked = [(rank, int(row)) for rank, row in enumerate(order, 1)]
    low = ranked[:worst]
    high = ranked[max(len(low), len(ranked) - best) :]
    return [ChosenCell(row, rank, "worst") for rank, row in low] + [
        ChosenCell(row, rank, "best") for rank, row in high
    ]


def cell_cards(
    cells: Cells,
    chosen: Sequence[ChosenCell],
    pictures: Mapping[int, PredictedImage],
    labels: Sequence[ClassLabel],
    *,
    whole: bool = False,
) -> tuple[CellCard, ...]:
    """Gather what the page shows of the chosen cells, with pictures by their row."""
    confusion = cells.confusion[[cell.row for cell in chosen]]
    dice = cell_dice(confusion)
    truth, majority = classes_of(confusion, whole=whole)
    cards = []
    for place, cell in enumerate(chosen):
        picture = pictures.get(cell.row)
        shown = picture and dict(
            image=picture.image,
            enhanced=picture.enhanced,
            true_labels=picture.truth,
            predicted_labels=picture.prediction,
        )
        cards.append(
            CellCard(
                stem=str(cells.stem[cell.row]),
                group=str(cells.group[cell.row]),
                rank=cell.rank,
                chosen_as=cell.chosen_as,
                dice=float(dice[place]),
                truth=int(truth[place]),
                majority=int(majority[place]),
                pixels=_pixel_rows(confusion[place], labels),
                **(shown or {}),
            )
        )
    return tuple(cards)


def _pixel_rows(
    confusion: np.ndarray, labels: Sequence[ClassLabel]
) -> tuple[PixelRow, ...]:
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        PixelRow(label, int(true[i]), int(predicted[i]), int(confusion[i, i]))
        for i, label in enumerate(labels)
        if true[i] or predicted[i]
    )


def fact_groups(results: Mapping, *, tested: bool) -> tuple[FactGroup, ...]:
    """Return the facts of a run under their headings."""
    run, data, env = results["run"], results["data"], results["env"]
    model, checkpoint = results["model"], results.get("checkpoint") or {}
    network = f"{model['params_m']:.2f} million parameters"
    if model.get("gmacs") is not None:
        network += f", {model['gmacs']:.2f} billion multiply-adds an image"
    training = {
        "method": _method(run),
        "protocol": run["protocol"],
        "model": network,
        "pretrained": model.get("pretrained") or "no",
        "iterations": run["iterations"],
        "seed": run["seed"],
    }
    mosaic, size = data["mosaic"], data["size"]
    images = "none: images of one cell"
    if mosaic:
        images = f"{mosaic['n']} x {mosaic['n']} cells, {mosaic['mode']}"
    enhance = data["enhance"] or dict(type="none")
    arguments = ", ".join(f"{k}={v}" for k, v in enhance.items() if k != "type")
    about_data = {
        "dataset": data["dataset"],
        "split": run["split"] or "none: every cell is tested",
        "training groups": _folded_groups(data["train_groups"] or []),
        "test groups": _folded_groups(data["test_groups"]),
        "mosaics": images,
        "image size": f"{size} x {size} px" if size else None,
        "enhancement": enhance["type"] + (arguments and f" ({arguments})"),
    }
    if tested:
        del about_data["training groups"]
    else:
        training["wall time"] = duration(run["wall_s"])
        training["bfloat16"] = "on" if run.get("amp") else "off"
    shown = ("leuko_mm", "python", "torch", "mmseg", "mmengine", "mmcv", "opencv")
    machine = {
        "device": run["device"],
        "processor": env.get("cpu"),
        "threads": run.get("threads"),
        "GPU": env.get("gpu") or "none",
        "versions": ", ".join(f"{name} {env[name]}" for name in shown if env.get(name)),
    }
    provenance = {
        "command": run["command"],
        "started": run["started"].replace("T", " ").replace("+00:00", " UTC"),
        "code": run["git"] or "installed package",
        "checkpoint": checkpoint.get("file"),
        "its sha256": _folded_digest(checkpoint.get("sha256")),
        "dataset sha256": _folded_digest(data["sha256"]),
        "config sha256": _folded_digest(run["config_sha256"]),
    }
    return (
        _fact_group("Testing" if tested else "Training", training),
        _fact_group("Data", about_data),
        _fact_group("Machine and libraries", machine),
        _fact_group("Provenance", provenance),
    )


def _fact_group(title: str, facts: Mapping) -> FactGroup:
    """Return facts as the page takes them; a tuple is a short and a long value."""
    rows = []
    for name, value in facts.items():
        short, long = value if isinstance(value, tuple) else (value, None)
        rows.append((name, None if short is None else str(short), long))
    return FactGroup(title, tuple(rows))


def _folded_groups(groups: list[str]) -> tuple[str, str | None]:
    if len(groups) <= 3:
        return ", ".join(groups) or "none", None
    return str(len(groups)), ", ".join(groups)


def _folded_digest(value: str | None) -> tuple[str | None, str | None]:
    return (f"{value[:12]}...", value) if value else (None, None)


def files_beside(work_dir: Path) -> tuple[FileLink, ...]:
    """List the files beside a run's page; results.json is written right after it."""
    name = work_dir.name
    listed = [
        *FILES,
        (f"{name}.pth", "the trained weights"),
        (f"{name}.json", "what the weights need to be used"),
        *(
            (path.name, "the complete config, with every choice of the command")
            for path in sorted(work_dir.glob("*.py"))
        ),
        *(
            (f"overlays/{path.name}", "test image beside its truth")
            for path in sorted((work_dir / "overlays").glob("*.png"))
        ),
    ]
    return tuple(
        FileLink(file, words)
        for file, words in listed
        if file == "results.json" or (work_dir / file).is_file()
    )
