"""Fold batch norms into the convolutions before them, where no one trains any more."""

from __future__ import annotations

from mmcv.cnn import ConvModule
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(model: nn.Module) -> int:
    """Replace convolution and batch norm by one convolution; return how many.

    Only where the norm is sure to be what reads the convolution: neighbours in an
    ``nn.Sequential``, and the two of an mmcv ``ConvModule``. Positions and names stay,
    an identity stands where the norm was.

    Args:
        model: in evaluation mode; changed in place.

    Example:
        >>> pair = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
        >>> fold_batch_norms(pair), type(pair[1]).__name__
        (1, 'Identity')
    """
    folded = 0
    for module in list(model.modules()):
        if type(module) is nn.Sequential:
            for place in range(len(module) - 1):
                if _fits(module[place], module[place + 1]):
                    module[place] = fuse_conv_bn_eval(module[place], module[place + 1])
                    module[place + 1] = nn.Identity()
                    folded += 1
        elif _begins_with_both(module) and _fits(module.conv, module.norm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            setattr(module, module.norm_name, nn.Identity())
            folded += 1
    return folded


def _begins_with_both(module: nn.Module) -> bool:
    ours = type(module) is ConvModule and module.with_norm
    return ours and module.order[:2] == ("conv", "norm")


def _fits(convolution: nn.Module, norm: nn.Module) -> bool:
    plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    # A hook may change weights or look at what passes between the two.
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    hooked = any(getattr(m, name) for m in (convolution, norm) for name in hooks)
    return plain and not hooked and not norm.training and norm.running_mean is not None
