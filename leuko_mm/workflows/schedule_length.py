"""Train longer or shorter than a protocol says, with all its stages in proportion."""

from __future__ import annotations

from mmengine.config import Config

from leuko_mm.errors import UsageError


def train_for(config: Config, iterations: int) -> None:
    """Give a resolved config another number of iterations, in place.

    The encoder stays frozen for the same share of them, and schedules that end with
    the training still do; a warm-up keeps its length. ``variant`` gets ``i<number>``
    appended, so that results of other lengths have other names. The config's own
    number changes nothing.

    Args:
        config: a complete config.
        iterations: how many.

    Raises:
        UsageError: if the config counts in epochs, or a schedule that does not end
            with the training is as long as the iterations asked for.

    Example:
        >>> schedule = [dict(type="CosineAnnealingLR", begin=20, end=650)]
        >>> hook = dict(type="leuko_mm.StagedFreezeHook", iters=97)
        >>> config = Config(
        ...     dict(
        ...         train_cfg=dict(max_iters=650),
        ...         param_scheduler=schedule,
        ...         custom_hooks=[hook],
        ...     )
        ... )
        >>> train_for(config, 300)
        >>> config.param_scheduler[0].end, config.custom_hooks[0].iters, config.variant
        (300, 45, 'i300')
    """
    former = config.train_cfg.get("max_iters")
    if not former:
        raise UsageError(
            "--iterations needs a config that counts iterations; this one has no "
            "train_cfg.max_iters"
        )
    if iterations == former:
        return
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        _fit(scheduler, former, iterations)
    for hook in config.get("custom_hooks") or []:
        if hook.get("type") == "leuko_mm.StagedFreezeHook" and "iters" in hook:
            hook["iters"] = round(hook["iters"] * iterations / former)
    config.train_cfg["max_iters"] = iterations
    parts = (config.get("variant"), f"i{iterations}")
    config["variant"] = "-".join(part for part in parts if part)


def _fit(scheduler: dict, former: int, iterations: int) -> None:
    for key in ("end", "T_max"):
        if scheduler.get(key) == former:
            scheduler[key] = iterations
    stage = [scheduler.get(key) or 0 for key in ("begin", "end")]
    begins_late = stage[0] >= iterations
    ends_late = scheduler.get("end") != iterations and stage[1] >= iterations
    if begins_late or ends_late:
        raise UsageError(
            f"--iterations {iterations} is too few: the {scheduler.get('type')} of "
            f"the schedule goes from {stage[0]} to {stage[1]}"
        )
