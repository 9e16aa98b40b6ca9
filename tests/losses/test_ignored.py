import pytest
import torch

from leuko_mm.losses.ignored import split_ignored


def test_value():
    logits = torch.full((1, 2, 3), 7.0, dtype=torch.bfloat16)
    target = torch.tensor([[0, 255, 1]], dtype=torch.uint8)
    clean, labels, valid = split_ignored(logits, target, 255)
    assert clean.dtype == torch.float32
    assert clean.tolist() == [[[7, 0, 7], [7, 0, 7]]]
    assert labels.tolist() == [[0, 0, 1]]
    assert labels.dtype == torch.int64
    assert valid.tolist() == [[True, False, True]]


def test_limits_nothing_ignored_and_empty():
    _, _, valid = split_ignored(torch.zeros(1, 2, 3), torch.ones(1, 3), None)
    assert valid.all()
    clean, _, _ = split_ignored(torch.zeros(0, 2, 3), torch.zeros(0, 3), 255)
    assert clean.shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("label", "message"),
    [(6, "label 6, but the logits have classes 0 to 5"), (-1, "label -1")],
)
def test_raises_on_a_label_without_a_channel(label, message):
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    target[1, 2, 3] = label
    with pytest.raises(ValueError, match=message):
        split_ignored(torch.zeros(2, 6, 4, 4), target, 255)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ((2, 6, 4, 4), (2, 4, 5), r"\(2, 6, 4, 4\) and a target of shape \(2, 4, 5\)"),
        ((2, 6, 4, 4), (2, 1, 4, 4), r"target of shape \(2, 1, 4, 4\)"),
        ((2, 1, 4, 4), (2, 4, 4), "at least two classes"),
    ],
)
def test_raises_on_shapes(logits, target, message):
    with pytest.raises(ValueError, match=message):
        split_ignored(torch.zeros(logits), torch.zeros(target, dtype=torch.long), 255)
