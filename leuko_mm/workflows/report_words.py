"""What the report calls a result: its setting, encoder, protocol and test."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import takewhile

from leuko_mm.workflows.figures_methods import COMBINATIONS
from leuko_mm.workflows.pooled_results import Result
from leuko_mm.workflows.settings import SETTINGS

# Options that say what a run is called, what it is tested on, and how it is read.
OF_THE_TEST = ("variant=", "test_dataloader.", "model.type=", "model.test_cfg.")


def setting_words(variant: str | None) -> str:
    """Say what a variant is.

    Example:
        >>> setting_words("A"), setting_words(None)
        ('A: raw image, cross-entropy', 'own: as its file has it')
        >>> setting_words("A-views8")
        'A: raw image, cross-entropy; views8'
    """
    if variant is None:
        return "own: as its file has it"
    setting, _, rest = variant.partition("-")
    if setting in SETTINGS:
        said = f"{setting}: {SETTINGS[setting].words}"
        return f"{said}; {rest}" if rest else said
    return variant


def setting_of(result: Result) -> str:
    """Say a result's variant, what it was trained and read with, a seed but 0."""
    words = [setting_words(result.variant), *reading_words(result.first.reading)]
    if result.method == "unet_vgg16" and result.variant in COMBINATIONS:
        words[0] = f"ablation: {COMBINATIONS[result.variant]}"
    changed = training_options(result.first.trained_by or result.first.command)
    if changed:
        words[0] += f" ({', '.join(changed)})"
    return ", ".join(words + [f"seed {result.seed}"] * bool(result.seed))


def training_options(command: str) -> list[str]:
    """Return what a run's command changes in the config of its training.

    What tells how images of a test are made and how the answer is read is said
    elsewhere, so it is left out.

    Args:
        command: ``leuko train ... --cfg-options KEY=VALUE ...``.

    Example:
        >>> words = "variant=fast optim_wrapper.paramwise_cfg.lr_mult=0.3 --seed 1"
        >>> training_options(f"leuko train cbam_unet --cfg-options {words}")
        ['lr_mult=0.3']
    """
    _, _, behind = command.partition(" --cfg-options ")
    try:
        words = shlex.split(behind)
    except ValueError:  # no command that a shell would take, so nothing is known
        return []
    given = takewhile(lambda word: not word.startswith("--"), words)
    kept = (option for option in given if not option.startswith(OF_THE_TEST))
    return [_short(*option.partition("=")) for option in kept]


def _short(key: str, equals: str, value: str) -> str:
    """Return an option without what its last key stands in."""
    return f"{key.rpartition('.')[2]}{equals}{value}"


def reading_words(reading: Mapping) -> list[str]:
    """Say how cells were read from a network's answer; nothing: pixel by pixel.

    Example:
        >>> reading_words(dict(least_area=250, views=8))
        ['one class a cell', 'eight views']
    """
    words = ["one class a cell"] * ("least_area" in reading)
    return words + ["eight views"] * ("views" in reading)


def protocol_words(result: Result) -> str:
    """Say under what a result was made: protocol, test, length, images."""
    run = result.first
    size = run.results["data"].get("size")
    image = f"{run.tiles}x{run.tiles} cells" if run.tiles > 1 else "single cells"
    return (
        f"{run.folder}, {result.scope} ({len(result.stems)} cells), "
        f"{run.iterations} iterations, {image}{f' on {size} px' if size else ''}"
    )


def encoder_of(result: Result) -> str:
    """Say what a result's encoder started from."""
    model = result.first.results["model"]
    return str(model.get("pretrained") or "random")
