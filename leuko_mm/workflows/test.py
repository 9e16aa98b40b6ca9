"""Test a checkpoint on a split, under any protocol."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from leuko_mm.engine.data_parallel import prepare_launcher
from leuko_mm.engine.kept_memory import keep_memory
from leuko_mm.engine.legible_runner import LegibleRunner
from leuko_mm.engine.own_globals import own_globals
from leuko_mm.engine.safe_load import check_kinds, load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.workflows.building import building_errors
from leuko_mm.workflows.lineage import check_unseen, learnt_groups
from leuko_mm.workflows.opening import announce_test
from leuko_mm.workflows.preflight import cells_config, check_data, check_output
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.results import write_results
from leuko_mm.workflows.run_place import place_run
from leuko_mm.workflows.sidecar import check_sidecar, read_sidecar
from leuko_mm.workflows.train import score_anew

# Not mmengine's, which exists once a runner does.
LOGGER = logging.getLogger("leuko_mm")


@dataclass
class TestRequest:
    """What a user asked for.

    Args:
        config: a config's path or name: the one the checkpoint was trained with.
        checkpoint: a ``.pth`` file of ours, or a training state of mmengine.
        protocol, setting, split, data, options: see ``resolve_config``.
        work_dir: output folder; None makes one beside the checkpoint.
        force: write over a finished test.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        command: the command line, for the record.
    """

    __test__ = False  # pytest would take the class for a collection of tests

    config: str
    checkpoint: str
    protocol: str | None = None
    setting: str | None = None
    split: str | None = None
    data: str | None = None
    options: Mapping = field(default_factory=dict)
    work_dir: str | None = None
    force: bool = False
    launcher: str = "none"
    command: Sequence[str] = ()


def run_test(request: TestRequest) -> Path:
    """Test a checkpoint and write the results; return the output folder.

    Raises:
        UsageError: if checkpoint, sidecar and config do not fit one another.
        DatasetError: if the dataset is missing or broken.
        UnsafeCheckpointError: if the file holds more than tensors.
    """
    path = Path(request.checkpoint)
    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist")
    digest = sha256_of_file(path)
    sidecar = read_sidecar(path, digest)
    config = _config(request, path, sidecar)
    work_dir = Path(config.work_dir)
    check_output(work_dir, resume=False, force=request.force)
    check_data(config)
    if not sidecar:
        LOGGER.warning(
            "%s has no sidecar (%s): nothing tells which cells it was trained on, and "
            "the scores may be of those",
            path,
            path.with_suffix(".json").name,
        )
    check_unseen(config, sidecar)
    with own_globals():
        _test(request, config, sidecar, digest)
    return work_dir


def _test(request: TestRequest, config: Config, sidecar: dict, digest: str) -> None:
    path = Path(request.checkpoint)
    keep_memory()
    runner = _build_runner(config)
    check_sidecar(path, sidecar, config, runner.test_dataloader.dataset.metainfo)
    load_model(runner, path)
    announce_test(runner, config, path)
    started = time.time()
    score_anew(runner, config)
    if is_main_process():
        run = dict(
            command=request.command,
            iterations=sidecar.get("training", {}).get("iterations"),
            started=started,
            wall_s=0.0,
        )
        checkpoint = dict(file=str(path), sha256=digest)
        write_results(
            runner,
            config,
            run=run,
            checkpoint=checkpoint,
            learnt_from=learnt_groups(config, sidecar),
        )


def _config(request: TestRequest, path: Path, sidecar: dict) -> Config:
    config = resolve_config(
        request.config,
        protocol=request.protocol,
        setting=request.setting,
        split=request.split,
        data=request.data,
        seed=sidecar.get("training", {}).get("seed"),
        options=request.options,
    )
    cells = cells_config(config, "test")
    name = "-".join(
        str(p) for p in ("test", config.get("protocol"), cells.get("split")) if p
    )
    place_run(config, request.work_dir or str(path.parent / name))
    config.launcher = request.launcher
    return config


def _build_runner(config: Config) -> Runner:
    slim = copy.deepcopy(config)
    # A test needs neither optimiser nor schedule, nor does a runner without a loop.
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        slim[key] = None
    # The checkpoint brings every weight; pretrained ones need not be there.
    if "init_cfg" in slim.model.get("backbone", {}):
        slim.model.backbone.init_cfg = None
    with building_errors():
        prepare_launcher(slim)
        runner = LegibleRunner.from_cfg(slim)
        _ = runner.test_loop
    return runner


def load_model(runner: Runner, path: Path) -> None:
    """Load every weight of the model, or say which do not fit.

    Raises:
        UsageError: naming the first keys that are missing or left over.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    tensors = load_tensors(path)
    tensors = tensors.get("state_dict", tensors)
    check_kinds(model, tensors, file=path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise UsageError(
            f"{path} does not fit the config: {' '.join(lines)[:300]}"
        ) from None
