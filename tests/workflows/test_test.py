"""A checkpoint is tested with what its training used."""

import pytest
import torch
from torch import nn

from leuko_mm.errors import UsageError
from leuko_mm.workflows.test import TestRequest, load_model, run_test


class Holder:
    """The part of a runner that loading uses."""

    def __init__(self):
        self.model = nn.Conv2d(1, 2, 1)


def test_every_weight_is_loaded(tmp_path):
    runner, other = Holder(), Holder()
    torch.save(other.model.state_dict(), tmp_path / "a.pth")
    load_model(runner, tmp_path / "a.pth")
    assert torch.equal(runner.model.weight, other.model.weight)


def test_a_training_state_is_loaded_too(tmp_path):
    runner, other = Holder(), Holder()
    state = {"meta": {}, "state_dict": other.model.state_dict()}
    torch.save(state, tmp_path / "a.pth")
    load_model(runner, tmp_path / "a.pth")
    assert torch.equal(runner.model.bias, other.model.bias)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.zeros(2, 1, 1, 1)},
        {"weight": torch.zeros(2, 1, 1, 1), "bias": torch.zeros(3)},
        {
            "weight": torch.zeros(2, 1, 1, 1),
            "bias": torch.zeros(2),
            "more": torch.zeros(1),
        },
    ],
    ids=["missing", "another shape", "left over"],
)
def test_a_part_of_the_weights_is_not_enough(tmp_path, tensors):
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(
        UsageError, match=r"a\.pth does not fit the config: .*(bias|more)"
    ):
        load_model(Holder(), tmp_path / "a.pth")


def test_a_missing_file_is_named(tiny_config):
    request = TestRequest(config=str(tiny_config), checkpoint="absent.pth")
    with pytest.raises(UsageError, match=r"absent\.pth does not exist"):
        run_test(request)


def test_nobody_vouches_without_a_sidecar(tiny_data, tiny_config, tmp_path, caplog):
    path = tmp_path / "alone.pth"
    torch.save({}, path)
    # The empty file is refused, after the warning.
    with pytest.raises((UsageError, ValueError)):
        run_test(TestRequest(str(tiny_config), str(path), split="fold5"))
    assert "alone.pth has no sidecar (alone.json)" in caplog.text
