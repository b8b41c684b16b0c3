"""Export, proof and verification, with the real exporter and ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import nextvit
from nextvit.bundle import Manifest, read_bundle
from nextvit.card import ModelCard
from nextvit.errors import InputError, NotProven
from nextvit.export import export as exporting
from nextvit.export.export import export_bundle, prove
from nextvit.export.golden import verify_bundle
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.preprocess import Preprocess
from nextvit.records import to_plain
from nextvit.runtime.session import open_session
from tests.models.calibrated import calibrate

pytestmark = pytest.mark.backend
CLASSES = ("blue", "green", "red")


def card_for(height: int, width: int, variant: str = "nextvit_nano") -> ModelCard:
    return ModelCard(
        task="classification",
        classes=CLASSES,
        input=Preprocess(image_size=(height, width)),
        variant=variant,
        architecture=to_plain(VARIANTS[variant]),
    )


def calibrated_model(variant: str = "nextvit_nano") -> Classifier:
    torch.manual_seed(0)
    model = calibrate(create_model(variant, num_classes=3)).float()
    assert isinstance(model, Classifier)
    return model


def export_nano(out: Path, images: list[Path], **changes: Any) -> Manifest:
    """Export the calibrated nano model at 64 px, or with changes to the request."""
    request = {"backend": "onnx", "precision": "fp32", "images": images, "out": out, **changes}
    return export_bundle(calibrated_model(), card_for(64, 64), **request)


@pytest.fixture(scope="module")
def images(shared_colours: Path) -> list[Path]:
    return sorted((shared_colours / "val").rglob("*.png"))


@pytest.fixture(scope="module")
def exported(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "nano.nextvit"
    export_nano(out, images)
    return out


def test_bundle_is_proven_and_says_so(exported: Path):
    manifest, _, golden = verify_bundle(exported)
    assert manifest.verification["images"] == 12
    assert manifest.verification["max_error"] <= 1e-4
    assert manifest.verification["agreement"] == 1.0
    assert golden.images == 4
    assert {entry.name for entry in exported.iterdir()} == {"model.onnx", "golden.npz", "manifest.json"}
    assert manifest.sha256.keys() == {"model.onnx", "golden.npz"}


def test_answers_equal_an_independent_computation_in_torch(exported: Path, images: list[Path]):
    """Not through our own reference: unfused, normalised by the textbook formula."""
    model, spec = calibrated_model(), card_for(64, 64).input
    pixels = torch.from_numpy(np.stack([spec(image) for image in images])).double().permute(0, 3, 1, 2)
    mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (spec.mean, spec.std))
    with torch.no_grad():
        expected = model.double()((pixels / 255 - mean) / std).softmax(dim=1)
    for answer, row in zip(nextvit.load(exported)(images), expected, strict=True):
        assert answer.label == CLASSES[int(row.argmax())]
        assert answer.probability == pytest.approx(float(row.max()), abs=1e-4)


@pytest.mark.parametrize("size", [(33, 47), (225, 96)])
def test_sides_that_are_no_multiples_of_32_stay_exact(size: tuple[int, int], images: list[Path], tmp_path: Path):
    manifest = export_bundle(
        calibrated_model(),
        card_for(*size),
        backend="onnx",
        precision="fp32",
        images=images,
        out=tmp_path / "odd.nextvit",
    )
    assert manifest.verification["max_error"] <= 1e-4


def test_the_published_network_is_exported_exactly(images: list[Path], tmp_path: Path):
    manifest = export_bundle(
        calibrated_model("nextvit_small"),
        card_for(64, 64, "nextvit_small"),
        backend="onnx",
        precision="fp32",
        images=images,
        out=tmp_path / "small.nextvit",
    )
    assert manifest.verification["max_error"] <= 1e-4


def test_onnx_file_explains_itself_and_holds_no_batch_norm(exported: Path):
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["nextvit_card"])["classes"] == list(CLASSES)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    [entry] = model.graph.input
    assert entry.name == "images"
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_value for dim in entry.type.tensor_type.shape.dim] == [0, 64, 64, 3]  # 0: any batch


def test_a_wrong_file_is_refused_and_nothing_stays(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Capture a model whose head is off by one in a thousand: the proof must find it."""
    capture = exporting.capture

    def off_by_a_little(model: Classifier, card: ModelCard):
        wrong = calibrated_model()
        with torch.no_grad():
            wrong.head.weight.mul_(1.001)
        return capture(wrong, card)

    monkeypatch.setattr(exporting, "capture", off_by_a_little)
    with pytest.raises(NotProven, match="differs from PyTorch on 12 images: largest error"):
        export_nano(tmp_path / "wrong.nextvit", images)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_costs_too_many_points_is_refused(images: list[Path], tmp_path: Path):
    scores = iter([{"score": 90.0}, {"score": 88.5}])
    with pytest.raises(NotProven, match=r"fell from 90.00 to 88.50, more than --max-drop 1"):
        export_nano(tmp_path / "bad.nextvit", images, exam=lambda predict: next(scores), max_drop=1.0)
    assert list(tmp_path.iterdir()) == []


def test_another_model_does_not_pass_for_the_bundles(exported: Path, images: list[Path]):
    other = calibrated_model()
    nn.init.normal_(other.head.weight)
    session = open_session(exported, read_bundle(exported))
    with pytest.raises(NotProven, match="differs from PyTorch"):
        prove(other, card_for(64, 64), session, images, "fp32")


def test_requests_that_cannot_succeed_are_refused_at_once(images: list[Path], tmp_path: Path):
    (tmp_path / "mine.nextvit").mkdir()
    for changes, message in (
        ({"backend": "onxn"}, "no backend 'onxn'; did you mean 'onnx'"),
        ({"precision": "int8"}, "onnx has no precision 'int8' yet; accepted: fp32"),
        ({"images": []}, "proven on real images, and there are none"),
        ({"out": tmp_path / "mine.nextvit"}, "exists and is not a bundle"),
        ({"out": tmp_path / "model.onnx"}, "a bundle is a folder whose name ends in .nextvit"),
    ):
        with pytest.raises(InputError, match=message):
            export_nano(**{"out": tmp_path / "new.nextvit", "images": images, **changes})
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.nextvit"]


def test_golden_examples_that_this_machine_does_not_meet_are_refused(exported: Path, tmp_path: Path):
    import shutil
    from dataclasses import replace

    from nextvit.bundle import read_golden, write_golden, write_manifest
    from nextvit.durable import sha256_of

    copied = tmp_path / "copy.nextvit"
    shutil.copytree(exported, copied)
    pixels, outputs = read_golden(copied)
    write_golden(copied, images=pixels, outputs={"logits": outputs["logits"] * 1.01})
    manifest = read_bundle(exported)
    write_manifest(
        copied, replace(manifest, sha256={**manifest.sha256, "golden.npz": sha256_of(copied / "golden.npz")})
    )
    with pytest.raises(NotProven, match="golden examples"):
        verify_bundle(copied)
