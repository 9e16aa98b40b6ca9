"""Write images with labels in every form that ``leuko prepare folders`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES

Labels = Mapping[str, np.ndarray]  # key of an image (with slashes) -> (H, W) uint8


def write_images(folder: Path, labels: Labels, rng: np.random.Generator) -> None:
    for key, array in labels.items():
        pixels = rng.integers(0, 256, (*array.shape, 3), dtype=np.uint8)
        save(folder / f"{key}.png", Image.fromarray(pixels))


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def as_values(place: Path, labels: Labels, values: Mapping[int, int]) -> None:
    for key, array in labels.items():
        table = np.zeros(256, np.uint16)
        table[list(values)] = list(values.values())
        mask = table[array]
        mask = mask if mask.max() > 255 else mask.astype(np.uint8)
        save(place / f"{key}.png", Image.fromarray(mask))


def as_palette(place: Path, labels: Labels, values: Mapping[int, int]) -> None:
    """Write palette masks whose colours are those of the classes."""
    palette = np.zeros((256, 3), np.uint8)
    table = np.zeros(256, np.uint8)
    for label, value in values.items():
        palette[value] = colour_of(label)
        table[label] = value
    for key, array in labels.items():
        mask = Image.fromarray(table[array])
        mask.putpalette(palette.ravel().tolist())
        save(place / f"{key}_mask.png", mask)


def as_colours(place: Path, labels: Labels) -> None:
    """Write masks in the colours of the classes, as different formats."""
    for number, (key, array) in enumerate(labels.items()):
        table = np.zeros((256, 3), np.uint8)
        for label in np.unique(array).tolist():
            table[label] = colour_of(label)
        suffix = (".png", ".bmp", ".tif")[number % 3]
        save(place / f"{key}{suffix}", Image.fromarray(table[array]))


def colour_of(label: int) -> tuple[int, int, int]:
    return CLASS_COLOURS[label] if label < len(CLASS_COLOURS) else (128, 128, 128)


def name_of(label: int) -> str:
    return CLASS_NAMES[label] if label < len(CLASS_NAMES) else "ignore"


def as_layers(place: Path, labels: Labels, *, folders: bool) -> None:
    """Write one {0, 255} mask a class, in folders or with suffixes."""
    for key, array in labels.items():
        there = set(np.unique(array).tolist()) - {0} or {1}
        for label in sorted(there):
            word = name_of(label)
            name = f"{word}/{key}" if folders else f"{key}_{word}"
            mask = np.where(array == label, 255, 0).astype(np.uint8)
            save(place / f"{name}.png", Image.fromarray(mask))


def runs(array: np.ndarray, label: int) -> list[list[list[float]]]:
    """Return the rows of a label's pixels as rectangles along the pixels' edges."""
    found = []
    for y, row in enumerate(array == label):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
        for x0, x1 in edges.reshape(-1, 2).tolist():
            found.append([[x0, y], [x1, y], [x1, y + 1], [x0, y + 1]])
    return found


def column_runs(inside: np.ndarray) -> list[int]:
    """Return COCO's run lengths, counted in columns and from the outside."""
    flat = inside.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]))).tolist()
    return np.diff([0, *edges, flat.size]).tolist()


def compressed(counts: list[int]) -> str:
    """Return run lengths as COCO's text, by its definition."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits = value & 31
            value >>= 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def as_coco(place: Path, labels: Labels, *, form: str) -> None:
    names = sorted({name_of(v) for a in labels.values() for v in np.unique(a) if v})
    images, drawn = [], []
    for number, (key, array) in enumerate(labels.items()):
        size = dict(height=array.shape[0], width=array.shape[1])
        images.append(dict(id=number, file_name=f"{key}.png", **size))
        for label in np.unique(array[array > 0]).tolist():
            one = dict(id=len(drawn), image_id=number)
            one["category_id"] = 7 * names.index(name_of(label))
            drawn.append(dict(one, segmentation=_segmentation(array, label, form)))
    categories = [dict(id=7 * i, name=name) for i, name in enumerate(names)]
    content = dict(images=images, annotations=drawn, categories=categories)
    write_json(place / "coco.json", content)


def _segmentation(array: np.ndarray, label: int, form: str) -> list | dict:
    if form == "polygons":
        return [np.ravel(ring).tolist() for ring in runs(array, label)]
    counts = column_runs(array == label)
    packed = compressed(counts) if form == "compressed" else counts
    return dict(size=list(array.shape), counts=packed)


def as_labelme(place: Path, labels: Labels) -> None:
    """Write a LabelMe file an image: polygons and rectangles in turn."""
    for key, array in labels.items():
        shapes = []
        for label in np.unique(array[array > 0]).tolist():
            for number, ring in enumerate(runs(array, label)):
                kind = ("polygon", "rectangle")[number % 2]
                points = [ring[0], ring[2]] if number % 2 else ring
                shape = dict(label=name_of(label), points=points, shape_type=kind)
                shapes.append(shape)
        height, width = array.shape
        content = dict(shapes=shapes, imageHeight=height, imageWidth=width)
        write_json(place / f"{key}.json", content)


def as_geojson(place: Path, labels: Labels) -> None:
    """Write what QuPath exports: one feature a class, of many parts."""
    for key, array in labels.items():
        features = []
        for label in np.unique(array[array > 0]).tolist():
            parts = [[[*ring, ring[0]]] for ring in runs(array, label)]
            geometry = dict(type="MultiPolygon", coordinates=parts)
            named = dict(classification=dict(name=name_of(label)))
            features.append(dict(type="Feature", geometry=geometry, properties=named))
        content = dict(type="FeatureCollection", features=features)
        write_json(place / f"{key}.geojson", content)


def as_coco_files(place: Path, labels: Labels) -> None:
    """Write a COCO file a folder, as Roboflow does for each part of a split."""
    for number, key in enumerate(labels):
        as_coco(place / str(number), {key: labels[key]}, form="polygons")


def things(labels: Labels) -> list[tuple[str, tuple[int, int], list[tuple[str, list]]]]:
    """Return key, (height, width) and (name, outline) of what each image shows."""
    found = []
    for key, array in labels.items():
        values = np.unique(array[array > 0]).tolist()
        drawn = [(name_of(v), ring) for v in values for ring in runs(array, v)]
        found.append((key, array.shape, drawn))
    return found


def as_yolo(place: Path, labels: Labels) -> None:
    names = sorted({name for _, _, drawn in things(labels) for name, _ in drawn})
    place.mkdir(parents=True, exist_ok=True)
    (place.parent / "data.yaml").write_text(f"train: images\nnames: {names}\n")
    for key, (height, width), drawn in things(labels):
        lines = [
            " ".join(
                [str(names.index(n)), *(f"{x / width} {y / height}" for x, y in r)]
            )
            for n, r in drawn
        ]
        (place / f"{key}.txt").parent.mkdir(parents=True, exist_ok=True)
        (place / f"{key}.txt").write_text("\n".join(lines))


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
