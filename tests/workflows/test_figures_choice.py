"""Which networks the figures show."""

from __future__ import annotations

from pathlib import Path

from leuko_mm.workflows.figures_choice import ablation, compared
from leuko_mm.workflows.figures_methods import TrainedMethod, named_parts


def network(stem, *, iterations=300, given=False):
    """Return a network as its file's name and sidecar tell it."""
    method = stem.split("-")[0]
    words = stem.split("-")
    split = words[-2] if len(words) > 2 else None
    training = dict(iterations=iterations, split=split)
    sidecar = dict(method=method, training=training)
    variant, protocol = named_parts(Path(f"{stem}.pth"), sidecar)
    return TrainedMethod(Path(f"{stem}.pth"), sidecar, variant, given, protocol)


def stems(methods):
    return [method.path.stem for method in methods]


PAPER = [
    network(f"{name}-i300-half-fold5-s0")
    for name in ("cbam_unet-B", "unet_vgg16-B", "unet_vgg16-A", "pspnet_r50-B")
]


def test_the_papers_columns_come_under_the_papers_settings():
    others = [network("segnet-A-i300-half-fold5-s0")]
    assert stems(compared([*PAPER, *others], [], "fold5")) == [
        "unet_vgg16-A-i300-half-fold5-s0",
        "pspnet_r50-B-i300-half-fold5-s0",
        "cbam_unet-B-i300-half-fold5-s0",
    ]


def test_networks_of_one_figure_are_trained_alike():
    longer = [network("cbam_unet-B-half-fold5-s0", iterations=650)]
    former = [network("deeplabv3plus_r50-A-i300-former-fold5-s0")]
    developed = [network("cbam_unet-i300-half-development-s0")]
    found = compared([*longer, *former, *developed, *PAPER], [], "fold5")
    assert {method.training for method in found} == {("half", 300, "fold5")}
    assert len(found) == 3
    # Of equally many, those that are trained on the split of the cells shown.
    assert stems(compared([*developed, PAPER[0]], [], "fold5")) == [PAPER[0].path.stem]


def test_a_named_network_stands_for_its_method_whatever_its_training():
    mine = network("mine", given=True)
    named = network("unet_vgg16-half-fold5-s0", iterations=900, given=True)
    found = compared([mine, named, *PAPER], [], "fold5")
    assert stems(found)[:2] == ["mine", named.path.stem]
    assert [m.method for m in found[2:]] == ["pspnet_r50", "cbam_unet"]


def test_all_shows_every_method_once():
    others = [network("segnet-A-i300-half-fold5-s0"), network("dev")]
    found = compared([*PAPER, *others], ["all"], "fold5")
    names = [method.method for method in found]
    assert names == ["cbam_unet", "pspnet_r50", "segnet", "unet_vgg16"]
    assert found[-1].variant == "B"


def test_the_ablation_is_of_one_length_in_the_papers_order():
    row = network("unet_vgg16-retinex-i300-half-fold5-s0")
    longer = network("unet_vgg16-cbam-half-fold5-s0", iterations=650)
    found = ablation([longer, row, *PAPER], "fold5")
    assert list(found) == ["none", "retinex", "retinex_dice_focal", "all_three"]
    given = network("unet_vgg16-cbam-half-fold5-s0", iterations=650, given=True)
    assert list(ablation([given, row, *PAPER], "fold5"))[-1] == "cbam"


def test_nothing_is_chosen_of_nothing():
    assert compared([], [], "fold5") == []
    assert ablation([], None) == {}
