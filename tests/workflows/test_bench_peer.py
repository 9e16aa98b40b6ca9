"""The peer's loop, with a stand-in for the peer, and for a torchvision that is lame."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.bench_process import ContenderProcess

PEER = """
import torch

def Unet(encoder, *, encoder_weights, classes):
    assert (encoder, encoder_weights, classes) == ('vgg16', None, 6)
    return torch.nn.Conv2d(3, classes, 3, padding=1)
"""
# As the one of the package index fails beside a CPU build of torch.
LAME = """
import torch

for name in ('nms', 'qnms'):
    torch.library.register_fake('torchvision::' + name)(lambda *given: given[0])
"""
SPEC = dict(home="bench_peer", batch=2, size=16, device="cpu", threads=1)
BROKEN = "raise RuntimeError('no such thing')"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)

    return write


@pytest.mark.parametrize(("job", "times"), [("predict", 1), ("train", 2)])
def test_the_peer_is_run_beside_a_torchvision_that_does_not_load(place, job, times):
    place(segmentation_models_pytorch=PEER, torchvision=LAME)
    with ContenderProcess(dict(SPEC, job=job)) as process:
        assert process.lack is None
        # Forward; in training the gradient of the weights too: images take none.
        one = 2 * 16 * 16 * 9 * 3 * 6 / 1e9
        assert process.about["gmacs"] == pytest.approx(times * one)
        assert process.ask(0)["ms"][0] > 0


def test_what_else_is_wrong_with_torchvision_is_told(place):
    place(segmentation_models_pytorch=PEER, torchvision=BROKEN)
    with ContenderProcess(dict(SPEC, job="predict")) as process:
        assert process.lack == "RuntimeError: no such thing"


def test_a_peer_that_is_not_installed_is_named(place):
    place(torchvision="")
    with ContenderProcess(dict(SPEC, job="predict")) as process:
        # Or the real one is there.
        if process.lack is None:
            pytest.skip("segmentation_models_pytorch is installed here")
        assert process.about == dict(missing="segmentation_models_pytorch")
