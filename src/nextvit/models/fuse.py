"""The deployment form: a copy of a model in which every batch norm is folded into a neighbour, and nothing else differs.

A batch norm in eval mode is x -> scale * x + shift for each channel. Behind a convolution it scales the filters; before
a 1x1 convolution, a linear layer or an average it passes through and scales their inputs. Only one stands before a padded
convolution, into which the shift could not be moved: UperNet's behind the last stage, which goes into that stage.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from nextvit.models.backbone import EMHSA, MHCA, NCB, NTB, ConvBNReLU, NextViT, PatchEmbed
from nextvit.models.classification import Classifier
from nextvit.models.pyramid import PlainConv
from nextvit.models.segmentation import Segmenter
from nextvit.models.segmentation_heads import ConvNormReLU, UPerHead

Model = TypeVar("Model", bound=nn.Module)
Linear = TypeVar("Linear", nn.Conv2d, nn.Linear)  # a 1x1 convolution is a linear layer on channels


def fuse(model: Model) -> Model:
    """Return a copy of `model` in eval mode and deployment form, with the same outputs; what only training uses is left out.

    The copy cannot be trained, and its state dict says that it is fused: loading it into an unfused model, or the
    other way round, is an error. Fusing a fused model returns a plain copy.
    """
    fused = copy.deepcopy(model).eval()
    if any(isinstance(module, NextViT) and module.fused for module in fused.modules()):
        return fused
    for module in fused.modules():
        fold(module)
    for module in fused.modules():
        if isinstance(module, Segmenter):
            fold_between_stages(module)
    left = [name for name, module in fused.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert not left, f"batch norms that nothing folded: {left}"
    return fused.requires_grad_(False)


def fold(module: nn.Module) -> None:
    """Fold the batch norms that are a module's own."""
    match module:
        case PatchEmbed() if isinstance(module.conv, nn.Identity):
            pass
        case ConvBNReLU() | PatchEmbed():
            module.conv = fold_behind(module.conv, module.norm)
            module.norm = nn.Identity()
        case ConvNormReLU():
            module.conv = fold_behind(module.conv, module.bn)
            module.bn = nn.Identity()
        case MHCA():
            module.group_conv3x3 = fold_behind(module.group_conv3x3, module.norm)
            module.norm = nn.Identity()
        case NCB():
            module.mlp.fc1 = fold_before(module.norm, module.mlp.fc1)
            module.norm = nn.Identity()
        case NTB():
            fold_attention(module.norm1, module.e_mhsa)
            module.norm1 = nn.Identity()
            module.mlp.fc1 = fold_before(module.norm2, module.mlp.fc1)
            module.norm2 = nn.Identity()
        case Classifier():
            module.head = fold_before(module.norm, module.head)
            module.norm = nn.Identity()
        case NextViT():
            module.fused = True
        case _:
            pass


class EdgePool(nn.Module):
    """The same as 2x2 average pooling that rounds up and leaves the padding out: the last row and column are repeated.

    A pooling that rounds up cannot be captured for every height and width at once, and one compiler (AOTInductor of
    torch 2.15) silently rounds it down.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(nn.functional.pad(x_NCHW, (0, 1, 0, 1), mode="replicate"), 2)


def for_any_size(model: Model) -> Model:
    """Return a copy of `model` that can be captured with dynamic sides, with the same outputs."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, PatchEmbed) and isinstance(module.pool, nn.AvgPool2d):
            module.pool = EdgePool()
    return copied


def for_whole_halvings(model: Model) -> Model:
    """Return a copy of `model` for sides that are multiples of 32, with the same outputs: there is nothing to round up."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, PatchEmbed) and isinstance(module.pool, nn.AvgPool2d):
            module.pool = nn.AvgPool2d(2)
    return copied


def fold_attention(norm: nn.Module, attention: nn.Module) -> None:
    """Fold the norm before E-MHSA into q, and it and the norm behind the pooling into k and v."""
    assert isinstance(attention, EMHSA)
    # The pooling is a plain average, so the first norm passes through it to meet the second.
    for_keys: list[nn.Module] = [attention.norm, norm] if isinstance(attention.norm, nn.BatchNorm1d) else [norm]
    for each in for_keys:
        attention.k = fold_before(each, attention.k)
        attention.v = fold_before(each, attention.v)
    attention.q = fold_before(norm, attention.q)
    attention.norm = nn.Identity()


def fold_between_stages(model: Segmenter) -> None:
    """Fold the norm behind each stage into all that takes its map; what takes it has been folded itself.

    With UperNet a padded convolution takes the last map, so there the norm goes into what makes the map. The auxiliary head
    has such a convolution, too, and no use any more: it goes.
    """
    model.auxiliary_head = None
    backbone, head = model.backbone, model.decode_head
    laterals = head.lateral_convs if isinstance(head, UPerHead) else model.get_submodule("neck.lateral_convs")
    norms = [*backbone.extra_norm_list, backbone.norm]
    for norm, lateral in zip(norms, laterals.children(), strict=False):  # UperNet's last map has none
        assert isinstance(lateral, ConvNormReLU | PlainConv)
        lateral.conv = fold_before(norm, lateral.conv)
    for stage, norm in enumerate(backbone.extra_norm_list):
        entrance = backbone.stages[stage + 1].get_submodule("blocks.0.patch_embed")
        assert isinstance(entrance, PatchEmbed) and isinstance(entrance.conv, nn.Conv2d)
        entrance.conv = fold_before(norm, entrance.conv)
        backbone.extra_norm_list[stage] = nn.Identity()
    if isinstance(head, UPerHead):
        fold_into_block(backbone.stages[3].get_submodule(f"blocks.{backbone.config.depths[3] - 1}"), backbone.norm)
    backbone.norm = nn.Identity()


def fold_into_block(block: nn.Module, norm: nn.Module) -> None:
    """Fold the norm behind a block into the two branches that the block adds at its end."""
    assert isinstance(block, NCB | NTB)
    last, (scale, shift) = block.mlp.fc2, scale_and_shift(norm)
    assert last.bias is not None
    block.mlp.fc2 = with_weights(
        last,
        weight=last.weight.cpu().double() * scale[:, None, None, None],
        bias=last.bias.cpu().double() * scale + shift,
    )
    block.shortcut = ChannelScale(scale.to(last.weight))


class ChannelScale(nn.Module):
    """(N, C, H, W), each channel times its factor."""

    def __init__(self, scale_C: Tensor) -> None:
        super().__init__()
        self.scale = nn.Buffer(scale_C[:, None, None])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW * self.scale


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The norm as scale * x + shift, in float64, so that folding itself adds no error, and on the CPU, which has it."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    state = {name: tensor.cpu().double() for name, tensor in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    return scale, state["bias"] - state["running_mean"] * scale


def fold_behind(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """A convolution equal to `norm(conv(x))`."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is None
    scale, shift = scale_and_shift(norm)
    return with_weights(conv, weight=conv.weight.cpu().double() * scale[:, None, None, None], bias=shift)


def fold_before(norm: nn.Module, linear: Linear) -> Linear:
    """A linear layer or 1x1 convolution equal to `linear(norm(x))`."""
    assert linear.bias is not None
    scale, shift = scale_and_shift(norm)
    weight = linear.weight.cpu().double()
    matrix = weight.flatten(1)
    assert matrix.shape[1] == len(scale), "only a 1x1 convolution can take up the norm before it"
    return with_weights(
        linear, weight=(matrix * scale).view_as(weight), bias=linear.bias.cpu().double() + matrix @ shift
    )


def with_weights(layer: Linear, *, weight: Tensor, bias: Tensor) -> Linear:
    """A copy of the layer with these float64 weights, in the layer's own precision and on its device."""
    copied = copy.deepcopy(layer)
    copied.weight = nn.Parameter(weight.detach().to(layer.weight))
    copied.bias = nn.Parameter(bias.detach().to(layer.weight))
    return copied
