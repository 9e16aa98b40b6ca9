import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leuko_mm.models.enlarge import Enlarge


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "deconv"])
@pytest.mark.parametrize("size", [(7, 10), (6, 11), (5, 9)])
def test_shape_is_the_one_asked_for(mode, size):
    assert Enlarge(4, mode)(torch.randn(2, 4, 3, 5), size).shape == (2, 4, *size)


def test_a_deconvolution_is_the_plain_one_on_even_sizes():
    enlarge, x = Enlarge(4, "deconv"), torch.randn(1, 4, 3, 5)
    weight, bias = enlarge.deconv.weight, enlarge.deconv.bias
    expected = F.conv_transpose2d(x, weight, bias, stride=2)
    torch.testing.assert_close(enlarge(x, (6, 10)), expected, atol=1e-6, rtol=0)
    # Where a halving had rounded up, the surplus row and column are cut.
    torch.testing.assert_close(enlarge(x, (5, 9)), expected[..., :5, :9])


def test_bilinear_aligns_corners_where_told():
    x = torch.randn(1, 2, 3, 3)
    plain = nn.Upsample(size=(6, 6), mode="bilinear", align_corners=True)(x)
    ours = Enlarge(2, "bilinear", align_corners=True)(x, (6, 6))
    torch.testing.assert_close(ours, plain)


def test_only_a_deconvolution_has_parameters():
    assert list(Enlarge(4, "bilinear").parameters()) == []
    assert len(list(Enlarge(4, "deconv").parameters())) == 2


def test_raises():
    with pytest.raises(ValueError, match="upsample='cubic'"):
        Enlarge(4, "cubic")
    with pytest.raises(ValueError, match=r"cannot make \(12, 10\) of \(3, 5\)"):
        Enlarge(4, "deconv")(torch.zeros(1, 4, 3, 5), (12, 10))
