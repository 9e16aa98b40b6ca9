"""Inputs that were changed at random are read, or refused by name; never anything else.

``make test-faults`` reads 20,000 of them and prints the counts; LEUKO_MM_FUZZ is their
number, LEUKO_MM_FUZZ_SEED where they begin.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_checkpoint import write_tiny
from tiny_run import write_config

from leuko_mm.cli.train import add_cfg_options
from leuko_mm.datasets.converters.folders import coco
from leuko_mm.datasets.converters.folders.labelme_qupath import (
    geojson_reader,
    labelme_reader,
    load_json,
)
from leuko_mm.datasets.converters.folders.yolo import class_names, yolo_reader
from leuko_mm.datasets.images import read_image, read_mask_file
from leuko_mm.datasets.prepared import DatasetError, read_about, read_index, read_split
from leuko_mm.engine.checkpoints import UnsafeCheckpointError, load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.inference.model import CheckpointError, read_checkpoint
from leuko_mm.training.config import resolve_config

COUNT = int(os.environ.get("LEUKO_MM_FUZZ", 180))
SEED = int(os.environ.get("LEUKO_MM_FUZZ_SEED", 0))
NAMED = (DatasetError, UnsafeCheckpointError, CheckpointError, UsageError)
SECONDS, MEGABYTES = 20, 700
TOKENS = [b"\0", b"\xff" * 9, b"../../etc/passwd", b"-1", b"1e999", b"NaN", b'"', b","]
TOKENS += [b"[" * 500, b"{}", b"\n", b"\x80\x02c", b"999999999999", b"<script>"]
VALUES = [None, -1, 0, 1e308, float("nan"), 10**30, "", "../x", "os.system", [], {}]
VALUES += [[[]], [1, 2], {"type": "os.system"}, True, "\0", "x" * 10_000]
KEYS = ["model.backbone.depth", "optim_wrapper", "train_cfg.max_iters", "a..b", ""]


class HangError(Exception):
    """An input took too long."""


def changed_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at, kind = int(rng.integers(len(data) + 1)), rng.integers(4)
        if kind == 0:
            data[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 1 + len(data) // 2 + 1))]
        elif kind == 2:
            data[at:at] = TOKENS[rng.integers(len(TOKENS))]
        else:
            data[at:at] = data[: int(rng.integers(200))]
    return bytes(data)


def changed_json(node, rng: np.random.Generator):
    """Return JSON with one value somewhere replaced, or its key removed."""
    if isinstance(node, dict) and node and rng.random() < 0.85:
        key = list(node)[rng.integers(len(node))]
        if rng.random() < 0.15:
            return {k: v for k, v in node.items() if k != key}
        return {**node, key: changed_json(node[key], rng)}
    if isinstance(node, list) and node and rng.random() < 0.85:
        at = int(rng.integers(len(node)))
        return [*node[:at], changed_json(node[at], rng), *node[at + 1 :]]
    return VALUES[rng.integers(len(VALUES))]


def changed_text(text: str, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return changed_bytes(text.encode(), rng)
    return json.dumps(changed_json(json.loads(text), rng)).encode()


@pytest.fixture(scope="module")
def targets(tmp_path_factory, tiny_dataset):
    """Return name -> a function that writes a changed input and reads it."""
    place = tmp_path_factory.mktemp("fuzz")
    root, config = place / "data", write_config(place)
    shutil.copytree(tiny_dataset, root)
    write_tiny(place / "net.pth", config)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    forms = ("png", "jpg", "tif", "bmp", "webp", "gif", "ppm")
    for form in forms:
        Image.fromarray(pixels).save(place / f"good.{form}")
    torch.save(dict(a=torch.ones(40), b=[1, "x"]), place / "small.pth")
    old = dict(_use_new_zipfile_serialization=False)
    torch.save(dict(a=torch.ones(40)), place / "old.pth", **old)
    good = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    points = [[2.0, 2.0], [9.0, 3.0], [7.0, 9.0]]
    shape = dict(label="neutrophil", shape_type="polygon", points=points)
    labelme = dict(shapes=[shape], imageHeight=24, imageWidth=24)
    geometry = dict(type="Polygon", coordinates=[[*points, points[0]]])
    named = dict(classification=dict(name="neutrophil"))
    feature = dict(type="Feature", geometry=geometry, properties=named)
    geojson = dict(type="FeatureCollection", features=[feature])
    listing = dict(
        images=[dict(id=1, file_name="a.png", height=24, width=24)],
        annotations=[
            dict(id=1, image_id=1, category_id=1, segmentation=[[2, 2, 9, 3, 7, 9]])
        ],
        categories=[dict(id=1, name="neutrophil")],
    )
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_cfg_options(parser, "override")

    def image(rng, read=read_image):
        form = forms[rng.integers(len(forms))]
        path = place / f"changed.{form}"
        path.write_bytes(changed_bytes(good[place / f"good.{form}"], rng))
        return read(path)

    def of_dataset(name, read):
        def one(rng):
            path = root / name
            text = good[path].decode()
            data = changed_bytes(text.encode(), rng)
            path.write_bytes(changed_text(text, rng) if name[-1] == "n" else data)
            try:
                return read(root)
            finally:
                path.write_bytes(good[path])

        return one

    def checkpoint(rng):
        name = ("small.pth", "old.pth")[rng.integers(2)]
        (place / "changed.pth").write_bytes(changed_bytes(good[place / name], rng))
        return load_tensors(place / "changed.pth")

    def sidecar(rng):
        path = place / "net.json"
        path.write_bytes(changed_text(good[path].decode(), rng))
        return read_checkpoint(place / "net.pth")

    def polygons(rng):
        both = (labelme, labelme_reader), (geojson, geojson_reader)
        content, reader = both[rng.integers(2)]
        (place / "drawn.json").write_bytes(changed_text(json.dumps(content), rng))
        return reader(place / "drawn.json")(24, 24)

    def lists(rng):
        path = place / "listed"
        path.write_bytes(changed_text(json.dumps(listing), rng))
        content = load_json(path)
        if coco.is_coco(content):
            for _, reader in coco.coco_images(path, content):
                reader(24, 24)

    def yolo(rng):
        texts = "names: [neutrophil, x]", "0 .1 .1 .5 .1 .5 .5\n1 .2 .2 .8 .2 .8 .8"
        for name, text in zip(("yolo/data.yaml", "yolo/a.txt"), texts, strict=True):
            (place / name).parent.mkdir(exist_ok=True)
            changed = changed_bytes(text.encode(), rng)
            (place / name).write_bytes(changed if rng.random() < 0.7 else text.encode())
        return yolo_reader(class_names(place / "yolo")[0], place / "yolo/a.txt")(24, 24)

    def overrides(rng):
        value = VALUES[rng.integers(len(VALUES))]
        word = f"{KEYS[rng.integers(len(KEYS))]}={value}"
        word = changed_bytes(word.encode(), rng).decode("latin-1")
        try:
            options = parser.parse_args(["--cfg-options", word]).cfg_options
        except argparse.ArgumentError as error:
            raise UsageError(str(error)) from None
        return resolve_config(str(config), options=options)

    return dict(
        image=image,
        mask=lambda rng: image(rng, read_mask_file),
        index=of_dataset("index.csv", read_index),
        splits=of_dataset("splits/fold1.csv", lambda r: read_split(r, "fold1")),
        description=of_dataset("dataset.json", read_about),
        checkpoint=checkpoint,
        sidecar=sidecar,
        polygons=polygons,
        lists=lists,
        yolo=yolo,
        overrides=overrides,
    )


NAMES = "image mask index splits description checkpoint sidecar polygons lists yolo "
NAMES += "overrides"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="stops a hang by a signal")
@pytest.mark.parametrize("name", NAMES.split())
def test_changed_inputs_are_read_or_refused_by_name(
    targets, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    below, outcomes = targets[name], Counter()

    def hang(*_):
        raise HangError(f"longer than {SECONDS} s")

    former = signal.signal(signal.SIGALRM, hang)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for number in range(-(-COUNT // len(NAMES.split()))):  # no fewer than asked for
            signal.alarm(SECONDS)
            try:
                below(np.random.default_rng([SEED, number]))
                outcomes["read"] += 1
            except NAMED as error:
                outcomes[type(error).__name__] += 1
            except Exception as error:
                raise AssertionError(
                    f"{name}, seed {SEED}, input {number}: {type(error).__name__}"
                ) from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES
    assert list(tmp_path.iterdir()) == []
    print(f"{name}: {sum(outcomes.values())} inputs, {dict(outcomes)}")
