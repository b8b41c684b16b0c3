"""The complete segmentation model: its size, its settings, its norms, its deployment form."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.backbone import NextViT
from nextvit.models.config import VARIANTS
from nextvit.models.deployed import DeployedSegmenter, normalise
from nextvit.models.fuse import adapt_to_any_size, fuse
from nextvit.models.segmentation import (
    LIGHT_FPN,
    PUBLISHED_FPN,
    PUBLISHED_UPER,
    SegmentationTargets,
    Segmenter,
    SegmenterConfig,
    build_segmenter,
    class_map_from_logits,
    default_segmenter_config,
    standardise_images,
)
from nextvit.models.segmentation_losses import IGNORE_INDEX, LossSettings, head_losses
from tests.models import plain_segmentation as plain
from tests.models.calibrated import image
from tests.models.segmenters import CLASSES, random_segmenter

Head = Literal["fpn", "uper"]
HEADS: tuple[Head, ...] = ("fpn", "uper")
FIXED = Preprocess(image_size=(64, 96), resize="stretch")
PADDED = Preprocess(image_size=(64, 96), resize="pad")


@pytest.fixture(scope="module")
def models() -> dict[str, Segmenter]:
    return {head: random_segmenter(head) for head in HEADS}


@pytest.mark.parametrize(
    ("name", "segmenter", "parameters"),
    [
        ("nextvit_small", PUBLISHED_FPN, 35_227_926),
        ("nextvit_base", PUBLISHED_FPN, 48_283_414),
        ("nextvit_large", PUBLISHED_FPN, 61_338_902),
        ("nextvit_small", PUBLISHED_UPER, 65_258_412),
        ("nextvit_base", PUBLISHED_UPER, 78_313_900),
        ("nextvit_large", PUBLISHED_UPER, 91_369_388),
    ],
)
def test_parameters_are_those_of_the_published_models(name: str, segmenter: SegmenterConfig, parameters: int):
    with torch.device("meta"):
        model = Segmenter(VARIANTS[name], segmenter, num_classes=150)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_small_backbones_get_a_light_head():
    assert default_segmenter_config("nextvit_tiny") == default_segmenter_config("nextvit_nano") == LIGHT_FPN
    assert default_segmenter_config("nextvit_small") == default_segmenter_config("nextvit_large") == PUBLISHED_FPN
    with torch.device("meta"):
        model = Segmenter(VARIANTS["nextvit_nano"], LIGHT_FPN, num_classes=12)
    head = sum(each.numel() for name, each in model.named_parameters() if not name.startswith("backbone."))
    assert head < 5e5


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(64, 96), (70, 45)])
def test_logits_match_a_plain_computation(models: dict[str, Segmenter], head: Head, size: tuple[int, int]):
    model = models[head]
    with torch.no_grad():
        logits_NCHW = model(image(*size))
        maps = model.backbone(image(*size))
        inputs = [each.numpy() for each in (maps if model.neck is None else model.neck(maps))]
    weights = {name: each.numpy() for name, each in model.decode_head.state_dict().items()}
    expected = (
        plain.semantic_fpn(inputs, weights)
        if head == "fpn"
        else plain.upernet(inputs, weights, pool_sides=model.segmenter.pool_sides)
    )
    assert logits_NCHW.shape == (2, CLASSES, -(-size[0] // 4), -(-size[1] // 4))
    assert logits_NCHW.std() > 0.5
    torch.testing.assert_close(logits_NCHW, torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_each_stage_takes_the_normalised_map_of_the_stage_before(models: dict[str, Segmenter]):
    backbone = models["fpn"].backbone
    weights = {name: each.numpy() for name, each in backbone.state_dict().items() if "norm" in name}
    with torch.no_grad():
        maps = backbone(image(64, 64))
        x_NCHW = backbone.stem(image(64, 64))
        for stage, prefix in enumerate((*(f"extra_norm_list.{index}" for index in range(3)), "norm")):
            x_NCHW = torch.from_numpy(plain.norm(backbone.stages[stage](x_NCHW).numpy(), weights, prefix))
            torch.testing.assert_close(maps[stage], x_NCHW, rtol=1e-9, atol=1e-9)
        unnormed = NextViT.forward(backbone, image(64, 64))
    assert (unnormed[0] - maps[0]).abs().max() > 0.1


def test_small_images_are_refused(models: dict[str, Segmenter]):
    with pytest.raises(InputError, match="images must be at least 32 px a side"):
        models["fpn"](image(31, 64))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(64, 96), (70, 45)])
def test_a_fused_model_gives_the_same(models: dict[str, Segmenter], head: Head, size: tuple[int, int]):
    fused = fuse(models[head])
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in fused.modules())
    assert not any("auxiliary_head" in name for name in fused.state_dict())
    with torch.no_grad():
        assert (fused(image(*size)) - models[head](image(*size))).abs().max() <= 1e-10
        assert torch.equal(fuse(fused)(image(*size)), fused(image(*size)))
    assert models[head].auxiliary_head is not None


@pytest.mark.parametrize("head", HEADS)
def test_every_norm_changes_the_logits(models: dict[str, Segmenter], head: Head):
    """Otherwise the test above would prove nothing."""
    with torch.no_grad():
        expected = models[head](image(64, 64))
        for name in ("extra_norm_list.0", "extra_norm_list.1", "extra_norm_list.2", "norm"):
            model = random_segmenter(head)
            norm = model.backbone.get_submodule(name)
            assert isinstance(norm, nn.BatchNorm2d)
            norm.bias += 1.0
            assert (model(image(64, 64)) - expected).abs().max() > 1e-3, name


def test_losses_come_from_both_heads(models: dict[str, Segmenter]):
    model = models["uper"]
    settings = LossSettings(dice=0.5, auxiliary=0.3)
    targets_NHW = torch.randint(0, CLASSES, (2, 64, 96), generator=torch.Generator().manual_seed(0))
    targets_NHW[0, :9] = IGNORE_INDEX
    with torch.no_grad():
        losses = model(image(64, 96), SegmentationTargets(targets_NHW, settings))
        maps = model.backbone(image(64, 96))
        assert model.auxiliary_head is not None
        own = head_losses(model.decode_head(maps), targets_NHW, settings)
        auxiliary = head_losses(model.auxiliary_head(maps[2]), targets_NHW, settings)
    assert losses.keys() == {"cross_entropy", "dice", "auxiliary"}
    assert (losses["cross_entropy"], losses["dice"]) == (own["cross_entropy"], own["dice"])
    torch.testing.assert_close(losses["auxiliary"], 0.3 * (auxiliary["cross_entropy"] + auxiliary["dice"]))


@pytest.mark.parametrize("head", HEADS)
def test_training_steps_reduce_the_loss(head: Head):
    torch.manual_seed(0)
    model = random_segmenter(head).float().train()
    targets_NHW = torch.zeros(2, 64, 64, dtype=torch.uint8)
    targets_NHW[:, :, 32:] = 2
    targets = SegmentationTargets(targets_NHW, LossSettings(tversky=1.0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(6):
        total = torch.stack(list(model(image(64, 64).float(), targets).values())).sum()
        optimiser.zero_grad()
        total.backward()
        assert all(each.grad is not None for each in model.parameters())
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]


def test_without_an_auxiliary_head_there_is_no_loss_of_it():
    model = random_segmenter(auxiliary_width=0)
    assert not any("auxiliary" in name for name in model.state_dict())
    targets = SegmentationTargets(torch.zeros(2, 64, 64, dtype=torch.uint8), LossSettings())
    assert model(image(64, 64), targets).keys() == {"cross_entropy"}


def test_a_card_says_which_model_it_is(models: dict[str, Segmenter]):
    card = ModelCard(
        task="classification",
        classes=tuple("abcd"),
        input=FIXED,
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
        head=to_plain(models["uper"].segmenter),
    )
    model = build_segmenter(card)
    assert (model.segmenter, model.num_classes) == (models["uper"].segmenter, 4)
    assert model.state_dict().keys() == models["uper"].state_dict().keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head_width": 0}, "head_width must be from 1 to 16384, got 0"),
        ({"neck_width": -1}, "neck_width must be from 1 to 16384, got -1"),
        ({"auxiliary_width": -1}, "auxiliary_width must be from 0 to 16384, got -1"),
        ({"pool_sides": ()}, r"pool_sides must be one or more numbers from 1 to 64, got \(\)"),
        ({"pool_sides": (1, 0)}, r"pool_sides must be one or more numbers from 1 to 64, got \(1, 0\)"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        SegmenterConfig(**settings)


@pytest.mark.parametrize("num_classes", [1, 256])
def test_numbers_of_classes_beyond_the_range_of_an_index_are_refused(num_classes: int):
    with pytest.raises(InputError, match=f"has from 2 to 255 classes, got {num_classes}"):
        Segmenter(VARIANTS["nextvit_nano"], LIGHT_FPN, num_classes=num_classes)


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def test_a_class_map_is_the_argmax_of_the_upsampled_logits():
    logits_NCHW = torch.randn(2, 5, 6, 4, dtype=torch.float64)
    classes_NHW = class_map_from_logits(logits_NCHW, (21, 16))
    assert classes_NHW.dtype == torch.uint8
    assert (classes_NHW.numpy() == plain.resize_bilinear(logits_NCHW.numpy(), (21, 16)).argmax(axis=1)).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_deployment_form_predicts_classes(head: Head):
    model = random_segmenter(head).float()
    images_NHWC = pixels(2, 64, 96, 3)
    with torch.no_grad():
        expected = model(normalise(images_NHWC.permute(0, 3, 1, 2), FIXED))
        classes_NHW, logits_NCHW = DeployedSegmenter(model, FIXED, scores=True)(images_NHWC)
        alone_NHW = DeployedSegmenter(model, FIXED)(images_NHWC)
    torch.testing.assert_close(logits_NCHW, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(classes_NHW, class_map_from_logits(logits_NCHW, (64, 96)))
    assert torch.equal(alone_NHW, classes_NHW)
    assert (classes_NHW.shape, classes_NHW.dtype) == ((2, 64, 96), torch.uint8)
    assert len(classes_NHW.unique()) > 1


def test_the_padding_does_not_change_the_prediction():
    model = random_segmenter("uper").float()
    deployed = DeployedSegmenter(model, PADDED, scores=True)
    images_NHWC, sizes_N2 = pixels(2, 64, 96, 3), torch.tensor([[64, 96], [50, 80]])
    other_NHWC = images_NHWC.clone()
    other_NHWC[1, 50:], other_NHWC[1, :, 80:] = 7, 200
    normalised_NCHW = normalise(images_NHWC.permute(0, 3, 1, 2), PADDED)
    normalised_NCHW[1, :, 50:], normalised_NCHW[1, :, :, 80:] = 0, 0
    with torch.no_grad():
        classes_NHW, logits_NCHW = deployed(images_NHWC, sizes_N2)
        others = deployed(other_NHWC, sizes_N2)
        expected = model(normalised_NCHW)
    assert torch.equal(classes_NHW, others[0]) and torch.equal(logits_NCHW, others[1])
    torch.testing.assert_close(logits_NCHW, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(classes_NHW[1, :50, :80], class_map_from_logits(logits_NCHW, (64, 96))[1, :50, :80])
    assert (classes_NHW[1, 50:] == IGNORE_INDEX).all() and (classes_NHW[1, :, 80:] == IGNORE_INDEX).all()
    assert (classes_NHW[0] < CLASSES).all()


def test_a_standardised_image_has_mean_0_and_standard_deviation_1_whatever_its_brightness():
    image_NCHW = torch.rand(1, 3, 40, 60, dtype=torch.float64)
    images_NCHW = torch.cat([image_NCHW, 0.5 * image_NCHW - 2, torch.full_like(image_NCHW, 1.7)])
    found_NCHW = standardise_images(images_NCHW)
    values = image_NCHW.numpy()
    expected = (values - values.mean()) / np.sqrt(values.var() + 1e-3)
    assert found_NCHW[:1].numpy() == pytest.approx(expected, abs=1e-12)
    assert found_NCHW[1].mean().item() == pytest.approx(0, abs=1e-12)
    assert found_NCHW[1].std(correction=0).item() == pytest.approx(1, abs=0.05)
    assert found_NCHW[2].abs().max() < 1e-12


def test_standardising_does_not_depend_on_the_padding():
    """This holds before the network; the network itself also sees the padding."""
    images_NCHW, inside_N1HW = torch.randn(2, 3, 32, 64), torch.zeros(2, 1, 32, 64, dtype=torch.bool)
    inside_N1HW[0], inside_N1HW[1, :, :20, :50] = True, True
    images_NCHW = images_NCHW * inside_N1HW
    found_NCHW = standardise_images(images_NCHW, inside_N1HW)
    torch.testing.assert_close(found_NCHW[0], standardise_images(images_NCHW)[0])
    torch.testing.assert_close(found_NCHW[1:, :, :20, :50], standardise_images(images_NCHW[1:, :, :20, :50]))


@pytest.mark.parametrize("spec", [FIXED, PADDED])
def test_the_deployment_form_standardises_as_in_training(spec: Preprocess):
    model = random_segmenter(standardise=True).float()
    images_NHWC = pixels(2, 64, 96, 3)
    sizes = (torch.tensor([[64, 96], [64, 96]]),) if spec is PADDED else ()
    with torch.no_grad():
        _, logits_NCHW = DeployedSegmenter(model, spec, scores=True)(images_NHWC, *sizes)
        unlike_NCHW = model(normalise(images_NHWC.permute(0, 3, 1, 2), spec))
        expected = model(standardise_images(normalise(images_NHWC.permute(0, 3, 1, 2), spec)))
    torch.testing.assert_close(logits_NCHW, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(logits_NCHW, unlike_NCHW, rtol=1e-3, atol=1e-3)


def test_in_lower_precision_the_logits_are_float32_and_close():
    model = random_segmenter("uper").float()
    with torch.no_grad():
        _, logits_NCHW = DeployedSegmenter(model, FIXED, scores=True, dtype=torch.bfloat16)(pixels(1, 64, 96, 3))
        _, expected = DeployedSegmenter(model, FIXED, scores=True)(pixels(1, 64, 96, 3))
    assert logits_NCHW.dtype == torch.float32
    assert 0 < (logits_NCHW - expected).std() < 0.15 * expected.std()


def test_a_side_that_is_no_multiple_of_32_is_rounded_up_as_in_training():
    model = random_segmenter().float()
    spec = Preprocess(image_size=(50, 75), resize="stretch")
    images_NHWC = pixels(1, 50, 75, 3)
    with torch.no_grad():
        _, logits_NCHW = DeployedSegmenter(model, spec, scores=True)(images_NHWC)
        expected = model(normalise(images_NHWC.permute(0, 3, 1, 2), spec))
    assert logits_NCHW.shape == (1, CLASSES, 13, 19)
    torch.testing.assert_close(logits_NCHW, expected, rtol=1e-3, atol=1e-3)


def export_padded(model: Segmenter) -> Callable[..., Any]:
    """A program for padded images with any multiples of 32 as height and width."""
    batch, rows, columns = (torch.export.Dim(name, min=1, max=128) for name in ("batch", "rows", "columns"))
    deployed = DeployedSegmenter(model, PADDED, scores=True)
    example = (pixels(2, 96, 128, 3), torch.tensor([[80, 100], [96, 128]]))
    shapes = ({0: batch, 1: 32 * rows, 2: 32 * columns}, {0: batch})
    with torch.no_grad():
        return torch.export.export(deployed, example, dynamic_shapes=shapes).module()


def export_any_size(model: Segmenter) -> Callable[..., Any]:
    """A program for images of any height and width."""
    batch = torch.export.Dim("batch", min=1, max=128)
    height, width = (torch.export.Dim(name, min=33, max=4096) for name in ("height", "width"))
    deployed = DeployedSegmenter(adapt_to_any_size(model), FIXED, scores=True)
    with torch.no_grad():
        program = torch.export.export(
            deployed, (pixels(2, 64, 96, 3),), dynamic_shapes=({0: batch, 1: height, 2: width},)
        )
    return program.module()


@pytest.mark.backend
@pytest.mark.parametrize("head", HEADS)
def test_one_program_takes_padded_images_of_all_sizes(head: Head):
    model = random_segmenter(head).float()
    program, deployed = export_padded(model), DeployedSegmenter(model, PADDED, scores=True)
    for (count, height, width), sizes in (((1, 64, 96), [[60, 96]]), ((3, 160, 96), [[160, 96], [150, 96], [0, 0]])):
        inputs = pixels(count, height, width, 3), torch.tensor(sizes)
        with torch.no_grad():
            assert_same(program(*inputs), deployed(*inputs))


@pytest.mark.backend
@pytest.mark.parametrize("head", HEADS)
def test_one_program_takes_images_of_all_sizes(head: Head):
    model = random_segmenter(head).float()
    program, deployed = export_any_size(model), DeployedSegmenter(model, FIXED, scores=True)
    for size in ((64, 64), (70, 91), (97, 200)):
        with torch.no_grad():
            assert_same(program(pixels(1, *size, 3)), deployed(pixels(1, *size, 3)))


def assert_same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=1e-3)
    assert found[0].shape == expected[0].shape
    assert (found[0] == expected[0]).double().mean() > 0.999
