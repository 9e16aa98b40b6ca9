"""Score and keep the mean of a network's weights over the end of its training."""

from __future__ import annotations

from mmengine.hooks import EMAHook

from leuko_mm.registry import HOOKS


@HOOKS.register_module()
class WeightAveragingHook(EMAHook):
    """End a training with the mean of the weights that it passed through.

    mmengine's ``EMAHook`` with its ``StochasticWeightAverage``, stored statistics of
    batch norms included; with it, too, a stopped training goes on with the same mean.
    It differs in that the mean becomes the network once the last step is done, so that
    what is tested, drawn and written as checkpoint is one and the same, and in that
    nothing is swapped for a test during training.

    Args:
        begin: share of the training after which averaging begins, 0 up to below 1.

    Raises:
        ValueError: if ``begin`` is another number.

    Reference:
        Izmailov et al., Averaging weights leads to wider optima and better
        generalization, UAI 2018. Differs: every step counts, and the learning rate is
        whatever the schedule says.

    Example:
        >>> WeightAveragingHook(begin=0.5).begin
        0.5
    """

    def __init__(self, *, begin: float = 0.5):
        if not 0 <= begin < 1:
            raise ValueError(
                "WeightAveragingHook takes a begin of 0 up to below 1, a share of the "
                f"training, got {begin}"
            )
        super().__init__(
            ema_type="StochasticWeightAverage", strict_load=True, update_buffers=True
        )
        self.begin = begin

    def before_train(self, runner) -> None:
        """Find the first iteration that counts."""
        self.begin_iter = round(self.begin * runner.max_iters) + 1

    def after_train(self, runner) -> None:
        """Let the mean be the network."""
        self.src_model.load_state_dict(self.ema_model.module.state_dict())

    def _swap_ema_parameters(self) -> None:
        """Leave the weights: tests come after the training."""
