"""Label Studio's JSON: a list of tasks, with outlines in hundredths of the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Patch,
    Reader,
    check_size,
    expect,
    fill_rings,
    paint,
    points_of_shares,
)
from leuko_mm.datasets.prepared import DatasetError

# Answers about a whole image or between things; nothing is drawn.
NOT_DRAWN = ("choices", "textarea", "rating", "number", "taxonomy", "relation")


def is_tasks(content: object) -> bool:
    """Tell whether a JSON file is an export of Label Studio, full or short."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and bool({"data", "annotator"} & first.keys())


def task_images(path: Path, tasks: list) -> list[tuple[str, Reader]]:
    """Return name and reader of the image of every task that is annotated.

    A task whose annotation is empty has no leukocyte.
    """
    found = []
    for number, task in enumerate(tasks):
        try:
            name, results = _task(number, task)
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from None
        if results is not None:
            found.append((name, _reader(f"{path}: {name}", results)))
    return found


def _task(number: int, task: object) -> tuple[str, list | None]:
    what = f"task {number}"
    expect(task, dict, what)
    if "data" not in task:
        raise ValueError(
            f"{what} has no 'data'; expected Label Studio's JSON, not JSON-MIN: export "
            "JSON"
        )
    data = expect(task["data"], dict, f"data of {what}")
    texts = [value for value in data.values() if isinstance(value, str)]
    url = data["image"] if isinstance(data.get("image"), str) else (texts or [""])[0]
    # Files on the server's disk are named in a query.
    name = unquote(url.partition("?d=")[2] or url.partition("?")[0])
    if not name:
        raise ValueError(f"data of {what} names no image, having {str(data)[:40]}")
    given = task.get("annotations", task.get("completions"))
    given = expect(given, list, f"annotations of {what} ({name})")
    if not all(isinstance(one, dict) for one in given):
        raise ValueError(f"annotations of {what} ({name}) are no objects {{...}}")
    given = [one for one in given if not one.get("was_cancelled")]
    if len(given) > 1:
        raise ValueError(
            f"{what} ({name}) has {len(given)} annotations; expected one: delete all "
            "but the one that counts"
        )
    if not given:
        return name, None
    return name, expect(given[0].get("result"), list, f"result of {what} ({name})")


def _reader(what: str, results: list) -> Reader:
    def read(height: int, width: int) -> Annotation:
        try:
            return paint(_patches(what, results, height, width), height, width)
        except DatasetError:
            raise
        except ValueError as error:
            raise DatasetError(f"{what}: {error}") from None

    return read


def _patches(what: str, results: list, height: int, width: int) -> Iterator[Patch]:
    for number, result in enumerate(results):
        kind = str(expect(result, dict, f"result {number}").get("type"))
        if kind in NOT_DRAWN:
            continue
        if kind != "polygonlabels":
            brush = "brush" in kind
            instead = "export masks (Brush labels to PNG)" if brush else "draw polygons"
            raise ValueError(
                f"result {number} is of the type {kind[:20]!r}; expected "
                f"polygonlabels: {instead}"
            )
        if result.get("image_rotation"):
            raise ValueError(f"result {number} is drawn on an image that was turned")
        size = result.get("original_height"), result.get("original_width")
        check_size(what, size, height, width)
        value = expect(result.get("value"), dict, f"value of result {number}")
        points = expect(value.get("points"), list, f"points of result {number}")
        labels = expect(value.get("polygonlabels"), list, f"labels of result {number}")
        if len(labels) != 1:
            raise ValueError(f"result {number} has the labels {labels}; expected one")
        key = expect(labels[0], str, f"the label of result {number}").strip()
        ring = points_of_shares(points, 100, height=height, width=width)
        yield fill_rings(key, [ring], height=height, width=width)
