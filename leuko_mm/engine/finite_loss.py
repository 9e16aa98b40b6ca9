"""Stop a training at a loss that is no number, before it reaches the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import Tensor

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
    ``not_finite_iter_<i>_rank<r>.pth``, which ``leuko_mm.engine.safe_load`` reads:
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
        names = names_of(self._batch)
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


def names_of(batch: object) -> list[str]:
    """Return the names of a batch's cells, or of its files.

    Example:
        >>> from mmseg.structures import SegDataSample
        >>> tiles = [dict(stem="baso_1-1_0"), dict(stem="mono_2-1_0")]
        >>> names_of({"data_samples": [SegDataSample(metainfo=dict(tiles=tiles))]})
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
