import pytest
import torch
from torch import nn

from leuko_mm.models import CBAM, CBAMSkipNeck
from leuko_mm.registry import MODELS


def einsum_channel_gate(x, block):
    first, second = block.channel_gate.mlp[0].weight, block.channel_gate.mlp[2].weight
    pixels = x.shape[2] * x.shape[3]
    mean = torch.einsum("bchw->bc", x) / pixels
    peak = x.reshape(*x.shape[:2], pixels).sort(dim=2).values[:, :, -1]
    total = 0
    for pooled in (mean, peak):
        hidden = torch.einsum("bc,dc->bd", pooled, first).clamp_min(0)
        total = total + torch.einsum("bd,cd->bc", hidden, second)
    return 1 / (1 + torch.exp(-total))


def einsum_spatial_gate(x, block):
    kernel = block.spatial_gate.conv.weight[0]  # (2, k, k)
    reach = kernel.shape[-1] // 2
    peak = x.sort(dim=1).values[:, -1]
    mean = torch.einsum("bchw->bhw", x) / x.shape[1]
    padded = nn.functional.pad(torch.stack((peak, mean), 1), (reach,) * 4)
    side = kernel.shape[-1]
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)  # (B, 2, H, W, k, k)
    return 1 / (1 + torch.exp(-torch.einsum("bphwij,pij->bhw", windows, kernel)))


class AuthorsCBAM(nn.Module):
    """The released formulation, layer by layer: an MLP with biases applied to the
    flattened poolings, then convolution and batch norm over (maximum, mean)."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)
        self.conv = nn.Conv2d(2, 1, 7, stride=1, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01, affine=True)

    def mlp(self, pooled):
        flat = pooled.view(pooled.size(0), -1)
        return self.excite(torch.relu(self.squeeze(flat)))

    def forward(self, x):
        area = (x.size(2), x.size(3))
        attention = self.mlp(nn.functional.avg_pool2d(x, area, stride=area))
        attention = attention + self.mlp(nn.functional.max_pool2d(x, area, stride=area))
        x = x * torch.sigmoid(attention).unsqueeze(2).unsqueeze(3).expand_as(x)
        peak, mean = torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)
        return x * torch.sigmoid(self.bn(self.conv(torch.cat((peak, mean), dim=1))))


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 16, 9, 11)


@pytest.mark.parametrize("gates", ["serial", "parallel", "channel", "spatial"])
def test_value_against_einsum(x, gates):
    block = CBAM(16, 4, gates=gates)
    expected = x
    if gates in ("serial", "channel"):
        expected = torch.einsum("bchw,bc->bchw", x, einsum_channel_gate(x, block))
    if gates in ("serial", "spatial"):
        gate = einsum_spatial_gate(expected, block)
        expected = torch.einsum("bchw,bhw->bchw", expected, gate)
    if gates == "parallel":
        pair = einsum_channel_gate(x, block), einsum_spatial_gate(x, block)
        expected = torch.einsum("bchw,bc,bhw->bchw", x, *pair)
    torch.testing.assert_close(block(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_value_against_the_authors_formulation(x, training):
    theirs = AuthorsCBAM(16, 4).train(training)
    ours = CBAM(16, 4, mlp_bias=True, gate_norm=True).train(training)
    with torch.no_grad():
        theirs.bn.weight.fill_(1.7)
        theirs.bn.bias.fill_(-0.3)
        theirs.bn.running_mean.fill_(0.2)
    ours.channel_gate.mlp[0].load_state_dict(theirs.squeeze.state_dict())
    ours.channel_gate.mlp[2].load_state_dict(theirs.excite.state_dict())
    ours.spatial_gate.conv.load_state_dict(theirs.conv.state_dict())
    ours.spatial_gate.norm.load_state_dict(theirs.bn.state_dict())
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    torch.testing.assert_close(*outputs, atol=1e-6, rtol=0)
    probe = torch.randn_like(x)
    for y in outputs:
        (y * probe).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=0)
    ours_norm, theirs_norm = ours.spatial_gate.norm, theirs.bn
    torch.testing.assert_close(ours_norm.running_mean, theirs_norm.running_mean)
    torch.testing.assert_close(ours_norm.running_var, theirs_norm.running_var)


def test_value_of_the_gate_without_convolution():
    x = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1)  # maximum 3, mean 2
    expected = x / (1 + torch.exp(torch.tensor(-2.5)))
    block = CBAM(2, 1, kernel_size=None, gates="spatial")
    assert not list(block.parameters())
    torch.testing.assert_close(block(x), expected)


def test_limits_zero_weights_halve_once_a_gate(x):
    block = CBAM(16)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), x / 4)


def test_defaults_have_neither_bias_nor_norm():
    shapes = {k: tuple(v.shape) for k, v in CBAM(64).state_dict().items()}
    assert shapes == {
        "channel_gate.mlp.0.weight": (4, 64),
        "channel_gate.mlp.2.weight": (64, 4),
        "spatial_gate.conv.weight": (1, 2, 7, 7),
    }


def test_grad_agrees_with_finite_differences():
    torch.manual_seed(0)
    block = CBAM(4, 2, kernel_size=3).double()
    x = torch.randn(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_gives_the_same_value_and_gradient(x, dtype):
    block = CBAM(16, 4)
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        y = x.to(memory_format=memory_format).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != x.dtype):
            out = block(y.to(dtype))
        assert out.dtype == dtype
        assert out.is_contiguous(memory_format=memory_format)
        (grad,) = torch.autograd.grad(out.float().square().sum(), y)
        results.append((out, grad))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(*results, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 24}, "24 channels and reduction=16"),
        ({"channels": 8}, "8 channels and reduction=16"),
        ({"channels": 16, "kernel_size": 4}, "kernel_size=4"),
        ({"channels": 16, "gates": "both"}, "gates='both'"),
        ({"channels": 16, "kernel_size": None, "gate_norm": True}, "gate_norm=True"),
    ],
)
def test_raises(options, message):
    with pytest.raises(ValueError, match=message):
        CBAM(**options)


def make_maps(channels):
    return [torch.randn(2, c, 8 >> i, 8 >> i) for i, c in enumerate(channels)]


def test_neck_shape_and_the_untouched_bottom():
    maps = make_maps([16, 32, 48])
    out = CBAMSkipNeck([16, 32, 48])(maps)
    assert isinstance(out, tuple)
    assert [y.shape for y in out] == [m.shape for m in maps]
    assert out[2] is maps[2]
    assert not torch.equal(out[0], maps[0])
    assert not torch.equal(out[1], maps[1])


def test_neck_value_is_its_blocks():
    maps = make_maps([16, 32, 48])
    neck = CBAMSkipNeck([16, 32, 48], 8, gates="parallel", skips=[0, 2])
    out = neck(maps)
    torch.testing.assert_close(out[0], neck.blocks["0"](maps[0]))
    torch.testing.assert_close(out[2], neck.blocks["2"](maps[2]))
    assert out[1] is maps[1]


def test_neck_checks_only_attended_levels():
    assert list(CBAMSkipNeck([16, 7], 16).blocks) == ["0"]
    with pytest.raises(ValueError, match="7 channels"):
        CBAMSkipNeck([16, 7], 16, skips=[0, 1])


def test_neck_goes_deeper_than_the_encoder():
    torch.manual_seed(0)
    neck = CBAMSkipNeck([16, 16], reduction=8, deeper=[8, 24])
    assert list(neck.blocks) == ["0", "1", "2"]
    maps = [torch.randn(2, 16, 24, 20), torch.randn(2, 16, 12, 10)]
    found = neck(maps)
    assert [tuple(m.shape[1:]) for m in found[2:]] == [(8, 6, 5), (24, 3, 3)]
    # From the encoder's map as it is, not from the attended one.
    neck.eval()
    below = neck.deeper[0](maps[1])
    torch.testing.assert_close(neck(maps)[2], neck.blocks["2"](below))
    torch.testing.assert_close(neck(maps)[3], neck.deeper[1](below))


def test_neck_raises():
    with pytest.raises(ValueError, match=r"skips=\[3\] for 2 maps"):
        CBAMSkipNeck([16, 16], skips=[3])
    with pytest.raises(ValueError, match="got 1 maps"):
        CBAMSkipNeck([16, 16])([torch.zeros(1, 16, 2, 2)])


def test_registry():
    neck = MODELS.build({"type": "leuko_mm.CBAMSkipNeck", "in_channels": [16, 16]})
    assert isinstance(neck, CBAMSkipNeck)
