"""Segmentation models from checkpoints: MMSegmentation's, a classifier's, a detector's, and their own."""

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
from nextvit.models.segmentation import PUBLISHED_FPN, PUBLISHED_UPER, Segmenter, SegmenterConfig
from nextvit.models.weights import load_weights, save_model
from tests.models.calibrated import image
from tests.models.detectors import random_detector
from tests.models.segmenters import CLASSES, random_segmenter

Shape = tuple[int, ...]
STARTS = (0, 2, 4, 8)  # of nextvit_nano's stages in the official flat list
WIDTHS = (96, 256, 512, 1024)  # of nextvit_small's


def norm_shapes(name: str, width: int) -> dict[str, Shape]:
    tensors = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{each}": (width,) for each in tensors} | {f"{name}.num_batches_tracked": ()}


def layer_shapes(name: str, shape: Shape) -> dict[str, Shape]:
    """Of a convolution with batch norm."""
    return {f"{name}.conv.weight": shape} | norm_shapes(f"{name}.bn", shape[0])


def class_shapes(head: str, width: int) -> dict[str, Shape]:
    return {f"{head}.conv_seg.weight": (150, width, 1, 1), f"{head}.conv_seg.bias": (150,)}


# What the published models hold beside the classifier's backbone.
NORMS = {
    **{
        name: shape for s in range(3) for name, shape in norm_shapes(f"backbone.extra_norm_list.{s}", WIDTHS[s]).items()
    },
    **norm_shapes("backbone.norm", 1024),
}
OFFICIAL_FPN: dict[str, Shape] = {
    **NORMS,
    **{f"neck.lateral_convs.{s}.conv.weight": (256, width, 1, 1) for s, width in enumerate(WIDTHS)},
    **{f"neck.lateral_convs.{s}.conv.bias": (256,) for s in range(4)},
    **{f"neck.fpn_convs.{s}.conv.weight": (256, 256, 3, 3) for s in range(4)},
    **{f"neck.fpn_convs.{s}.conv.bias": (256,) for s in range(4)},
    **class_shapes("decode_head", 128),
    **layer_shapes("decode_head.scale_heads.0.0", (128, 256, 3, 3)),
    **layer_shapes("decode_head.scale_heads.1.0", (128, 256, 3, 3)),
    **layer_shapes("decode_head.scale_heads.2.0", (128, 256, 3, 3)),
    **layer_shapes("decode_head.scale_heads.2.2", (128, 128, 3, 3)),
    **layer_shapes("decode_head.scale_heads.3.0", (128, 256, 3, 3)),
    **layer_shapes("decode_head.scale_heads.3.2", (128, 128, 3, 3)),
    **layer_shapes("decode_head.scale_heads.3.4", (128, 128, 3, 3)),
}
OFFICIAL_UPER: dict[str, Shape] = {
    **NORMS,
    **class_shapes("decode_head", 512),
    **layer_shapes("decode_head.psp_modules.0.1", (512, 1024, 1, 1)),
    **layer_shapes("decode_head.psp_modules.1.1", (512, 1024, 1, 1)),
    **layer_shapes("decode_head.psp_modules.2.1", (512, 1024, 1, 1)),
    **layer_shapes("decode_head.psp_modules.3.1", (512, 1024, 1, 1)),
    **layer_shapes("decode_head.bottleneck", (512, 3072, 3, 3)),
    **layer_shapes("decode_head.lateral_convs.0", (512, 96, 1, 1)),
    **layer_shapes("decode_head.lateral_convs.1", (512, 256, 1, 1)),
    **layer_shapes("decode_head.lateral_convs.2", (512, 512, 1, 1)),
    **layer_shapes("decode_head.fpn_convs.0", (512, 512, 3, 3)),
    **layer_shapes("decode_head.fpn_convs.1", (512, 512, 3, 3)),
    **layer_shapes("decode_head.fpn_convs.2", (512, 512, 3, 3)),
    **layer_shapes("decode_head.fpn_bottleneck", (512, 2048, 3, 3)),
    **class_shapes("auxiliary_head", 256),
    **layer_shapes("auxiliary_head.convs.0", (256, 512, 3, 3)),
}


@pytest.fixture(scope="module")
def trained() -> dict[str, Segmenter]:
    return {"fpn": random_segmenter("fpn"), "uper": random_segmenter("uper")}


def fresh(like: Segmenter, *, num_classes: int = CLASSES) -> Segmenter:
    """A model of the same shape with other weights."""
    torch.manual_seed(9)
    return Segmenter(VARIANTS["nextvit_nano"], like.segmenter, num_classes=num_classes).double().eval()


def mmsegmentation_state(model: Segmenter) -> dict[str, Tensor]:
    """The model's weights under the names in MMSegmentation's files, with all that those keep beside them."""
    state = {"backbone.proj_head.0.weight": torch.ones(1000, 320), "backbone.proj_head.0.bias": torch.ones(1000)}
    state |= {f"backbone.extra_norm_list.3.{name}": torch.ones(320) for name in ("weight", "bias", "running_var")}
    for name, tensor in model.state_dict().items():
        key = name
        if name.startswith("backbone.stages."):
            _, _, stage, _, position, rest = name.split(".", 5)
            key = f"backbone.features.{STARTS[int(stage)] + int(position)}.{rest}"
            key = key.replace("mlp.fc1", "mlp.conv1").replace("mlp.fc2", "mlp.conv2")
        if not name.endswith("_extra_state"):
            state[key] = tensor
    return state


def save_mmsegmentation(path: Path, state: dict[str, Tensor]) -> Path:
    """In the layout of MMSegmentation's files."""
    meta = {
        "mmseg_version": "0.23.0",
        "CLASSES": ("wall", "sky"),
        "PALETTE": [[120, 120, 120], [6, 230, 230]],
        "iter": 9,
    }
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 6e-5}]}}, path)
    return path


@pytest.mark.parametrize(
    ("segmenter", "official"), [(PUBLISHED_FPN, OFFICIAL_FPN), (PUBLISHED_UPER, OFFICIAL_UPER)], ids=["fpn", "uper"]
)
def test_names_and_shapes_are_those_of_the_published_checkpoints(
    segmenter: SegmenterConfig, official: dict[str, Shape]
):
    with torch.device("meta"):
        model = Segmenter(VARIANTS["nextvit_small"], segmenter, num_classes=150)
        classifier = create_model("nextvit_small")
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items()}
    backbone = {name for name in classifier.state_dict() if name.startswith("backbone.")}
    assert backbone <= shapes.keys()
    assert {name: shape for name, shape in shapes.items() if name not in backbone} == official


@pytest.mark.parametrize("head", ["fpn", "uper"])
def test_an_mmsegmentation_checkpoint_gives_all_of_the_model(trained: dict[str, Segmenter], tmp_path: Path, head: str):
    state = mmsegmentation_state(trained[head])
    model = fresh(trained[head])
    report = load_weights(model, save_mmsegmentation(tmp_path / "seg.pth", state))
    assert (report.layout, report.loaded, report.fresh) == ("official", len(state) - 5, [])
    assert report.left_over.keys() == {key for key in state if "proj_head" in key or "extra_norm_list.3" in key}
    assert "2 left over (head of a classifier, which a segmentation model does not use" in str(report)
    assert "3 left over (a norm that MMSegmentation's files keep and nothing uses" in str(report)
    for name, tensor in trained[head].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    with torch.no_grad():
        assert torch.equal(model(image(64, 96)), trained[head](image(64, 96)))


@pytest.mark.parametrize("layout", ["official", "own"])
def test_a_classifier_gives_backbone_and_last_norm_and_the_rest_starts_fresh(
    trained: dict[str, Segmenter], tmp_path: Path, layout: str
):
    classifier = create_model("nextvit_nano", num_classes=7).double()
    torch.nn.init.normal_(classifier.get_submodule("norm").weight)
    state = classifier.state_dict()
    if layout == "official":
        state = {key: tensor for key, tensor in mmsegmentation_state(random_segmenter()).items() if "features" in key}
        state = {key.removeprefix("backbone."): tensor for key, tensor in state.items()}
        state |= {key: tensor for key, tensor in classifier.state_dict().items() if key.startswith("norm.")}
        state |= {"proj_head.0.weight": torch.ones(1000, 320), "proj_head.0.bias": torch.ones(1000)}
        state |= {key.removeprefix("backbone."): each for key, each in classifier.state_dict().items() if "stem" in key}
    torch.save(state, tmp_path / "classifier.pth")
    model = fresh(trained["uper"])
    before = {name: each.clone() for name, each in model.state_dict().items()}
    report = load_weights(model, tmp_path / "classifier.pth")
    parts = ("backbone.extra_norm_list.", "decode_head.", "auxiliary_head.")
    assert set(report.fresh) == {name for name in before if name.startswith(parts)}
    assert set(report.left_over) == {key for key in state if key.startswith(("head.", "proj_head."))}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in report.fresh)
    assert torch.equal(model.backbone.norm.weight, classifier.get_submodule("norm").weight)


def test_its_own_file_loads_by_name_and_starts_a_classifier(trained: dict[str, Segmenter], tmp_path: Path):
    card = ModelCard(
        task="classification",
        classes=tuple("abcd"),
        input=Preprocess(image_size=(64, 64)),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
    )
    save_model(tmp_path / "model.safetensors", trained["fpn"], card)
    report = load_weights(fresh(trained["fpn"]), tmp_path / "model.safetensors", classes=tuple("abcd"))
    assert (report.layout, report.fresh, report.left_over) == ("nextvit", [], {})
    renamed = load_weights(fresh(trained["fpn"]), tmp_path / "model.safetensors", classes=tuple("wxyz"))
    assert renamed.fresh == [
        f"{head}.conv_seg.{name}" for head in ("decode_head", "auxiliary_head") for name in ("weight", "bias")
    ]
    classifier = create_model("nextvit_nano", num_classes=4).double()
    report = load_weights(classifier, tmp_path / "model.safetensors")
    assert report.fresh == ["head.weight", "head.bias"]
    assert torch.equal(classifier.get_submodule("norm").weight, trained["fpn"].backbone.norm.weight)
    assert set(report.left_over.values()) == {
        "neck of a detection or segmentation model",
        "head of a segmentation model",
        "auxiliary head of a segmentation model",
        "extra norms of a segmentation model",
    }


def test_other_classes_replace_only_the_layers_of_classes(trained: dict[str, Segmenter], tmp_path: Path):
    path = save_mmsegmentation(tmp_path / "seg.pth", mmsegmentation_state(trained["uper"]))
    report = load_weights(fresh(trained["uper"], num_classes=2), path)
    layers = ("decode_head.conv_seg", "auxiliary_head.conv_seg")
    assert report.fresh == [f"{layer}.{name}" for layer in layers for name in ("weight", "bias")]
    assert [key for key, why in report.left_over.items() if why == "head for other classes"] == report.fresh


def test_an_auxiliary_head_may_be_there_or_not(trained: dict[str, Segmenter], tmp_path: Path):
    state = mmsegmentation_state(trained["uper"])
    path = save_mmsegmentation(tmp_path / "with.pth", state)
    report = load_weights(fresh(random_segmenter("uper", auxiliary_width=0)), path)
    assert report.fresh == []
    left = {key for key, why in report.left_over.items() if why == "auxiliary head of a segmentation model"}
    assert left == {key for key in state if key.startswith("auxiliary_head.")}
    without = {key: each for key, each in state.items() if not key.startswith("auxiliary_head.")}
    report = load_weights(fresh(trained["uper"]), save_mmsegmentation(tmp_path / "without.pth", without))
    assert set(report.fresh) == left


def test_a_detector_gives_the_backbone(trained: dict[str, Segmenter], tmp_path: Path):
    detector = random_detector()
    torch.save({"state_dict": detector.state_dict(), "meta": {}}, tmp_path / "det.pth")
    report = load_weights(fresh(trained["uper"]), tmp_path / "det.pth")
    assert not any(name.startswith("backbone.stages.") for name in report.fresh)
    assert {"backbone.norm.weight", "backbone.extra_norm_list.0.weight"} <= set(report.fresh)


@pytest.mark.parametrize(
    "key",
    ["decode_head.bottleneck.bn.bias", "backbone.extra_norm_list.1.weight", "backbone.norm.running_var"],
)
def test_a_missing_key_is_named(trained: dict[str, Segmenter], tmp_path: Path, key: str):
    state = mmsegmentation_state(trained["uper"])
    del state[key]
    with pytest.raises(InputError, match=f"the checkpoint lacks '{key}'"):
        load_weights(fresh(trained["uper"]), save_mmsegmentation(tmp_path / "seg.pth", state))


def test_a_head_of_another_kind_or_other_widths_is_reported(trained: dict[str, Segmenter], tmp_path: Path):
    path = save_mmsegmentation(tmp_path / "seg.pth", mmsegmentation_state(trained["uper"]))
    with pytest.raises(InputError, match=r"no place for key 'decode_head\..*'; its heads are of another kind"):
        load_weights(fresh(trained["fpn"]), path)
    with pytest.raises(InputError, match=r"'decode_head\..*' has shape .* its heads have other widths"):
        load_weights(fresh(random_segmenter("uper", head_width=12)), path)
