"""The paper's figures from a prepared dataset and the networks that are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from PIL import Image
from tiny_run import write_config
from tool_module import load_tool

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.datasets.prepared import read_about, read_split
from leuko_mm.engine.checkpoints import write_checkpoint
from leuko_mm.models.size import build_bare
from leuko_mm.training.config import resolve_config

TOOL = load_tool("paper/figures")
NAMES = ("09_methods", "10_ablation", "11_counts")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return a narrow network's config and weights."""
    config = resolve_config(str(write_config(tmp_path_factory.mktemp("config"))))
    torch.manual_seed(0)
    return config, build_bare(config)


@pytest.fixture
def trained(network, tiny_data, tmp_path):
    """Return a function that writes a checkpoint below a folder of runs."""

    def write(stem, method, *, split="fold5", enhance=None, iterations=300, **more):
        config, model = network
        folder = tmp_path / "runs" / stem
        folder.mkdir(parents=True)
        sidecar = dict(
            method=method,
            config=dict(model=config.model.to_dict()),
            classes=list(CLASS_NAMES),
            colours=[list(c) for c in CLASS_COLOURS],
            scale=dict(cell_px=32),
            enhance=enhance,
            training=dict(
                sha256=read_about(tiny_data / "synthetic")["sha256"],
                split=split,
                iterations=iterations,
            ),
        )
        write_checkpoint(folder / f"{stem}.pth", model, {**sidecar, **more})
        return folder / f"{stem}.pth"

    return write


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Draw small mosaics: the time goes into their enhancement and their files."""
    monkeypatch.setattr(TOOL, "SIDE", 128)


def figures(tmp_path, *more):
    places = "--work-dirs", tmp_path / "runs", "--out", tmp_path / "figures"
    return TOOL.main(["--dataset", "synthetic", *map(str, (*places, *more))])


def test_all_figures_are_drawn_with_what_is_there(trained, tmp_path, capsys):
    retinex = dict(type="leuko_mm.AHERetinex", reading="hsv")
    # As leuko compare --iterations 300 names its runs.
    trained("cbam_unet-B-i300-half-fold5-s0", "cbam_unet", enhance=retinex)
    trained("unet_vgg16-A-i300-half-fold5-s0", "unet_vgg16")
    trained("unet-half-fold4-s0", "unet", split="fold4")
    out = tmp_path / "figures"
    assert figures(tmp_path) == 0
    said = capsys.readouterr().out
    assert {p.stem for p in out.glob("*.png")} == {f"figure_{n}" for n in NAMES}
    for path in out.glob("*.png"):
        assert np.asarray(Image.open(path)).std() > 10
    about = json.loads((out / "figures.json").read_text())
    shown = [run["title"] for run in about["compared"]]
    # In the order of the paper's columns.
    assert shown == ["unet_vgg16, setting A", "cbam_unet, setting B"]
    assert {run["iterations"] for run in about["compared"]} == {300}
    assert list(about["ablation"]) == ["none", "all_three"]
    assert "Fig. 10 lacks 6 of 8 rows" in said
    # It has learnt from fold 5, whose cells are shown.
    assert "unet-half-fold4-s0.pth: it was trained on" in said


@pytest.mark.slow
def test_the_same_command_writes_the_same_bytes(trained, tmp_path):
    trained("cbam_unet-half-fold5-s0", "cbam_unet")
    assert figures(tmp_path) == 0
    first = {p.name: p.read_bytes() for p in (tmp_path / "figures").iterdir()}
    assert figures(tmp_path, "--force") == 0
    again = {p.name: p.read_bytes() for p in (tmp_path / "figures").iterdir()}
    assert first == again


def test_without_a_network_the_rest_is_drawn(tiny_data, tmp_path, capsys):
    assert figures(tmp_path) == 0
    assert "Fig. 9 and 11 show no method" in capsys.readouterr().out
    assert len(list((tmp_path / "figures").glob("*.png"))) == len(NAMES)


def test_the_columns_are_those_of_the_papers_first_table():
    assert TOOL.paper_columns() == dict(
        unet_vgg16="A", deeplabv3plus_r50="A", pspnet_r50="A", cbam_unet="B"
    )


def test_a_network_answers_as_its_own_test_does(network):
    _, model = network
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (labels,) = TOOL.segment(model.eval(), [image], 128)
    bgr = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())
    batch = dict(inputs=[bgr], data_samples=[SegDataSample()])
    inputs = model.data_preprocessor(batch, False)["inputs"]
    with torch.no_grad():
        logits = model.decode_head(model.neck(model.backbone(inputs)))
    wanted = logits.argmax(dim=1)[0].numpy()
    assert (labels[::2, ::2] == wanted).all()


def checkpoint(stem, *, iterations=300, given=False):
    """Return a network as its file's name and sidecar tell it."""
    method = stem.split("-")[0]
    words = stem.split("-")
    split = words[-2] if len(words) > 2 else None
    training = dict(iterations=iterations, split=split)
    sidecar = dict(method=method, training=training)
    variant, protocol = TOOL.named_parts(Path(f"{stem}.pth"), sidecar)
    return TOOL.TrainedMethod(Path(f"{stem}.pth"), sidecar, variant, given, protocol)


def stems(methods):
    return [method.path.stem for method in methods]


PAPER = [
    checkpoint(f"{name}-i300-half-fold5-s0")
    for name in ("cbam_unet-B", "unet_vgg16-B", "unet_vgg16-A", "pspnet_r50-B")
]


def test_the_papers_columns_come_under_the_papers_settings():
    others = [checkpoint("segnet-A-i300-half-fold5-s0")]
    assert stems(TOOL.compared([*PAPER, *others], [], "fold5")) == [
        "unet_vgg16-A-i300-half-fold5-s0",
        "pspnet_r50-B-i300-half-fold5-s0",
        "cbam_unet-B-i300-half-fold5-s0",
    ]


def test_networks_of_one_figure_are_trained_alike():
    longer = [checkpoint("cbam_unet-B-half-fold5-s0", iterations=650)]
    former = [checkpoint("deeplabv3plus_r50-A-i300-former-fold5-s0")]
    developed = [checkpoint("cbam_unet-i300-half-development-s0")]
    found = TOOL.compared([*longer, *former, *developed, *PAPER], [], "fold5")
    assert {method.training for method in found} == {("half", 300, "fold5")}
    assert len(found) == 3
    # Of equally many, those that are trained on the split of the cells shown.
    assert stems(TOOL.compared([*developed, PAPER[0]], [], "fold5")) == [
        PAPER[0].path.stem
    ]


def test_the_ablation_is_of_one_length_in_the_papers_order():
    row = checkpoint("unet_vgg16-retinex-i300-half-fold5-s0")
    longer = checkpoint("unet_vgg16-cbam-half-fold5-s0", iterations=650)
    found = TOOL.ablation([longer, row, *PAPER], "fold5")
    assert list(found) == ["none", "retinex", "retinex_dice_focal", "all_three"]
    given = checkpoint("unet_vgg16-cbam-half-fold5-s0", iterations=650, given=True)
    assert list(TOOL.ablation([given, row, *PAPER], "fold5"))[-1] == "cbam"


def test_no_figure_shows_cells_that_a_start_had_learnt(tiny_data):
    root = tiny_data / "synthetic"
    start = dict(training=dict(split="fold1", sha256=read_about(root)["sha256"]))
    learnt = dict(split="fold5", sha256="0" * 64, start=start)
    tuned = dict(method="unet", training=learnt)
    method = TOOL.TrainedMethod("tuned.pth", tuned, None, True)
    parts = read_split(root, "fold1")
    tested = {stem for stem, part in parts.items() if part == "test"}
    assert TOOL.unseen([method], root, tested) == ([method], [])
    fit, (line,) = TOOL.unseen([method], root, set(parts) - tested)
    assert fit == []
    assert "--split fold1 shows others" in line
    # Where another network of the method stands for a found one, that is enough.
    stranger = TOOL.TrainedMethod("new.pth", dict(tuned, training={}), None, True)
    found = TOOL.TrainedMethod("tuned.pth", tuned, None, False)
    assert TOOL.unseen([found, stranger], root, set(parts) - tested) == ([stranger], [])
