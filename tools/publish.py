"""Publish a trained checkpoint, and update the list of models that the docs show.

    python tools/publish.py checkpoint work_dirs/<run>/<run>.pth --float16
    python tools/publish.py exports
    python tools/publish.py list
    python tools/publish.py sizes

``checkpoint`` writes bare tensors, tested as they are, with sidecar and card, into the
package or to ``--out``: what is too large for it goes to zoo/ (``--out zoo
--no-limit``). ``exports`` writes every checkpoint of the package as ONNX
into its zoo/onnx, by which it predicts without torch. ``list`` writes
configs/metafile.yml and the table of docs/models.md from docs/model_table.json and
the checkpoints in the package and in zoo/; addresses and hashes of other files are
kept.
``sizes`` measures every method and writes docs/model_table.json and the table of
docs/compare.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from publish_card import Tested, class_card, model_card

import leuko_mm
from leuko_mm.cli.main import exit_code_of
from leuko_mm.datasets.prepared import is_plain_name
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.metric import CELLS_FILE, load_cells
from leuko_mm.files import config_home, sha256_of_file
from leuko_mm.inference.classify import names_cells
from leuko_mm.inference.export import export
from leuko_mm.inference.model import (
    read_sidecar_of,
    shipped_checkpoint,
    shipped_folder,
    shipped_names,
    training_command,
)
from leuko_mm.models.size import model_size
from leuko_mm.report.html import put_into
from leuko_mm.training.config import resolve_config
from leuko_mm.training.results import CALIBRATION_FILE
from leuko_mm.zoo.entries import METAFILE, PACKAGE, ZooEntry, read_entries
from leuko_mm.zoo.zoo import measure, verify

# Bytes that a file in the package may have, and all of them together.
LIMIT, LIMIT_TOGETHER = 8_000_000, 16_000_000
# With their exports.
LIMIT_EXPORTED = 32_000_000
NO_LIMIT = 10**12
DOCS = Path(__file__).resolve().parents[1] / "docs"
# Checkpoints that are too large for the package.
BESIDE = DOCS.parent / "zoo"
HEAD = "# The list of models: written by tools/publish.py, addresses by hand.\n"
# Side of the image that multiply-adds are counted for, pixels.
SIZE = 512


# Checkpoints


@dataclass(frozen=True)
class PublishRequest:
    """What a user asked for.

    Args:
        checkpoint: a ``.pth`` file of a training, with its sidecar.
        out: folder that gets ``<name>.pth``, ``.json`` and ``.md``.
        name: None: the method's.
        float16: round every weight, which halves the file.
        limit: bytes that the file may have, and all of the folder together.
        transfer: folders of ``leuko test`` on other sources, for the card.
        command: what trained it; None: the documented one.
        keys: what is not measured, for the sidecar: ``accept``, and ``classifier``, the
            file beside it that names the cells.
        work_dir: where the test's files go; None: they are thrown away.
        force: write over what is published there.
    """

    checkpoint: Path
    out: Path
    name: str | None = None
    float16: bool = False
    limit: tuple[int, int] = (LIMIT, LIMIT_TOGETHER)
    transfer: Sequence[Path] = ()
    command: str | None = None
    keys: Mapping[str, float | str] = field(default_factory=dict)
    work_dir: Path | None = None
    force: bool = False


def publish(request: PublishRequest) -> Path:
    """Write a checkpoint, its sidecar and its card; return the checkpoint's path.

    What is written is tested first, as it is: its metrics are those of the rounded
    weights. Nothing appears before all of it is right.

    Raises:
        UsageError: if the checkpoint does not fit its sidecar, is too large, or
            something is published there already.
        UnsafeCheckpointError: if it holds more than tensors.
        DatasetError: if the cells that it is tested on are not prepared.
    """
    sidecar = verify(Path(request.checkpoint))
    name = request.name or sidecar["method"]
    if not is_plain_name(name):
        raise UsageError(f"{name!r} is no name of a file; give one with --name")
    target = Path(request.out) / f"{name}.pth"
    if target.exists() and not request.force:
        raise UsageError(f"{target} exists; add --force to replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".publish-") as folder:
        draft = Path(folder) / target.name
        tensors = load_tensors(request.checkpoint)
        torch.save(_rounded(tensors) if request.float16 else tensors, draft)
        _check_size(draft, target, request.limit)
        sidecar = _described(draft, {**sidecar, **request.keys})
        work_dir = Path(request.work_dir or Path(folder) / "test")
        sidecar["metrics"] = measure(draft, sidecar, work_dir=work_dir)["metrics"]
        _write_json(draft.with_suffix(".json"), sidecar)
        facts = dict(
            size_bytes=draft.stat().st_size,
            command=request.command or training_command(sidecar["method"]),
        )
        tested = read_tested(work_dir)
        if names_cells(sidecar):
            card = class_card(sidecar, tested, **facts)
        else:
            transfer = [read_tested(Path(place)) for place in request.transfer]
            card = model_card(sidecar, tested, transfer=transfer, **facts)
        draft.with_suffix(".md").write_text(card, encoding="utf-8")
        verify(draft)
        # The checkpoint last: with it all is there.
        for suffix in (".md", ".json", ".pth"):
            os.replace(draft.with_suffix(suffix), target.with_suffix(suffix))
    return target


def write_exports() -> list[Path]:
    """Export every checkpoint of the package; return the files.

    Raises:
        UsageError: if all files of the package together are larger than they may be.
    """
    folder = shipped_folder() / "onnx"
    sidecars = {
        name: read_sidecar_of(shipped_checkpoint(name)) for name in shipped_names()
    }
    exports = []
    # Those that name cells first: the others are exported with them.
    for name in sorted(sidecars, key=lambda name: "classifier" in sidecars[name]):
        classifier = sidecars[name].get("classifier")
        exports.append(folder / f"{name}.onnx")
        export(
            shipped_checkpoint(name),
            exports[-1],
            classes=classifier and folder / Path(classifier).with_suffix(".onnx"),
            force=True,
        )
    size = sum(path.stat().st_size for path in shipped_folder().rglob("*.*"))
    if size > LIMIT_EXPORTED:
        raise UsageError(
            f"the package's networks have {size} bytes with their exports; the limit "
            f"is {LIMIT_EXPORTED}"
        )
    return exports


def read_tested(folder: Path) -> Tested:
    """Return a test's results, cells and calibration from its folder.

    Raises:
        UsageError: if it holds no finished test.
    """
    place = Path(folder) / "results.json"
    if not place.is_file():
        raise UsageError(f"{folder} holds no results.json; test the checkpoint first")
    bins = Path(folder) / CALIBRATION_FILE
    return Tested(
        results=json.loads(place.read_text(encoding="utf-8")),
        cells=load_cells(Path(folder) / CELLS_FILE),
        calibration=json.loads(bins.read_text()) if bins.is_file() else {},
    )


def _rounded(tensors: dict) -> dict:
    """Return weights as float16, but for numbers that it cannot hold.

    Example:
        >>> one = _rounded({"w": torch.tensor([1.5]), "v": torch.tensor([1e6])})
        >>> [str(value.dtype) for value in one.values()]
        ['torch.float16', 'torch.float32']
    """
    return {key: _as_float16(value) for key, value in tensors.items()}


def _as_float16(value: torch.Tensor) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if torch.isfinite(half).all() else value


def _check_size(draft: Path, target: Path, limit: tuple[int, int]) -> None:
    own = draft.stat().st_size
    others = sum(p.stat().st_size for p in target.parent.glob("*.pth") if p != target)
    if own > limit[0] or own + others > limit[1]:
        raise UsageError(
            f"{target.name} has {own} bytes, {own + others} with the others of its "
            f"folder; the limits are {limit[0]} and {limit[1]}: round it with "
            "--float16, or choose a smaller network"
        )


def _described(draft: Path, sidecar: dict) -> dict:
    """Write the sidecar of a draft and return it."""
    described = {**sidecar, "sha256": sha256_of_file(draft)}
    start = described["config"]["model"].get("init_cfg")
    if isinstance(start, dict) and "checkpoint" in start:
        # Whose weights these were is in the training's start; a path is of one machine.
        start["checkpoint"] = Path(start["checkpoint"]).name
    _write_json(draft.with_suffix(".json"), described)
    return described


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


# The list of models, and their sizes


def current_entries() -> list[ZooEntry]:
    """Return the list as it should be."""
    sizes = json.loads((DOCS / "model_table.json").read_text())
    sidecars = {
        name: json.loads((shipped_folder() / f"{name}.json").read_text())
        for name in shipped_names()
    }
    beside = {
        path.stem: json.loads(path.with_suffix(".json").read_text())
        for path in sorted(BESIDE.glob("*.pth"))
    }
    former = read_entries() if (config_home() / METAFILE).is_file() else []
    return updated_entries(former, sizes, sidecars, beside)


def list_table(models: list[ZooEntry]) -> str:
    """Return the models as a table in Markdown."""
    lines = [
        "| model | parameters, millions | checkpoint | measured on | mIoU | pixel "
        "accuracy | train it |",
        "|---|---:|---|---|---:|---:|---|",
    ]
    for model in models:
        data, metrics = next(iter(model.metrics.items()), ("-", {}))
        miou, accuracy = (
            f"{metrics[key]:.2f}" if key in metrics else "-"
            for key in ("mIoU", "pixel_accuracy")
        )
        where = "none yet"
        if model.shipped:
            where = f"in the package, [card](../leuko_mm/zoo/{model.name}.md)"
        elif model.beside:
            where = f"in the repository, [card](../{BESIDE.name}/{model.name}.md)"
        elif model.weights:
            where = f"[file]({model.weights})"
        lines.append(
            f"| `{model.name}` | {model.params_m:.1f} | {where} | {data} | {miou} | "
            f"{accuracy} | `{model.command}` |"
        )
    return "\n".join(lines) + "\n"


def updated_entries(
    entries: list[ZooEntry],
    sizes: Mapping[str, Mapping],
    sidecars: Mapping[str, dict],
    beside: Mapping[str, dict] | None = None,
) -> list[ZooEntry]:
    """Return the list as it follows from what is measured and what is shipped.

    Addresses and hashes of files elsewhere are kept as they are.

    Args:
        entries: as they were.
        sizes: of every method, as ``docs/model_table.json``.
        sidecars: of every checkpoint in the package.
        beside: of every checkpoint in the repository's ``zoo/``.
    """
    former = {entry.name: entry for entry in entries}
    here = {name: (PACKAGE, sidecar) for name, sidecar in sidecars.items()}
    for name, sidecar in (beside or {}).items():
        here.setdefault(name, (f"{BESIDE.name}/{name}.pth", sidecar))
    found = []
    for name, size in sorted(sizes.items()):
        old, (weights, sidecar) = former.get(name), here.get(name, (None, None))
        elsewhere = old if old and "://" in (old.weights or "") else None
        metrics = elsewhere.metrics if elsewhere else {}
        if sidecar:
            training = sidecar["training"]
            data = f"{training['dataset']} {training['split']}"
            metrics = {data: {k: round(v, 2) for k, v in sidecar["metrics"].items()}}
        found.append(
            ZooEntry(
                name=name,
                config=f"configs/{name}.py",
                params_m=size["params_m"],
                gmacs=size["gmacs"],
                pretrained=size["pretrained"],
                weights=weights or (elsewhere and elsewhere.weights),
                sha256=sidecar["sha256"] if sidecar else elsewhere and elsewhere.sha256,
                metrics=metrics,
            )
        )
    return found


def to_yaml(entries: list[ZooEntry]) -> str:
    """Return the text of the list."""
    content = dict(
        Collections=[
            dict(
                Name="leuko_mm",
                Metadata=dict(Task="Leukocyte segmentation", License="Apache-2.0"),
                README="docs/models.md",
                Code=dict(Version=leuko_mm.__version__),
            )
        ],
        Models=[_model(entry) for entry in entries],
    )
    return yaml.safe_dump(content, sort_keys=False, width=88, allow_unicode=True)


def _model(entry: ZooEntry) -> dict:
    about = {
        "Parameters (M)": entry.params_m,
        "Multiply-adds (G)": entry.gmacs,
        "Encoder starts from": entry.pretrained,
    }
    if entry.sha256:
        about["SHA256"] = entry.sha256
    results = [
        {"Task": "Semantic Segmentation", "Dataset": data, "Metrics": dict(metrics)}
        for data, metrics in entry.metrics.items()
    ]
    return {
        "Name": entry.name,
        "In Collection": "leuko_mm",
        "Config": entry.config,
        "Metadata": about,
        "Results": results,
        "Weights": entry.weights,
    }


def method_names() -> list[str]:
    """Return the names of the methods' configs; ablations share their models' sizes."""
    return sorted(path.stem for path in config_home().glob("*.py"))


def measured_sizes(names: list[str]) -> dict:
    """Return the sizes of methods, by name."""
    return {name: model_size(resolve_config(name), SIZE) for name in names}


def size_table(sizes: dict) -> str:
    """Return the sizes as a table in markdown, smallest model first."""
    lines = [
        "| config | parameters, millions | multiply-adds at "
        f"{SIZE}x{SIZE}, 10^9 | encoder starts from |",
        "|---|---:|---:|---|",
    ]
    for name, row in sorted(sizes.items(), key=lambda item: item[1]["gmacs"]):
        start = f"ImageNet, `{row['pretrained']}`" if row["pretrained"] else "random"
        lines.append(
            f"| `{name}` | {row['params_m']:.1f} | {row['gmacs']:.1f} | {start} |"
        )
    return "\n".join(lines) + "\n"


def _update_page(page: Path, name: str, table: str) -> None:
    text = put_into(page.read_text(encoding="utf-8"), name, table)
    page.write_text(text, encoding="utf-8")


def write_list() -> None:
    """Write configs/metafile.yml and the table of docs/models.md."""
    models = current_entries()
    (config_home() / METAFILE).write_text(HEAD + to_yaml(models), encoding="utf-8")
    _update_page(DOCS / "models.md", "models", list_table(models))


def write_sizes() -> None:
    """Write docs/model_table.json and the table of docs/compare.md."""
    sizes = measured_sizes(method_names())
    text = json.dumps(sizes, indent=1) + "\n"
    (DOCS / "model_table.json").write_text(text, encoding="utf-8")
    _update_page(DOCS / "compare.md", "model table", size_table(sizes))


# Command line


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("exports", help="write the package's checkpoints as ONNX")
    jobs.add_parser("list", help="write the list of models")
    jobs.add_parser("sizes", help="measure every method's size")
    words = jobs.add_parser("checkpoint", help="publish a checkpoint with its card")
    words.add_argument("checkpoint", type=Path, help="a training's .pth file")
    words.add_argument("--out", type=Path, help="folder; default: that of the package")
    words.add_argument("--name", help="default: the method's")
    words.add_argument("--float16", action="store_true", help="round every weight")
    words.add_argument("--command", help="what trained it; default: the documented one")
    words.add_argument(
        "--transfer",
        type=Path,
        nargs="+",
        default=[],
        metavar="TEST",
        help="folders of `leuko test` on other sources, for the card",
    )
    words.add_argument(
        "--accept", type=float, help="confidence at which a class counts"
    )
    words.add_argument("--classifier", help="file beside it that names the cells")
    words.add_argument("--work-dir", type=Path, help="keep the test's files here")
    words.add_argument("--no-limit", action="store_true", help="let it be large")
    words.add_argument("--force", action="store_true", help="replace what is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = parser().parse_args(argv)
    try:
        if given.job == "exports":
            print(*write_exports(), sep="\n")
        elif given.job == "list":
            write_list()
        elif given.job == "sizes":
            write_sizes()
        else:
            print(publish(_request(given)))
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        print(f"publish.py: {error}", file=sys.stderr)
        return code
    return 0


def _request(given: argparse.Namespace) -> PublishRequest:
    limit = (NO_LIMIT, NO_LIMIT) if given.no_limit else (LIMIT, LIMIT_TOGETHER)
    keys = dict(accept=given.accept, classifier=given.classifier)
    return PublishRequest(
        checkpoint=given.checkpoint,
        out=given.out or shipped_folder(),
        name=given.name,
        float16=given.float16,
        limit=limit,
        transfer=given.transfer,
        command=given.command,
        keys={key: value for key, value in keys.items() if value is not None},
        work_dir=given.work_dir,
        force=given.force,
    )


if __name__ == "__main__":
    sys.exit(main())
