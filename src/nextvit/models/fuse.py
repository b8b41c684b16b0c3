"""The deployment form: a copy of a model with every batch norm folded into a neighbouring layer, and no other change.

A batch norm in eval mode is x -> scale * x + shift for each channel. After a convolution it is folded into the filters;
before a 1x1 convolution or a linear layer it is folded into the weights; it commutes with an average, which only moves
it. Only one batch norm comes before a padded convolution, into which the shift cannot be folded: that of UperNet after
the last stage, which is folded into that stage.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from nextvit.models.backbone import EMHSA, MHCA, NCB, NTB, ConvBNReLU, NextViT, PatchEmbed
from nextvit.models.classification import Classifier
from nextvit.models.pyramid import PlainConv
from nextvit.models.segmentation import NormedNextViT, Segmenter
from nextvit.models.segmentation_heads import ConvNormReLU, UPerHead

Model = TypeVar("Model", bound=nn.Module)
Linear = TypeVar("Linear", nn.Conv2d, nn.Linear)  # a 1x1 convolution is a linear layer on channels


def fuse(model: Model) -> Model:
    """Return a copy of `model` in eval mode and deployment form, with the same outputs.

    Parts that only training uses, such as an auxiliary head, are removed. The copy cannot be trained, and its state
    dict says that it is fused: loading it into an unfused model, or the other way round, is an error. Fusing a fused
    model returns a plain copy.
    """
    fused = copy.deepcopy(model).eval()
    if any(isinstance(module, NextViT) and module.fused for module in fused.modules()):
        return fused
    for module in fused.modules():
        fold_norms(module)
    for module in fused.modules():
        if isinstance(module, Segmenter):
            fold_stage_norms(module)
    unfolded = [name for name, module in fused.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert not unfolded, f"batch norms that were not folded: {unfolded}"
    return fused.requires_grad_(False)


def fold_norms(module: nn.Module) -> None:
    """Fold the batch norms that are direct children of a module, in place."""
    match module:
        case PatchEmbed() if isinstance(module.conv, nn.Identity):
            pass
        case ConvBNReLU() | PatchEmbed():
            module.conv = fold_norm_after(module.conv, module.norm)
            module.norm = nn.Identity()
        case ConvNormReLU():
            module.conv = fold_norm_after(module.conv, module.bn)
            module.bn = nn.Identity()
        case MHCA():
            module.group_conv3x3 = fold_norm_after(module.group_conv3x3, module.norm)
            module.norm = nn.Identity()
        case NCB():
            module.mlp.fc1 = fold_norm_before(module.norm, module.mlp.fc1)
            module.norm = nn.Identity()
        case NTB():
            fold_attention(module.norm1, module.e_mhsa)
            module.norm1 = nn.Identity()
            module.mlp.fc1 = fold_norm_before(module.norm2, module.mlp.fc1)
            module.norm2 = nn.Identity()
        case Classifier():
            module.head = fold_norm_before(module.norm, module.head)
            module.norm = nn.Identity()
        case NextViT():
            module.fused = True
        case _:
            pass


class CeilAveragePool(nn.Module):
    """2x2 average pooling as with `ceil_mode=True, count_include_pad=False`, by repeating the last row and column.

    (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)). Pooling with `ceil_mode` cannot be captured with dynamic height
    and width, and one compiler (AOTInductor of torch 2.15) silently rounds down.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(nn.functional.pad(x_NCHW, (0, 1, 0, 1), mode="replicate"), 2)


def adapt_to_any_size(model: Model) -> Model:
    """Return a copy of `model` that can be captured with dynamic height and width, with the same outputs."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, PatchEmbed) and isinstance(module.pool, nn.AvgPool2d):
            module.pool = CeilAveragePool()
    return copied


def adapt_to_multiples_of_32(model: Model) -> Model:
    """Return a copy of `model` for heights and widths that are multiples of 32, with the same outputs.

    Its pooling need not round up.
    """
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, PatchEmbed) and isinstance(module.pool, nn.AvgPool2d):
            module.pool = nn.AvgPool2d(2)
    return copied


def fold_attention(norm: nn.Module, attention: nn.Module) -> None:
    """Fold the norm before E-MHSA into q, k and v, and the norm after the pooling into k and v."""
    assert isinstance(attention, EMHSA)
    # The pooling is an average, so the norm before it can be moved behind it, next to the second norm.
    key_norms: list[nn.Module] = [attention.norm, norm] if isinstance(attention.norm, nn.BatchNorm1d) else [norm]
    for each in key_norms:
        attention.k = fold_norm_before(each, attention.k)
        attention.v = fold_norm_before(each, attention.v)
    attention.q = fold_norm_before(norm, attention.q)
    attention.norm = nn.Identity()


def fold_stage_norms(model: Segmenter) -> None:
    """Fold the norm after each stage into all layers that take its map; the norms of these layers are folded already.

    In UperNet a padded convolution takes the last map, so that norm is folded into the last block of the stage instead.
    The auxiliary head also starts with a padded convolution; only training uses it, so it is removed.
    """
    model.auxiliary_head = None
    backbone, head = model.backbone, model.decode_head
    assert isinstance(backbone, NormedNextViT) and isinstance(backbone.extra_norm_list, nn.ModuleList)
    laterals = head.lateral_convs if isinstance(head, UPerHead) else model.get_submodule("neck.lateral_convs")
    norms = [*backbone.extra_norm_list, backbone.norm]
    for norm, lateral in zip(norms, laterals.children(), strict=False):  # UperNet's last map has no lateral convolution
        assert isinstance(lateral, ConvNormReLU | PlainConv)
        lateral.conv = fold_norm_before(norm, lateral.conv)
    for stage, norm in enumerate(backbone.extra_norm_list):
        patch_embed = backbone.stages[stage + 1].get_submodule("blocks.0.patch_embed")
        assert isinstance(patch_embed, PatchEmbed) and isinstance(patch_embed.conv, nn.Conv2d)
        patch_embed.conv = fold_norm_before(norm, patch_embed.conv)
        backbone.extra_norm_list[stage] = nn.Identity()
    if isinstance(head, UPerHead):
        fold_into_block(backbone.stages[3].get_submodule(f"blocks.{backbone.config.depths[3] - 1}"), backbone.norm)
    backbone.norm = nn.Identity()


def fold_into_block(block: nn.Module, norm: nn.Module) -> None:
    """Fold the norm after a block into the two branches that the block adds at its end, in place."""
    assert isinstance(block, NCB | NTB)
    last, (scale, shift) = block.mlp.fc2, norm_scale_and_shift(norm)
    assert last.bias is not None
    block.mlp.fc2 = copy_with_weights(
        last,
        weight=last.weight.cpu().double() * scale[:, None, None, None],
        bias=last.bias.cpu().double() * scale + shift,
    )
    block.shortcut = ChannelScale(scale.to(last.weight))


class ChannelScale(nn.Module):
    """(N, C, H, W) -> (N, C, H, W), each channel multiplied by its factor."""

    def __init__(self, scale_C: Tensor) -> None:
        super().__init__()
        self.scale = nn.Buffer(scale_C[:, None, None])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW * self.scale


def norm_scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The scale (C,) and shift (C,) of a batch norm in eval mode, in float64 on the CPU.

    In float64 folding adds no error of its own; not every device has it, so the tensors are on the CPU.
    """
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    state = {name: tensor.cpu().double() for name, tensor in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    return scale, state["bias"] - state["running_mean"] * scale


def fold_norm_after(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """A new convolution equal to `norm(conv(x))`."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is None
    scale, shift = norm_scale_and_shift(norm)
    return copy_with_weights(conv, weight=conv.weight.cpu().double() * scale[:, None, None, None], bias=shift)


def fold_norm_before(norm: nn.Module, linear: Linear) -> Linear:
    """A new linear layer or 1x1 convolution equal to `linear(norm(x))`."""
    assert linear.bias is not None
    scale, shift = norm_scale_and_shift(norm)
    weight = linear.weight.cpu().double()
    matrix = weight.flatten(1)
    assert matrix.shape[1] == len(scale), "a norm can only be folded into a 1x1 convolution after it"
    return copy_with_weights(
        linear, weight=(matrix * scale).view_as(weight), bias=linear.bias.cpu().double() + matrix @ shift
    )


def copy_with_weights(layer: Linear, *, weight: Tensor, bias: Tensor) -> Linear:
    """A copy of the layer with these float64 weights, converted to the layer's dtype and device."""
    copied = copy.deepcopy(layer)
    copied.weight = nn.Parameter(weight.detach().to(layer.weight))
    copied.bias = nn.Parameter(bias.detach().to(layer.weight))
    return copied
