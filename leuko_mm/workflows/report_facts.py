"""The words of a run's page, out of its results: summary, facts, list of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from leuko_mm.report.run_report import FactGroup, FileLink

# Files that a run leaves, in the order of their use, and what they hold.
FILES = (
    ("results.json", "every figure of this page, for programs"),
    ("table.md", "the table of scores as text"),
    ("cells.npz", "confusion matrix of every test cell"),
    ("calibration.json", "how far the confidence of its answers can be believed"),
    ("metrics.json", "what the evaluator wrote"),
    ("loss.png", "the loss curve"),
)


def summary_of(results: Mapping, *, tested: bool) -> str:
    """Say in one or two sentences what was trained on what.

    Args:
        results: content of a results file.
        tested: whether the run only tests a checkpoint.
    """
    run, data = results["run"], results["data"]
    split = f"split {run['split']}" if run["split"] else "every cell"
    where = f"{data['dataset']}, {split}"
    under = f" under the protocol {run['protocol']}" if run["protocol"] else ""
    if tested:
        return f"{method_of(run)}, from a checkpoint, tested{under} on {where}."
    return (
        f"{method_of(run)}, trained{under} on {where}, seed {run['seed']}: "
        f"{run['iterations']} iterations in {duration(run['wall_s'])} on "
        f"{run['device']}."
    )


def closing_of(results: Mapping, *, tested: bool) -> str:
    """Say what the figures of a run stand for, and for what they do not."""
    last = results["run"].get("selected_on") == "last" and not tested
    scored = (
        "The last state of the training is what is scored: no checkpoint is picked on "
        "test cells. "
    )
    return f"{scored if last else ''}For research, not for diagnosis."


def method_of(run: Mapping) -> str:
    """Return a run's method with its variant."""
    return " ".join(str(run[key]) for key in ("method", "variant") if run[key])


def duration(seconds: float) -> str:
    """Say a duration in the two units that matter.

    Example:
        >>> duration(8.26), duration(754), duration(7500)
        ('8.3 s', '12 min 34 s', '2 h 5 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def fact_groups(results: Mapping, *, tested: bool) -> tuple[FactGroup, ...]:
    """Return the facts of a run under their headings."""
    return (
        FactGroup("Testing" if tested else "Training", _training(results, tested)),
        FactGroup("Data", _data(results["data"], results["run"], tested)),
        FactGroup("Machine and libraries", _machine(results["run"], results["env"])),
        FactGroup("Provenance", _provenance(results)),
    )


def _training(results: Mapping, tested: bool) -> tuple:
    run, model = results["run"], results["model"]
    size = f"{model['params_m']:.2f} million parameters"
    if model.get("gmacs") is not None:
        size += f", {model['gmacs']:.2f} billion multiply-adds an image"
    facts = [
        ("method", method_of(run), None),
        ("protocol", _text(run["protocol"]), None),
        ("model", size, None),
        ("pretrained", _text(model.get("pretrained")) or "no", None),
        ("iterations", _text(run["iterations"]), None),
        ("seed", _text(run["seed"]), None),
    ]
    if not tested:
        facts += [
            ("wall time", duration(run["wall_s"]), None),
            ("bfloat16", "on" if run.get("amp") else "off", None),
        ]
    return tuple(facts)


def _data(data: Mapping, run: Mapping, tested: bool) -> tuple:
    mosaic, size = data["mosaic"], data["size"]
    image = (
        f"{mosaic['n']} x {mosaic['n']} cells, {mosaic['mode']}"
        if mosaic
        else "none: images of one cell"
    )
    train = [] if tested else [("training groups", *_groups(data["train_groups"]))]
    return (
        ("dataset", data["dataset"], None),
        ("split", run["split"] or "none: every cell is tested", None),
        *train,
        ("test groups", *_groups(data["test_groups"])),
        ("mosaics", image, None),
        ("image size", f"{size} x {size} px" if size else None, None),
        ("enhancement", _recipe(data["enhance"]), None),
    )


def _groups(groups: list[str]) -> tuple[str, str | None]:
    if len(groups) <= 3:
        return ", ".join(groups) or "none", None
    return str(len(groups)), ", ".join(groups)


def _recipe(config: Mapping | None) -> str:
    """Say a transform's config in one line."""
    if not config:
        return "none"
    given = ", ".join(f"{k}={v}" for k, v in config.items() if k != "type")
    return f"{config['type']} ({given})" if given else str(config["type"])


def _machine(run: Mapping, env: Mapping) -> tuple:
    shown = ("leuko_mm", "python", "torch", "mmseg", "mmengine", "mmcv", "opencv")
    versions = ", ".join(f"{name} {env[name]}" for name in shown if env.get(name))
    return (
        ("device", _text(run["device"]), None),
        ("processor", _text(env.get("cpu")), None),
        ("threads", _text(run.get("threads")), None),
        ("GPU", _text(env.get("gpu")) or "none", None),
        ("versions", versions, None),
    )


def _provenance(results: Mapping) -> tuple:
    run, checkpoint = results["run"], results.get("checkpoint") or {}
    return (
        ("command", _text(run["command"]), None),
        ("started", run["started"].replace("T", " ").replace("+00:00", " UTC"), None),
        ("code", _text(run["git"]) or "installed package", None),
        ("checkpoint", _text(checkpoint.get("file")), None),
        ("its sha256", *_digest(checkpoint.get("sha256"))),
        ("dataset sha256", *_digest(results["data"]["sha256"])),
        ("config sha256", *_digest(run["config_sha256"])),
    )


def _digest(value: str | None) -> tuple[str | None, str | None]:
    return (f"{value[:12]}...", value) if value else (None, None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def files_beside(work_dir: Path) -> tuple[FileLink, ...]:
    """List what stands beside a run's page; results.json is written right after."""
    links = [
        FileLink(name, words)
        for name, words in FILES
        if name == "results.json" or (work_dir / name).is_file()
    ]
    name = work_dir.name
    more = (
        (f"{name}.pth", "the trained weights"),
        (f"{name}.json", "what the weights need to be used"),
    )
    links += [FileLink(n, words) for n, words in more if (work_dir / n).is_file()]
    links += [
        FileLink(path.name, "the complete config, with every choice of the command")
        for path in sorted(work_dir.glob("*.py"))
    ]
    links += [
        FileLink(f"overlays/{path.name}", "test image beside its truth")
        for path in sorted((work_dir / "overlays").glob("*.png"))
    ]
    return tuple(links)
