"""The runs of a comparison: methods and ablations, by settings, splits and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmengine.config import Config

from leuko_mm.datasets.joined import dataset_names
from leuko_mm.errors import UsageError
from leuko_mm.training.config import (
    REPLACED,
    SETTING,
    SETTINGS,
    cells_config,
    config_names,
    data_tail,
)
from leuko_mm.training.preflight import draw_synthetic
from leuko_mm.training.results import place_run, run_name
from leuko_mm.training.run import TrainRequest, identity_of, prepare_config

ALL = "all"
# A method as its file has it, under neither setting.
OWN = "own"
DEFAULT_SETTINGS = (OWN, "A", "B")
ABLATION = "ablation/"
# Their data and schedules are their own; the first segments nothing.
NO_METHODS = ("cell_classes", "quickstart")


@dataclass(frozen=True)
class CompareRequest:
    """What a user asked to compare.

    Args:
        methods: configs by name or path, or ``all``; None: all where no ablation is
            named either. ``ablations`` likewise, by names below ``configs/ablation``.
        settings: ``own``, and names of ``SETTINGS``; for the methods.
        splits, data, iterations: None: the protocol's own.
        options: ``--cfg-options`` of every run.
        amp: bfloat16 on or off; None turns it on where it helps.
        out, work_dirs: folders of the published results and of the runs.
        force: run again what is there, but does not fit.
    """

    protocol: str
    methods: Sequence[str] | None = None
    settings: Sequence[str] = DEFAULT_SETTINGS
    ablations: Sequence[str] | None = None
    splits: Sequence[str | None] = (None,)
    seeds: Sequence[int] = (0,)
    data: str | None = None
    iterations: int | None = None
    options: Mapping = field(default_factory=dict)
    amp: bool | None = None
    out: str = "results"
    work_dirs: str = "work_dirs"
    force: bool = False

    def alone(self, run: PlannedRun) -> CompareRequest:
        """Return the request of one of its runs."""
        own = run.request
        return replace(
            self,
            methods=[own.config],
            settings=[own.setting or OWN],
            ablations=None,
            splits=[own.split],
            seeds=[own.seed],
        )


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison; ``identity`` is of ``identity_of``."""

    request: TrainRequest
    config: Config
    identity: Mapping[str, str]
    target: Path

    @property
    def work_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.config.work_dir)

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        return self.work_dir.name

    @property
    def iterations(self) -> int:
        """Iterations of the training."""
        return int(self.config.train_cfg.max_iters)


def plan_runs(request: CompareRequest) -> list[PlannedRun]:
    """Return the runs of a comparison: first one split and seed of every method.

    Raises:
        UsageError: for an unknown name, or two runs of one name.
        DatasetError: if the dataset is missing.
    """
    tail = data_tail(request.data, method_names()[0], request.protocol)
    rows = plan_rows(request)
    runs = [
        _planned(request, tail, name, dict(setting=setting, split=split, seed=seed))
        for seed in request.seeds
        for split in request.splits
        for name, setting in rows
    ]
    if not runs:
        raise UsageError("nothing to compare: name methods, ablations, splits, seeds")
    planned: dict[Path, PlannedRun] = {}
    for run in runs:
        other = planned.setdefault(run.target, run)
        if other is not run:
            raise UsageError(
                f"{other.request.config} and {run.request.config} would both be "
                f"{run.target}; name each once, and give the configs different "
                "'method' or 'variant'"
            )
    return runs


def replaced_losses(runs: Iterable[PlannedRun]) -> list[str]:
    """Return a line for each method with a loss that only its own setting trains."""
    common = {loss["type"] for s in SETTINGS.values() for loss in s.losses}
    found: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        own = [name for name in run.config.get(REPLACED, []) if name not in common]
        if own:
            names = found.setdefault((run.config.method, ", ".join(own)), [])
            names += [n for n in [run.config[SETTING]] if n not in names]
    return [
        f"{method}: its loss {losses} is replaced under setting {' and '.join(names)}; "
        "--settings own keeps it"
        for (method, losses), names in found.items()
    ]


def plan_rows(request: CompareRequest) -> list[tuple[str, str | None]]:
    """Return (config, setting) of every row; ablations have the setting they are of."""
    neither = request.methods is None and request.ablations is None
    methods = request.methods or ([ALL] if neither else [])
    ablations = request.ablations or ([ALL] if neither else [])
    settings = [None if name == OWN else name for name in request.settings]
    rows = [(m, s) for m in _expanded(methods, method_names()) for s in settings]
    known = [name for name in config_names() if name.startswith(ABLATION)]
    wanted = [a if a == ALL or a in known else f"{ABLATION}{a}" for a in ablations]
    return [*rows, *((name, None) for name in _expanded(wanted, known))]


def method_names() -> list[str]:
    """Return the methods that ``all`` stands for."""
    names = config_names()
    return [name for name in names if "/" not in name and name not in NO_METHODS]


def _expanded(names: Iterable[str], known: Sequence[str]) -> list[str]:
    every = [n for name in names for n in (known if name == ALL else [name])]
    return list(dict.fromkeys(every))


def _planned(
    request: CompareRequest, tail: str, name: str, choices: Mapping
) -> PlannedRun:
    choices = dict(protocol=request.protocol, **choices)
    train_request = TrainRequest(
        config=name,
        **choices,
        data=request.data,
        iterations=request.iterations,
        options=request.options,
        amp=request.amp,
        work_dir=request.work_dirs,  # until its name is known
        command=_train_command(request, name, choices),
    )
    config = prepare_config(train_request)
    place_run(config, str(Path(request.work_dirs) / f"{run_name(config)}{tail}"))
    for data in dataset_names(cells_config(config, "train")):
        draw_synthetic(data)
    file = f"{run_name(config, protocol=False)}.json"
    return PlannedRun(
        request=replace(train_request, work_dir=config.work_dir),
        config=config,
        identity=identity_of(config),
        target=Path(request.out) / f"{config.protocol}{tail}" / file,
    )


def _train_command(request: CompareRequest, name: str, choices: Mapping) -> list[str]:
    """Return the command that trains this run alone, for its results file."""
    words = ["leuko", "train", name]
    given = dict(choices, data=request.data, iterations=request.iterations)
    for key, value in given.items():
        if value is not None:
            words += [f"--{key}", str(value)]
    if request.amp is not None:
        words.append("--amp" if request.amp else "--no-amp")
    if request.options:
        words.append("--cfg-options")
        words += [f"{k}={v}" for k, v in request.options.items()]
    return words
