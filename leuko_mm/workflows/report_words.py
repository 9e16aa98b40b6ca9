"""What the report calls a result: its setting, encoder, protocol and test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from leuko_mm.workflows.pooled_results import Result
from leuko_mm.workflows.published_runs import PublishedRun
from leuko_mm.workflows.settings import COMBINATIONS, SETTINGS

# In percent: the mean IoU is the one that the paper prints.
TARGETS = {"mIoU": 91.89, "pixel_accuracy": 99.0}
# Where an encoder's weights are drawn.
RANDOM = "random"


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
    changed = result.first.options
    if changed:
        words[0] += f" ({', '.join(changed)})"
    return ", ".join(words + [f"seed {result.seed}"] * bool(result.seed))


def reading_words(reading: Mapping) -> list[str]:
    """Say how cells were read from a network's answer; nothing: pixel by pixel.

    Example:
        >>> reading_words(dict(least_area=250, views=8))
        ['one class a cell', 'eight views']
    """
    words = ["one class a cell"] * ("least_area" in reading)
    return words + ["eight views"] * ("views" in reading)


def protocol_words(*results: Result) -> str:
    """Say under what results of one test were made: protocol, test, length, images."""
    run = results[0].first
    size = run.results["data"].get("size")
    image = f"{run.tiles}x{run.tiles} cells" if run.tiles > 1 else "single cells"
    lengths = sorted({result.first.iterations for result in results})
    return (
        f"{run.folder}, {results[0].scope} ({len(results[0].stems)} cells), "
        f"{' or '.join(map(str, lengths))} iterations, "
        f"{image}{f' on {size} px' if size else ''}"
    )


def float32_files(runs: Iterable[PublishedRun]) -> list[str]:
    """Return the trainings in float32 where others multiplied in bfloat16."""
    # A test of a checkpoint multiplies in float32, whatever its training did.
    amp = {run.file: run.run.get("amp") for run in runs if not run.is_test}
    return [file for file in amp if amp[file] is False and True in amp.values()]


def precision_note(results: Sequence[Result]) -> str:
    """Name the results of trainings in float32 beside others; else ''."""
    files = set(float32_files(run for result in results for run in result.runs))
    names = [r.name for r in results if files & {run.file for run in r.runs}]
    if not names:
        return ""
    return f"Trained in float32, the others in bfloat16: {', '.join(names)}."


def encoder_of(result: Result) -> str:
    """Say what a result's encoder started from."""
    model = result.first.results["model"]
    return str(model.get("pretrained") or RANDOM)


def encoder_words(result: Result) -> str:
    """Say what a result's encoder started from, as a remark behind its name."""
    encoder = encoder_of(result)
    return "random weights" if encoder == RANDOM else encoder
