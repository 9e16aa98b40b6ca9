"""Hooks of a training: the state, a graceful stop, and losses that are no number."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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
from leuko_mm.engine.data_parallel import unwrapped
from leuko_mm.errors import LeukoError
from leuko_mm.files import replacing
from leuko_mm.registry import HOOKS

SHOWN = 8
OPTION = (
    "--cfg-options default_hooks.finite_loss.type=leuko_mm.FiniteLossHook "
    "default_hooks.finite_loss.skip=10"
)


class NotFiniteError(LeukoError, ArithmeticError):
    """The loss is NaN or infinite; the weights are those before that batch."""

    exit_code = 1


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Refuse a NaN or infinite loss: the batch is saved, the weights keep clear of it.

    Every training has one. The batch lies in the work dir as
    ``not_finite_iter_<i>_rank<r>.pth``, which ``leuko_mm.engine.checkpoints`` reads:
    ``inputs``, ``labels``, ``names`` and ``losses``. Where several processes train
    together, all of them leave the step out, or stop.

    Args:
        skip: batches of a training that may be left out before one stops it. A batch
            that is left out changes neither weights nor running statistics; its place
            in the schedule stays empty.

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
        """Stand between the loss and the step."""
        model, wrapper = unwrapped(runner.model), runner.optim_wrapper
        parse, update = model.parse_losses, wrapper.update_params

        def parse_checked(losses: dict) -> tuple[Tensor, dict]:
            total, told = parse(losses)
            self._left_out = not _finite_everywhere(total)
            if self._left_out:
                self._leave_out(runner, model, told)
                told = {}
            return total, told

        def update_unless_left_out(loss: Tensor, *args, **kwargs) -> None:
            if not self._left_out:
                update(loss, *args, **kwargs)

        # On the objects, not their classes: whatever else is built keeps its own.
        model.parse_losses = parse_checked
        wrapper.update_params = update_unless_left_out

    def after_train(self, runner) -> None:
        """Leave the model and the optimiser as they were."""
        vars(unwrapped(runner.model)).pop("parse_losses", None)
        vars(runner.optim_wrapper).pop("update_params", None)
        self._batch = None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Keep the batch, and what it will change without asking."""
        self._batch = data_batch
        if self.skip:
            self._buffers = [b.clone() for b in unwrapped(runner.model).buffers()]

    def _leave_out(self, runner, model, told: Mapping[str, Tensor]) -> None:
        losses = {name: float(value.detach()) for name, value in told.items()}
        broken = {n: v for n, v in losses.items() if not torch.tensor(v).isfinite()}
        parts = [name for name in broken if name != "loss"] or list(broken)
        names = names_in_batch(self._batch)
        place = _place(runner)
        _save_batch(place, self._batch, names, losses)
        said = ", ".join(f"{name} is {losses[name]}" for name in parts)
        said = said or "the loss is no number in another process"
        words = (
            f"iteration {runner.iter + 1}: {said}; the batch is saved in {place}, of "
            f"{_listed(names)}"
        )
        if self.skipped >= self.skip:
            raise NotFiniteError(f"{words}. {self._advice()}")
        self.skipped += 1
        with torch.no_grad():
            for buffer, former in zip(model.buffers(), self._buffers, strict=True):
                buffer.copy_(former)
        print_log(
            f"{words}. Left out ({self.skipped} of at most {self.skip})",
            "current",
            level=30,
        )

    def _advice(self) -> str:
        if self.skip:
            return (
                f"{self.skipped} batches were left out before it; look at the masks "
                "and the learning rate rather than allow more"
            )
        return f"To leave up to ten such batches out instead: {OPTION}"


def _finite_everywhere(loss: Tensor) -> bool:
    """Tell whether the loss is a number in every process that trains."""
    broken = (~torch.isfinite(loss.detach())).to(torch.int64)
    all_reduce(broken, op="max")
    return not bool(broken)


def names_in_batch(batch: object) -> list[str]:
    """Return the names of a batch's cells, or of its files.

    Example:
        >>> from mmseg.structures import SegDataSample
        >>> tiles = [dict(stem="baso_1-1_0"), dict(stem="mono_2-1_0")]
        >>> names_in_batch(
        ...     {"data_samples": [SegDataSample(metainfo=dict(tiles=tiles))]}
        ... )
        ['baso_1-1_0', 'mono_2-1_0']
    """
    samples = batch.get("data_samples", ()) if isinstance(batch, Mapping) else ()
    names: list[str] = []
    for sample in samples:
        told = getattr(sample, "metainfo", {})
        tiles = [tile["stem"] for tile in told.get("tiles", ())]
        names += tiles or [str(told.get("img_path", "an image without a name"))]
    return names


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "images without names") + more


def _place(runner) -> Path:
    name = f"not_finite_iter_{runner.iter + 1}_rank{get_rank()}.pth"
    return Path(runner.work_dir) / name


def _save_batch(
    place: Path, batch: object, names: Sequence[str], losses: Mapping[str, float]
) -> None:
    content = dict(names=list(names), losses=dict(losses))
    if isinstance(batch, Mapping):
        content["inputs"] = _tensors(batch.get("inputs", ()))
        samples = batch.get("data_samples", ())
        labels = [getattr(sample, "gt_sem_seg", None) for sample in samples]
        content["labels"] = [label.data.cpu() for label in labels if label is not None]
    with replacing(place) as part:
        torch.save(content, part)


def _tensors(inputs: object) -> list[Tensor]:
    several = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return [one.detach().cpu() for one in several if isinstance(one, Tensor)]


class Interrupted(LeukoError):  # noqa: N818 - not an error, an order
    """The run was asked to stop; its state is saved.

    Args:
        number: the signal.
        work_dir: where the state is.
        advice: tells the user how to continue.
    """

    def __init__(
        self, number: int, work_dir: Path, *, advice: str = "go on with --resume"
    ):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; the state is saved in "
            f"{work_dir}, {advice}"
        )
        self.exit_code = 128 + number


def _is_of_workers(error: Exception) -> bool:
    broken_off = isinstance(error, (ConnectionError, EOFError))
    return broken_off or "DataLoader worker" in str(error)


class GracefulStopHook(Hook):
    """Save a checkpoint and raise ``Interrupted`` after SIGINT or SIGTERM.

    The signal is answered at the end of the iteration it falls into, after every other
    hook: a checkpoint written in the middle would hold half a step. Where several
    processes train together, a signal to one stops all of them at the same iteration.

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
        """Take over both signals while ``runner`` trains.

        Where the training fails they stay taken over until ``restore_signals``:
        torchrun asks every process to end as soon as one of them has, which would cut
        off the messages of the others.

        Python lets only the main thread take them over; in another one nothing happens.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._former = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Workers that the signal ended while the loop waited for their data, or
            # took it over: the model stands between two steps.
            if not self._received or not _is_of_workers(error):
                raise
            save_state(runner, runner.iter)
            raise self._order(self._received) from error
        self.restore_signals()

    def restore_signals(self) -> None:
        """Return the signals that are still taken over to their former handlers."""
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
        """Answer a signal that came during the iteration."""
        received = torch.tensor(self._received)
        all_reduce(received, op="max")
        if not received:
            return
        # The loop counts the iteration after its hooks.
        save_state(runner, runner.iter + 1)
        # A process that ended now could take the one that saves along.
        barrier()
        raise self._order(int(received))

    def _order(self, number: int) -> Interrupted:
        return Interrupted(number, self.work_dir, advice=self.advice)


KEY = "leuko_mm"


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
    """Put the global generators back to where ``random_states`` found them.

    Example:
        >>> states = random_states()
        >>> drawn = random.random(), np.random.rand(), torch.rand(1)
        >>> restore_random_states(states)
        >>> (random.random(), np.random.rand(), torch.rand(1)) == drawn
        True
    """
    version, words, following = states["python"]
    random.setstate((version, tuple(words), following))
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))
    torch.default_generator.set_state(states["torch"].cpu())
    # A machine with another number of GPUs draws afresh there.
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def read_identity(state: Path) -> dict:
    """Return what run a training state says it belongs to, {} if it does not say."""
    return dict(load_tensors(state).get(KEY, {}).get("identity", {}))


class TrainingStateHook(Hook):
    """Keep in every checkpoint which run it is of, its random states, and its time.

    mmengine keeps weights, optimiser, schedule and the number of iterations; where
    dropout or a network's random start is drawn from, it does not keep.

    Args:
        identity: plain values that tell this run from others, such as the sha256 of
            its config and of its dataset.

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
        """Add what is kept."""
        checkpoint[KEY] = dict(
            identity=self.identity,
            started=self.started,
            trained_s=self.trained_s,
            random_states=random_states(),
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take up the former part's time; its random states wait for the first step."""
        kept = checkpoint.get(KEY)
        # Weights to start from bring no history along.
        if kept is None or not runner._resume:
            return
        self.started, self._former_s = kept["started"], kept["trained_s"]
        self._pending = kept["random_states"]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Go on where the generators stood when the state was saved."""
        if self._pending is not None:
            restore_random_states(self._pending)
            self._pending = None
