"""Detectors from checkpoints: MMDetection's, a classifier's, and their own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.models.detection import PUBLISHED_MASK_RCNN, MaskRCNN
from nextvit.models.weights import load_weights, save_model
from tests.models.calibrated import image
from tests.models.detectors import CLASSES, random_detector

SIZES = torch.tensor([[64, 96], [50, 80]])
STARTS = (0, 2, 4, 8)  # of nextvit_nano's stages in the official flat list

# What a published Mask R-CNN has besides its backbone: neck, proposals, boxes, masks.
SHARED = {"weight": (1024, 12544), "bias": (1024,)}
OFFICIAL_HEADS: dict[str, tuple[int, ...]] = {
    **{f"neck.lateral_convs.{s}.conv.weight": (256, width, 1, 1) for s, width in enumerate((96, 256, 512, 1024))},
    **{f"neck.lateral_convs.{s}.conv.bias": (256,) for s in range(4)},
    **{f"neck.fpn_convs.{s}.conv.weight": (256, 256, 3, 3) for s in range(4)},
    **{f"neck.fpn_convs.{s}.conv.bias": (256,) for s in range(4)},
    "rpn_head.rpn_conv.weight": (256, 256, 3, 3),
    "rpn_head.rpn_conv.bias": (256,),
    "rpn_head.rpn_cls.weight": (3, 256, 1, 1),
    "rpn_head.rpn_cls.bias": (3,),
    "rpn_head.rpn_reg.weight": (12, 256, 1, 1),
    "rpn_head.rpn_reg.bias": (12,),
    "roi_head.bbox_head.fc_cls.weight": (81, 1024),
    "roi_head.bbox_head.fc_cls.bias": (81,),
    "roi_head.bbox_head.fc_reg.weight": (320, 1024),
    "roi_head.bbox_head.fc_reg.bias": (320,),
    **{f"roi_head.bbox_head.shared_fcs.0.{name}": shape for name, shape in SHARED.items()},
    "roi_head.bbox_head.shared_fcs.1.weight": (1024, 1024),
    "roi_head.bbox_head.shared_fcs.1.bias": (1024,),
    **{f"roi_head.mask_head.convs.{index}.conv.weight": (256, 256, 3, 3) for index in range(4)},
    **{f"roi_head.mask_head.convs.{index}.conv.bias": (256,) for index in range(4)},
    "roi_head.mask_head.upsample.weight": (256, 256, 2, 2),
    "roi_head.mask_head.upsample.bias": (256,),
    "roi_head.mask_head.conv_logits.weight": (80, 256, 1, 1),
    "roi_head.mask_head.conv_logits.bias": (80,),
}


@pytest.fixture(scope="module")
def trained() -> MaskRCNN:
    return random_detector()


def fresh(**settings: object) -> MaskRCNN:
    """A detector of the same shape with other weights."""
    torch.manual_seed(9)
    like = random_detector(**settings)
    return MaskRCNN(VARIANTS["nextvit_nano"], like.detector, num_classes=CLASSES).double().eval()


def mmdetection_state(model: MaskRCNN) -> dict[str, Tensor]:
    """The model's weights under the names in MMDetection's files, with the classifier's norm and head beside them."""
    state = {"backbone.norm.weight": torch.ones(320), "backbone.proj_head.0.weight": torch.ones(1000, 320)}
    for name, tensor in model.state_dict().items():
        key = name
        if name.startswith("backbone.stages."):
            _, _, stage, _, position, rest = name.split(".", 5)
            key = f"backbone.features.{STARTS[int(stage)] + int(position)}.{rest}"
            key = key.replace("mlp.fc1", "mlp.conv1").replace("mlp.fc2", "mlp.conv2")
        if not name.endswith("_extra_state"):
            state[key] = tensor
    return state


def save_mmdetection(path: Path, state: dict[str, Tensor]) -> Path:
    """In the layout of MMDetection's files."""
    meta = {"mmdet_version": "2.23.0", "CLASSES": ("a", "b", "c"), "PALETTE": [(1, 2, 3)], "epoch": 12, "hook_msgs": {}}
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, path)
    return path


def test_names_and_shapes_are_those_of_the_published_checkpoints():
    with torch.device("meta"):
        model = MaskRCNN(VARIANTS["nextvit_small"], PUBLISHED_MASK_RCNN, num_classes=80)
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items() if not name.startswith("backbone.")}
    assert shapes == OFFICIAL_HEADS


def test_an_mmdetection_checkpoint_gives_all_of_the_detector(trained: MaskRCNN, tmp_path: Path):
    state = mmdetection_state(trained)
    model = fresh()
    report = load_weights(model, save_mmdetection(tmp_path / "det.pth", state))
    assert (report.layout, report.loaded, report.fresh) == ("official", len(state) - 2, [])
    assert report.left_over.keys() == {"backbone.norm.weight", "backbone.proj_head.0.weight"}
    assert "2 left over (norm and head of a classifier, which a detector does not use" in str(report)
    with torch.no_grad():
        pairs = zip(model(image(64, 96), SIZES), trained(image(64, 96), SIZES), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_a_classifier_gives_the_backbone_and_the_heads_start_fresh(tmp_path: Path):
    classifier = create_model("nextvit_nano", num_classes=7).double()
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    model = fresh()
    heads = {name: each.clone() for name, each in model.state_dict().items() if not name.startswith("backbone.")}
    report = load_weights(model, tmp_path / "classifier.pth")
    assert set(report.fresh) == heads.keys()
    assert set(report.left_over) == {name for name in classifier.state_dict() if name.startswith(("norm.", "head."))}
    for name, tensor in model.state_dict().items():
        expected = heads[name] if name in heads else classifier.state_dict()[name]
        assert torch.equal(tensor, expected), name


def test_its_own_file_loads_by_name(trained: MaskRCNN, tmp_path: Path):
    card = ModelCard(
        task="classification",
        classes=("a", "b", "c"),
        input=Preprocess(image_size=(64, 64)),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
    )
    save_model(tmp_path / "model.safetensors", trained, card)
    model = fresh()
    report = load_weights(model, tmp_path / "model.safetensors", classes=("a", "b", "c"))
    assert (report.layout, report.fresh, report.left_over) == ("nextvit", [], {})
    renamed = load_weights(fresh(), tmp_path / "model.safetensors", classes=("x", "y", "z"))
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in renamed.fresh} == {"fc_cls", "fc_reg", "conv_logits"}


def test_other_classes_replace_only_the_layers_of_classes(trained: MaskRCNN, tmp_path: Path):
    path = save_mmdetection(tmp_path / "det.pth", mmdetection_state(trained))
    model = MaskRCNN(VARIANTS["nextvit_nano"], trained.detector, num_classes=5).double()
    report = load_weights(model, path)
    layers = ("roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", "roi_head.mask_head.conv_logits")
    assert sorted(report.fresh) == sorted(f"{layer}.{name}" for layer in layers for name in ("weight", "bias"))
    assert [key for key, why in report.left_over.items() if why == "head for other classes"] == report.fresh


def test_boxes_alone_leave_the_mask_head_over_and_masks_start_fresh_without_one(trained: MaskRCNN, tmp_path: Path):
    state = mmdetection_state(trained)
    report = load_weights(fresh(masks=False), save_mmdetection(tmp_path / "masks.pth", state))
    assert report.fresh == []
    reason = "mask head, which a detector of boxes alone does not have"
    assert {key for key, why in report.left_over.items() if why == reason} == {
        key for key in state if "mask_head" in key
    }
    without = {key: each for key, each in state.items() if "mask_head" not in key}
    report = load_weights(fresh(), save_mmdetection(tmp_path / "boxes.pth", without))
    assert set(report.fresh) == {key for key in state if "mask_head" in key}


@pytest.mark.parametrize(
    "key", ["neck.fpn_convs.1.conv.bias", "rpn_head.rpn_cls.weight", "roi_head.bbox_head.shared_fcs.0.weight"]
)
def test_a_missing_key_is_named(trained: MaskRCNN, tmp_path: Path, key: str):
    state = mmdetection_state(trained)
    del state[key]
    with pytest.raises(InputError, match=f"the checkpoint lacks '{key}'"):
        load_weights(fresh(), save_mmdetection(tmp_path / "det.pth", state))


def test_an_unknown_key_is_named(trained: MaskRCNN, tmp_path: Path):
    state = mmdetection_state(trained) | {"roi_head.bbox_head.fc_iou.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"no place for key 'roi_head.bbox_head.fc_iou.weight'"):
        load_weights(fresh(), save_mmdetection(tmp_path / "det.pth", state))


def test_heads_of_other_widths_are_reported(trained: MaskRCNN, tmp_path: Path):
    path = save_mmdetection(tmp_path / "det.pth", mmdetection_state(trained))
    with pytest.raises(InputError, match=r"shared_fcs.0.weight' has shape \(24, 784\), .* its heads have other widths"):
        load_weights(fresh(box_width=32), path)
