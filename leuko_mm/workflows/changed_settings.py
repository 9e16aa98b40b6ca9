"""What a run's config has otherwise than its file says, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmengine.config import Config

from leuko_mm.errors import UsageError
from leuko_mm.report.run_report import SettingRow
from leuko_mm.workflows.precision import set_precision
from leuko_mm.workflows.resolve_config import resolve_config

# Where and how it runs, not what: set anew by every command.
LOCAL_KEYS = frozenset(
    [
        "experiment_name",
        "launcher",
        "protocol",
        "resume",
        # What a setting leaves behind, so that it is not put on twice.
        "takes_setting",
        "test_evaluator.out_dir",
        "work_dir",
    ]
)
# What a test of a checkpoint does not read, or takes from the checkpoint's sidecar.
ONLY_TRAINING = (
    "custom_hooks",
    "default_hooks",
    "optim_wrapper",
    "param_scheduler",
    "randomness",
    "train_cfg",
    "train_dataloader",
)
UNSET = object()


@dataclass(frozen=True)
class ChangedSettings:
    """Settings that differ: those the user chose, those the chosen protocol brings."""

    chosen: tuple[SettingRow, ...]
    by_protocol: tuple[SettingRow, ...]


def changed_settings(config: Config, *, tested: bool = False) -> ChangedSettings | None:
    """Compare a run's config with its file as ``leuko train FILE`` alone reads it.

    Keys are those that ``--cfg-options`` takes. What a chosen protocol changes is
    told apart from what was chosen beside it.

    Args:
        config: the run's resolved config.
        tested: whether the run only tests a checkpoint, and reads no setting of a
            training.

    Returns:
        None if the config's file is gone or can no longer be read.
    """
    protocol = config.get("protocol")
    try:
        own = shared = _as_trained(config)
        if own.get("protocol") != protocol:
            shared = _as_trained(config, protocol=protocol)
    except UsageError:
        return None
    unread = [*(ONLY_TRAINING if tested else ())]
    if config.get("resume"):
        unread.append("load_from")  # the state that a resumed run goes on from
    chosen = _differences(shared, config, unread)
    if own is not shared:
        given = SettingRow("protocol", _text(own.get("protocol")), _text(protocol))
        chosen = (given, *chosen)
    return ChangedSettings(chosen, _differences(own, shared, unread))


def _as_trained(config: Config, protocol: str | None = None) -> Config:
    """Return a config as ``leuko train FILE`` completes it on this machine."""
    resolved = resolve_config(str(config.filename), protocol=protocol)
    if "enabled" in config.optim_wrapper:
        set_precision(resolved, None)
    return resolved


def _differences(
    before: Config, after: Config, unread: Sequence[str]
) -> tuple[SettingRow, ...]:
    old, new = (dict(_flat(side.to_dict())) for side in (before, after))
    return tuple(
        SettingRow(key, _text(old.get(key, UNSET)), _text(new.get(key, UNSET)))
        for key in dict.fromkeys((*old, *new))
        if old.get(key, UNSET) != new.get(key, UNSET)
        and key.split(".")[0] not in unread
    )


def _flat(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, value), entering dicts and lists of dicts.

    Example:
        >>> list(_flat({"a": {"b": 1}, "c": [{"d": 2}], "_free": 3, "e": [4, 5]}))
        [('a.b', 1), ('c.0.d', 2), ('e', [4, 5])]
    """
    if key in LOCAL_KEYS or (key.startswith("_") and "." not in key):
        return
    if isinstance(value, Mapping) and value:
        parts = value.items()
    elif isinstance(value, (list, tuple)) and any(
        isinstance(v, Mapping) for v in value
    ):
        parts = enumerate(value)
    else:
        yield key, value
        return
    for name, part in parts:
        yield from _flat(part, f"{key}.{name}" if key else str(name))


def _text(value: object) -> str | None:
    return None if value is UNSET else repr(value)
