"""Export, proof and verification, with the real exporter and ONNX Runtime."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import nextvit
from nextvit.bundle.golden import Golden, read_golden, write_golden
from nextvit.bundle.manifest import read_bundle, write_manifest
from nextvit.bundle.signature import check_signature
from nextvit.errors import InputError, NotProven
from nextvit.export.export import export_bundle
from nextvit.export.proof_images import proof_images
from nextvit.export.reference import prove
from nextvit.files.durable import compute_sha256
from nextvit.models import deployed
from nextvit.models.classification import Classifier
from nextvit.predictions.logits_parity import LogitsParity, compare_logits
from nextvit.predictions.tolerances import TOLERANCES
from nextvit.proof.golden import verify_bundle
from nextvit.proof.verdict import failures
from nextvit.runtime.session import open_session
from tests.export.nano import CLASSES, build_card, calibrated_model, export_nano, unlabelled
from tests.models.reference import reference_logits


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
    files = {entry.name for entry in exported.iterdir()}
    assert files == {"model.onnx", "golden.npz", "card.html", "manifest.json"}
    assert manifest.sha256.keys() == files - {"manifest.json"}


def test_predictions_equal_an_independent_computation_in_torch(exported: Path, images: list[Path]):
    """Not through our own reference: unfused, normalised by the textbook formula."""
    model, spec = calibrated_model(), build_card(64, 64).input
    pixels = torch.from_numpy(np.stack([spec(image) for image in images])).double().permute(0, 3, 1, 2)
    mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (spec.mean, spec.std))
    with torch.no_grad():
        expected = model.double()((pixels / 255 - mean) / std).softmax(dim=1)
    for answer, row in zip(nextvit.load(exported)(images), expected, strict=True):
        assert answer.label == CLASSES[int(row.argmax())]
        assert answer.probability == pytest.approx(float(row.max()), abs=1e-4)


@pytest.mark.backend
@pytest.mark.parametrize("size", [(33, 47), (225, 96)])
def test_sides_that_are_no_multiples_of_32_stay_exact(size: tuple[int, int], images: list[Path], tmp_path: Path):
    manifest = export_bundle(
        calibrated_model(),
        build_card(*size),
        backend="onnx",
        precision="fp32",
        images=unlabelled(images),
        out=tmp_path / "odd.nextvit",
    )
    assert manifest.verification["max_error"] <= 1e-4


@pytest.mark.backend
def test_the_published_network_is_exported_exactly(images: list[Path], tmp_path: Path):
    manifest = export_bundle(
        calibrated_model("nextvit_small"),
        build_card(64, 64, "nextvit_small"),
        backend="onnx",
        precision="fp32",
        images=unlabelled(images),
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


@pytest.mark.backend
def test_a_wrong_file_is_refused_and_nothing_stays(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Fuse to a model whose head is off by one in a thousand: the proof must find it."""
    fuse = deployed.fuse

    def off_by_a_little(model: Classifier) -> Classifier:
        wrong = fuse(model)
        with torch.no_grad():
            wrong.head.weight.mul_(1.001)
        return wrong

    monkeypatch.setattr(deployed, "fuse", off_by_a_little)
    with pytest.raises(NotProven, match=r"not proven on 12 images: largest error .* diverges at head"):
        export_nano(tmp_path / "wrong.nextvit", images)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["wrong.refused.html", "wrong.refused.json"]


def test_an_export_that_costs_too_many_points_is_refused():
    parity = LogitsParity(images=12, max_error=1e-6, mean_error=1e-7, cosine=1.0, agreement=1.0)
    record = {"before": {"score": 90.0}, "after": {"score": 88.5}, "drop": 1.5}
    assert failures(record, parity, "fp32", 1.5) == []
    assert failures(record, parity, "fp32", 1.0) == ["the score fell from 90.00 to 88.50, more than --max-drop 1"]
    assert failures(record, parity, "int8", None) == ["the score fell from 90.00 to 88.50, more than --max-drop 0.5"]
    assert failures({}, replace(parity, agreement=0.99), "int8", None) == [
        "1.00 % of the predictions differ, more than --max-drop 0.5"
    ]
    assert failures({}, replace(parity, max_error=math.inf), "int8", None) == ["it puts out NaN or infinity"]


def test_another_model_does_not_pass_for_the_bundles(exported: Path, images: list[Path]):
    other = calibrated_model()
    nn.init.normal_(other.head.weight)
    session = open_session(exported, read_bundle(exported))
    proof = prove(other, build_card(64, 64), session, unlabelled(images))
    assert any("agreement" in each for each in failures(proof.record(None), proof.parity, "fp32", None))


def test_requests_that_cannot_succeed_are_refused_at_once(images: list[Path], tmp_path: Path):
    (tmp_path / "mine.nextvit").mkdir()
    for changes, message in (
        ({"backend": "onxn"}, "no backend 'onxn'; did you mean 'onnx'"),
        ({"precision": "bf16"}, "onnx has no precision 'bf16'; accepted: fp32"),
        ({"out": tmp_path / "mine.nextvit"}, "exists and is not a bundle"),
        ({"out": tmp_path / "model.onnx"}, "a bundle is a folder whose name ends in .nextvit"),
    ):
        with pytest.raises(InputError, match=message):
            export_nano(**{"out": tmp_path / "new.nextvit", "images": images, **changes})
    with pytest.raises(InputError, match="holds no image"):
        proof_images(tmp_path, build_card(64, 64))
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.nextvit"]


def test_golden_examples_that_this_machine_does_not_meet_are_refused(exported: Path, tmp_path: Path):
    copied = tmp_path / "copy.nextvit"
    shutil.copytree(exported, copied)
    [golden] = read_golden(copied)
    write_golden(copied, [Golden(golden.images, {"logits": golden.outputs["logits"] * 1.01})])
    manifest = read_bundle(exported)
    write_manifest(
        copied, replace(manifest, sha256={**manifest.sha256, "golden.npz": compute_sha256(copied / "golden.npz")})
    )
    with pytest.raises(NotProven, match="golden examples"):
        verify_bundle(copied)


@pytest.mark.backend
def test_any_size_is_exact_and_proven_at_two_sizes(images: list[Path], tmp_path: Path):
    out = tmp_path / "any.nextvit"
    manifest = export_nano(out, images, dynamic_size=True)
    assert manifest.dynamic_size
    assert [golden.images.shape for golden in read_golden(out)] == [(4, 64, 64, 3), (4, 81, 49, 3)]
    session = open_session(out, manifest)
    model = calibrated_model()
    for height, width in ((33, 47), (225, 96), (64, 64), (100, 33)):
        pixels = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        expected = reference_logits(model, build_card(64, 64), pixels)
        parity = compare_logits(expected, session.run({"images": pixels})["logits"])
        assert parity.max_error <= 1e-4, (height, width)


def test_an_fp16_file_states_fp16_for_everything_between_image_and_logits(images: list[Path], tmp_path: Path):
    manifest = export_nano(tmp_path / "half.nextvit", images, precision="fp16")
    assert 1e-5 < manifest.verification["max_error"] <= 2e-2  # it is fp16, and within its bound
    model = onnx.load(tmp_path / "half.nextvit" / "model.onnx")
    floats = {each.data_type for each in model.graph.initializer if len(each.dims) == 4}
    assert floats == {onnx.TensorProto.FLOAT16}


def test_nothing_of_this_machine_is_in_the_file(exported: Path):
    content = (exported / "model.onnx").read_bytes()
    assert str(Path(nextvit.__file__).parent).encode() not in content
    assert b"stack_trace" not in content
    assert not [node.name for node in onnx.load(exported / "model.onnx").graph.node if node.metadata_props]


def test_a_bundle_tells_a_colleague_what_it_is(exported: Path):
    page = (exported / "card.html").read_text()
    for words in ("blue, green, red", "64x64 px", "licence of the weights", "same prediction", "model.onnx"):
        assert words in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_an_export_can_be_signed(images: list[Path], tmp_path: Path):
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(private)
    export_nano(tmp_path / "signed.nextvit", images, sign_with=tmp_path / "key.pem")
    check_signature(tmp_path / "signed.nextvit", key.public_key())
    verify_bundle(tmp_path / "signed.nextvit")
    with pytest.raises(InputError, match="no key can be read there"):  # before any work is done
        export_nano(tmp_path / "other.nextvit", [], sign_with=tmp_path / "none.pem")


@pytest.mark.backend
def test_with_labels_a_file_far_from_pytorch_is_accepted_by_its_score_and_verified(
    images: list[Path], shared_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The bounds of fp16's outputs are made so narrow that no file keeps them."""
    narrow = replace(TOLERANCES["fp16"], max_error=1e-9)
    monkeypatch.setitem(TOLERANCES, "fp16", narrow)
    with pytest.raises(NotProven, match=r"largest error .* > 1e-09; .*; labelled images let the score decide"):
        export_nano(tmp_path / "unlabelled.nextvit", images, precision="fp16")
    out = tmp_path / "labelled.nextvit"
    card = build_card(64, 64)
    labelled = proof_images(shared_colours, card)
    manifest = export_bundle(calibrated_model(), card, backend="onnx", precision="fp16", images=labelled, out=out)
    proven = manifest.verification
    assert (proven["max_drop"], proven["drop"]) == (0.5, 0.0)
    [beyond] = proven["beyond_tolerances"]
    assert re.fullmatch(r"largest error .* > 1e-09", beyond)
    assert beyond.replace(">", "&gt;") in (out / "card.html").read_text()
    verify_bundle(out)
