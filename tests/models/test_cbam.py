"""CBAM against two other implementations; its gradients against autograd's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leuko_mm.models import CBAM, CBAMSkipNeck
from leuko_mm.models.cbam import over_channels, over_positions


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


def test_neck_value_is_its_blocks():
    maps = make_maps([16, 32, 48])
    neck = CBAMSkipNeck([16, 32, 48], 8, gates="parallel", skips=[0, 2])
    out = neck(maps)
    assert isinstance(out, tuple)
    torch.testing.assert_close(out[0], neck.blocks["0"](maps[0]))
    torch.testing.assert_close(out[2], neck.blocks["2"](maps[2]))
    assert out[1] is maps[1]
    assert list(CBAMSkipNeck([16, 32, 48]).blocks) == ["0", "1"]


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


def usual_positions(x):
    return x, x.mean(dim=(2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)


def usual_channels(x):
    return x, x.mean(dim=1), x.amax(dim=1)


PAIRS = [(over_positions, usual_positions), (over_channels, usual_channels)]
BOTH = pytest.mark.parametrize(("ours", "usual"), PAIRS)
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def drawn(dtype=torch.float64, layout=torch.contiguous_format):
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    # Zeros in plenty, as behind a ReLU: equal maxima.
    x = (x - 1.2).relu().to(dtype).contiguous(memory_format=layout)
    return x.requires_grad_()


def answers(function, x):
    """Return the three results, and the gradient of a sum that weighs them all."""
    found = function(x)
    drawing = torch.Generator().manual_seed(1)
    weights = [torch.randn(f.shape, generator=drawing).to(f.dtype) for f in found]
    total = sum((f * w).sum() for f, w in zip(found, weights, strict=True))
    (gradient,) = torch.autograd.grad(total, x)
    return [*found, gradient]


@BOTH
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_and_gradients_are_those_of_autograd(ours, usual, layout):
    x = drawn(layout=layout)
    assert (x == 0).all(dim=1).any()
    for found, expected in zip(answers(ours, x), answers(usual, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@BOTH
def test_gradients_of_bfloat16_are_right_to_its_rounding(ours, usual):
    x = drawn(torch.bfloat16, torch.channels_last)
    expected = answers(usual, x.detach().double().requires_grad_())
    for found, right in zip(answers(ours, x), expected, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), right, rtol=2e-2, atol=2e-2)


@BOTH
def test_a_mean_of_float16_does_not_leave_its_range(ours, usual):
    x = torch.full((1, 64, 64, 64), 60.0, dtype=torch.float16, requires_grad=True)
    _, mean, _ = ours(x)
    assert torch.equal(mean, torch.full_like(mean, 60.0))


@BOTH
def test_only_one_gradient_as_large_as_the_map_is_made(ours, usual):
    x = drawn()
    assert len(added(ours, x)) < len(added(usual, x))


def added(function, x):
    """Return the additions of whole maps in a pass back."""
    found = function(x)
    total = sum(f.square().sum() for f in found)
    with torch.profiler.profile(record_shapes=True) as profile:
        total.backward()
    names = ("aten::add", "aten::add_", "aten::div")
    whole = [list(x.shape)]
    return [
        e for e in profile.events() if e.name in names and e.input_shapes[:1] == whole
    ]


@BOTH
def test_what_is_not_trained_takes_the_usual_operations(ours, usual):
    x = drawn()
    with torch.no_grad():
        results = ours(x)
    assert all(found.grad_fn is None for found in results)
    for found, expected in zip(results, usual(x), strict=True):
        assert torch.equal(found, expected)
    frozen = ours(x.detach())
    assert not any(found.requires_grad for found in frozen)


@BOTH
def test_gradient_of_a_gradient_is_refused(ours, usual):
    x = drawn()
    (first,) = torch.autograd.grad(ours(x)[1].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
