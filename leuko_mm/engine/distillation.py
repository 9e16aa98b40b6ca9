"""Let a trained network teach a smaller one while it learns from labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.classes import IGNORE_LABEL
from leuko_mm.engine.data_parallel import unwrapped
from leuko_mm.engine.teacher import Teacher, load_teacher
from leuko_mm.registry import HOOKS


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 2.0,
    counted: Tensor | None = None,
) -> Tensor:
    """Return how far a student's classes are from a teacher's, a mean over pixels.

    The Kullback-Leibler divergence of the two softened softmaxes, times the square of
    the temperature, which keeps its gradient's size.

    Args:
        student: logits.
        teacher: logits.
        temperature: above 0; divides both logits.
        counted: which pixels count; None: all. Without any the loss is 0.

    Shape:
        student (B, C, H, W), teacher alike, counted (B, H, W) -> ().

    Reference:
        Hinton et al., Distilling the knowledge in a neural network, 2015. Differs: a
        mean over pixels instead of one image's class.

    Example:
        >>> logits = torch.tensor([[[[2.0]], [[0.0]]]])
        >>> distillation_loss(logits, logits).item()
        0.0
    """
    # In float32: a divergence of near equals is a difference of near equals.
    ours = F.log_softmax(student.float() / temperature, dim=1)
    theirs = F.log_softmax(teacher.float() / temperature, dim=1)
    apart = (theirs.exp() * (theirs - ours)).sum(dim=1) * temperature**2
    if counted is None:
        return apart.mean()
    return (apart * counted).sum() / counted.sum().clamp(min=1)


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return how far a student's maps look elsewhere than the teacher's, a mean.

    A map's attention is the mean of its squares over the channels, brought to length
    1; widths may differ. Each of the student's maps is compared with the teacher's map
    whose height is nearest.

    Args:
        student: maps of an encoder.
        teacher: maps of another one.

    Shape:
        maps (B, C_i, H_i, W_i), of any number, width and size -> ().

    Reference:
        Zagoruyko and Komodakis, Paying more attention to attention, ICLR 2017.
        Differs: maps are matched by size and resized where they differ.

    Example:
        >>> one = torch.rand(2, 3, 4, 4)
        >>> round(attention_loss([one], [torch.cat((one, one), 1)]).item(), 6)
        0.0
    """
    apart = []
    for ours in student:
        theirs = min(teacher, key=lambda x: abs(x.shape[-2] - ours.shape[-2]))
        theirs = _attention(theirs, ours.shape[-2:])
        apart.append((_attention(ours) - theirs).square().sum(dim=1).mean())
    return torch.stack(apart).mean()


def _attention(maps: Tensor, size=None) -> Tensor:
    """Return the attention of a map, (B, C, H, W) -> (B, H * W)."""
    energy = maps.float().square().mean(dim=1, keepdim=True)
    if size is not None and energy.shape[-2:] != size:
        energy = F.interpolate(energy, size, mode="bilinear", align_corners=False)
    return F.normalize(energy.flatten(1), dim=1)


@HOOKS.register_module()
class DistillationHook(Hook):
    """Add a teacher's view of every training image to the loss.

    The teacher is a checkpoint of this project with its sidecar, which says how to
    build it and what it was trained on. It is frozen, in evaluation mode, computes
    under the student's precision, and is no part of the student or its checkpoint.

    Args:
        teacher: its ``.pth`` file; ``{split}`` stands for the split that is trained on.
        weight: of ``distillation_loss``; 0, with ``features`` 0: no teacher.
        temperature: see ``distillation_loss``.
        features: weight of ``attention_loss`` between the encoders.
        ignored: let the teacher speak about pixels that are to be ignored, too.

    Raises:
        ValueError: if a number does not fit, or when training begins: if the teacher is
            missing, is for other classes or images, or has learnt from other cells than
            the student may learn from.
    """

    def __init__(
        self,
        teacher: str,
        *,
        weight: float = 1.0,
        temperature: float = 2.0,
        features: float = 0.0,
        ignored: bool = False,
    ):
        if min(weight, features) < 0 or temperature <= 0:
            raise ValueError(
                f"DistillationHook got weight={weight}, features={features}, "
                f"temperature={temperature}; expected 0 or more, 0 or more and above 0"
            )
        self.teacher_file, self.weight, self.features = teacher, weight, features
        self.temperature, self.ignored = temperature, ignored
        self.teacher: Teacher | None = None
        self._seen: dict[str, Tensor | Sequence[Tensor]] = {}
        self._handles: list = []

    def before_train(self, runner) -> None:
        """Load the teacher, and watch what the student computes."""
        if not (self.weight or self.features):
            print_log("no teacher: its weights are 0", "current")
            return
        model = unwrapped(runner.model)
        self.teacher = load_teacher(self.teacher_file, runner.cfg, model)
        self._watch(model.decode_head.conv_seg, "logits")
        self._watch(model.backbone, "maps")
        own = model.loss

        def loss(inputs: Tensor, data_samples: list) -> dict:
            return {**own(inputs, data_samples), **self._losses(inputs, data_samples)}

        # On the object, not its class: whatever else is built keeps its loss.
        model.loss = loss
        print_log(f"taught by {self.teacher.path}", "current")

    def after_train(self, runner) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        vars(unwrapped(runner.model)).pop("loss", None)
        self.teacher = None

    def _watch(self, module: nn.Module, name: str) -> None:
        def keep(_module, _inputs, output) -> None:
            self._seen[name] = output

        self._handles.append(module.register_forward_hook(keep))

    def _losses(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        logits, maps = self._seen.pop("logits"), self._seen.pop("maps")
        told, shown = self.teacher(inputs)
        losses = {}
        if self.weight:
            size = logits.shape[-2:]
            told = F.interpolate(told.float(), size, mode="bilinear")
            counted = None if self.ignored else _counted(data_samples, size)
            apart = distillation_loss(
                logits, told, temperature=self.temperature, counted=counted
            )
            losses["loss_distillation"] = self.weight * apart
        if self.features:
            losses["loss_attention"] = self.features * attention_loss(maps, shown)
        return losses


def _counted(data_samples: list, size) -> Tensor:
    """Return which pixels have a label, (B, H, W), at another size than the labels'."""
    labels = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
    known = (labels != IGNORE_LABEL).float()  # (B, 1, H, W)
    return F.interpolate(known, size, mode="nearest")[:, 0]
