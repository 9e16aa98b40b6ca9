"""Hooks of a training: a finite loss, a graceful stop, and an exact resume."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce, barrier, get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor

from leuko_mm.engine.checkpoints import load_tensors, save_state
from leuko_mm.engine.runner import unwrapped
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.files import replacing
from leuko_mm.registry import HOOKS

MAX_NAMES = 8  # of a batch's images in a message
SKIP_OPTION = (
    "--cfg-options default_hooks.finite_loss.type=leuko_mm.FiniteLossHook "
    "default_hooks.finite_loss.skip=10"
)
STATE_KEY = "leuko_mm"  # in a checkpoint


class NotFiniteError(LeukoError, ArithmeticError):
    """Loss or weights are NaN or infinite; no state with such weights is saved."""

    exit_code = 1


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Refuse a NaN or infinite loss: save its batch, and do not step on it.

    Every training has one. It refuses to save weights that are no numbers, too.
    ``not_finite_iter_<i>_rank<r>.pth`` in the work dir holds the batch: ``inputs``,
    ``labels``, ``names`` and ``losses``. Where several processes train together, all of
    them skip the step, or stop.

    Args:
        skip: batches of a training that may be left out before one stops it. Such a
            batch changes neither weights nor running statistics; its place in the
            schedule stays empty.

    Raises:
        ValueError: if ``skip`` is negative.
    """

    # Before hooks that look at the outputs of the step.
    priority = "VERY_HIGH"

    def __init__(self, *, skip: int = 0):
        if skip < 0:
            raise ValueError(f"FiniteLossHook got skip={skip}; expected 0 or more")
        self.skip, self.skipped = skip, 0
        self._batch: Mapping | None = None
        self._buffers: list[Tensor] = []
        self._left_out = False

    def before_train(self, runner) -> None:
        """Check every loss before the optimiser's step."""
        model, wrapper = unwrapped(runner.model), runner.optim_wrapper
        parse, update = model.parse_losses, wrapper.update_params

        def parse_checked(losses: dict) -> tuple[Tensor, dict]:
            total, log_vars = parse(losses)
            if not isinstance(total, Tensor):  # the sum of none
                raise UsageError(
                    f"the model gives no loss, only {sorted(losses)}: MMSegmentation "
                    "adds up what has 'loss' in its name; set loss_decode, and its "
                    "loss_name to a name such as loss_ce"
                )
            self._left_out = not _finite_everywhere(total)
            if self._left_out:
                self._leave_out(runner, model, log_vars)
                log_vars = {}
            return total, log_vars

        def update_unless_left_out(loss: Tensor, *args, **kwargs) -> None:
            if not self._left_out:
                update(loss, *args, **kwargs)

        # On the objects, not their classes: whatever else is built keeps its own.
        model.parse_losses = parse_checked
        wrapper.update_params = update_unless_left_out

    def after_train(self, runner) -> None:
        """Restore the methods of model and optimiser."""
        vars(unwrapped(runner.model)).pop("parse_losses", None)
        vars(runner.optim_wrapper).pop("update_params", None)
        self._batch = None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Keep the batch, and the buffers that its forward pass will change."""
        self._batch = data_batch
        if self.skip:
            self._buffers = [b.clone() for b in unwrapped(runner.model).buffers()]

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the state before, whose weights are numbers."""
        _check_weights(runner)

    def _leave_out(self, runner, model, log_vars: Mapping[str, Tensor]) -> None:
        _check_weights(runner)
        losses = {name: float(value.detach()) for name, value in log_vars.items()}
        broken = {n: v for n, v in losses.items() if not np.isfinite(v)}
        parts = [name for name in broken if name != "loss"] or list(broken)
        reason = ", ".join(f"{name} is {losses[name]}" for name in parts)
        reason = reason or "the loss is no number in another process"
        names = names_in_batch(self._batch)
        shown = ", ".join(names[:MAX_NAMES]) or "images without names"
        if len(names) > MAX_NAMES:
            shown += f" and {len(names) - MAX_NAMES} more"
        file = f"not_finite_iter_{runner.iter + 1}_rank{get_rank()}.pth"
        path = Path(runner.work_dir) / file
        _save_batch(path, self._batch, dict(names=names, losses=losses))
        message = (
            f"iteration {runner.iter + 1}: {reason}; the batch is saved in {path}, of "
            f"{shown}"
        )
        if self.skipped >= self.skip:
            advice = f"To leave up to ten such batches out instead: {SKIP_OPTION}"
            if self.skip:
                advice = (
                    f"{self.skipped} batches were left out before it; look at the "
                    "masks and the learning rate rather than allow more"
                )
            raise NotFiniteError(f"{message}. {advice}")
        self.skipped += 1
        with torch.no_grad():
            for buffer, former in zip(model.buffers(), self._buffers, strict=True):
                buffer.copy_(former)
        count = f"{self.skipped} of at most {self.skip}"
        print_log(f"{message}. Left out ({count})", "current", level=logging.WARNING)


def _check_weights(runner) -> None:
    for name, tensor in unwrapped(runner.model).named_parameters():
        if not torch.isfinite(tensor).all():
            raise NotFiniteError(
                f"iteration {runner.iter + 1}: the weights are no longer numbers, "
                f"first those of {name}, since a gradient before it was none. They are "
                "not saved. Go on from the last state at a lower learning rate, or "
                "with --cfg-options optim_wrapper.clip_grad.max_norm=1"
            )


def _finite_everywhere(loss: Tensor) -> bool:
    """Tell whether the loss is a number in every process that trains."""
    broken = (~torch.isfinite(loss.detach())).to(torch.int64)
    all_reduce(broken, op="max")
    return not bool(broken)


def names_in_batch(batch: object) -> list[str]:
    """Return the stems of a batch's cells, or the paths of its files."""
    samples = batch.get("data_samples", ()) if isinstance(batch, Mapping) else ()
    names: list[str] = []
    for sample in samples:
        meta = getattr(sample, "metainfo", {})
        tiles = [tile["stem"] for tile in meta.get("tiles", ())]
        names += tiles or [str(meta.get("img_path", "an image without a name"))]
    return names


def _save_batch(path: Path, batch: object, content: dict) -> None:
    if isinstance(batch, Mapping):
        inputs = batch.get("inputs", ())
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        content["inputs"] = [t.detach().cpu() for t in inputs if isinstance(t, Tensor)]
        samples = batch.get("data_samples", ())
        labels = [getattr(sample, "gt_sem_seg", None) for sample in samples]
        content["labels"] = [label.data.cpu() for label in labels if label is not None]
    with replacing(path) as part:
        torch.save(content, part)


class Interrupted(LeukoError):  # noqa: N818 - not an error, an order
    """The run was asked to stop; its state is saved."""

    def __init__(
        self, number: int, work_dir: Path, *, advice: str = "go on with --resume"
    ):
        name = signal.Signals(number).name
        super().__init__(
            f"stopped by {name}; the state is saved in {work_dir}, {advice}"
        )
        self.exit_code = 128 + number


class GracefulStopHook(Hook):
    """Save a checkpoint and raise ``Interrupted`` after SIGINT or SIGTERM.

    The state is saved at the end of the iteration, after every other hook. Where
    several processes train together, a signal to one stops all of them.

    Args:
        work_dir: folder of the checkpoint.
        advice: tells the user how to continue.
    """

    priority = "LOWEST"

    def __init__(self, work_dir: Path, *, advice: str = "go on with --resume"):
        self.work_dir, self.advice = Path(work_dir), advice
        self._received = 0
        self._former: dict = {}

    @contextmanager
    def catching_signals(self, runner: Runner) -> Iterator[None]:
        """Catch both signals while ``runner`` trains; only the main thread can.

        After a failure they are caught until ``restore_signals``: torchrun ends every
        process as soon as one of them has ended, which would cut off their messages.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._note)
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            # The signal ended the workers while the loop waited for their data: the
            # model is between two steps.
            of_workers = not isinstance(error, RuntimeError) or (
                "DataLoader worker" in str(error)
            )
            if not self._received or not of_workers:
                raise
            save_state(runner, runner.iter)
            raise Interrupted(
                self._received, self.work_dir, advice=self.advice
            ) from error
        self.restore_signals()

    def restore_signals(self) -> None:
        """Give the signals back to their former handlers."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, frame) -> None:
        self._received = number
        # A signal to the whole process group, as from `timeout` or a batch system, ends
        # the data workers too; torch would raise at once, in the middle of a step.
        child = getattr(signal, "SIGCHLD", None)
        if child is not None and child not in self._former:
            self._former[child] = signal.signal(child, lambda number, frame: None)

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Save and stop after a signal that came during the iteration."""
        received = torch.tensor(self._received)
        all_reduce(received, op="max")
        if not received:
            return
        # The loop counts the iteration after its hooks.
        save_state(runner, runner.iter + 1)
        # A process that ended now could end the one that saves.
        barrier()
        raise Interrupted(int(received), self.work_dir, advice=self.advice)


def random_states() -> dict:
    """Return the states of all global generators, as plain numbers and tensors."""
    kind, words, *rest = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=(kind, [int(word) for word in words], *rest),
        torch=torch.default_generator.get_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def restore_random_states(states: Mapping) -> None:
    """Set the global generators to what ``random_states`` returned."""
    version, words, following = states["python"]
    random.setstate((version, tuple(words), following))
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))
    torch.default_generator.set_state(states["torch"].cpu())
    # A machine with another number of GPUs keeps its own states.
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def read_identity(state: Path) -> dict:
    """Return the identity of the run that a training state is of, {} if it has none."""
    return dict(load_tensors(state).get(STATE_KEY, {}).get("identity", {}))


class TrainingStateHook(Hook):
    """Keep in every checkpoint which run it is of, its random states, and its time.

    Args:
        identity: plain values that tell this run from others.

    Attributes:
        started: seconds since the epoch, when the first part of the training began.
    """

    # The last before the first step, when loaders and other hooks have drawn.
    priority = "LOWEST"

    def __init__(self, identity: Mapping[str, str]):
        self.identity = dict(identity)
        self.started = time.time()
        self._former_s, self._since = 0.0, time.monotonic()
        self._pending: Mapping | None = None

    @property
    def trained_s(self) -> float:
        """Seconds of training up to now, those before resumptions included."""
        return self._former_s + time.monotonic() - self._since

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add identity, times and random states."""
        checkpoint[STATE_KEY] = dict(
            identity=self.identity,
            started=self.started,
            trained_s=self.trained_s,
            random_states=random_states(),
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Continue the former time; the random states wait for the first step."""
        kept = checkpoint.get(STATE_KEY)
        # Weights to start from bring no history along.
        if kept is None or not runner._resume:
            return
        changed = [
            key.removesuffix("_sha256")
            for key, value in kept["identity"].items()
            if self.identity.get(key) != value
        ]
        if changed:
            runner.logger.warning(
                "the training that is resumed had another %s: its steps so far are "
                "kept, and the rest follows what is given now",
                " and another ".join(changed),
            )
        self.started, self._former_s = kept["started"], kept["trained_s"]
        self._pending = kept["random_states"]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Restore the generators to their states at the checkpoint."""
        if self._pending is not None:
            restore_random_states(self._pending)
            self._pending = None
