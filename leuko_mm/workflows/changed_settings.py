"""What a run's config has otherwise than its file says, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmengine.config import Config

from leuko_mm.report.run_report import SettingRow
from leuko_mm.workflows.resolve_config import UsageError, resolve_config

# Where and how it runs, not what: set anew by every command.
LOCAL_KEYS = frozenset(
    [
        "experiment_name",
        "launcher",
        "protocol",
        "resume",
        "test_evaluator.out_dir",
        "work_dir",
    ]
)
UNSET = object()


@dataclass(frozen=True)
class ChangedSettings:
    """Settings that differ: those the user chose, those the chosen protocol brings."""

    chosen: tuple[SettingRow, ...]
    by_protocol: tuple[SettingRow, ...]


def changed_settings(config: Config) -> ChangedSettings | None:
    """Compare a run's config with its file as ``leuko train FILE`` alone reads it.

    Keys are those that ``--cfg-options`` takes. What a chosen protocol changes is
    told apart from what was chosen beside it.

    Args:
        config: the run's resolved config.

    Returns:
        None if the config's file is gone or can no longer be read.
    """
    protocol = config.get("protocol")
    try:
        own = shared = resolve_config(str(config.filename))
        if own.get("protocol") != protocol:
            shared = resolve_config(str(config.filename), protocol=protocol)
    except UsageError:
        return None
    chosen = _differences(shared, config)
    if own is not shared:
        given = SettingRow("protocol", _text(own.get("protocol")), _text(protocol))
        chosen = (given, *chosen)
    return ChangedSettings(chosen, _differences(own, shared))


def _differences(before: Config, after: Config) -> tuple[SettingRow, ...]:
    old, new = (dict(_flat(side.to_dict())) for side in (before, after))
    return tuple(
        SettingRow(key, _text(old.get(key, UNSET)), _text(new.get(key, UNSET)))
        for key in dict.fromkeys((*old, *new))
        if old.get(key, UNSET) != new.get(key, UNSET)
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
