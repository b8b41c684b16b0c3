"""A detector, from its weights to a proven bundle that answers without torch."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import nextvit
from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import NoFacts
from nextvit.bundle.golden import Golden, read_golden, write_golden
from nextvit.bundle.manifest import Manifest, read_bundle, read_manifest
from nextvit.errors import InputError, NotProven
from nextvit.export.export import export_bundle
from nextvit.export.proof_images import ProofImages, plain
from nextvit.models.deployed import normalise
from nextvit.models.detection import MaskRCNN
from nextvit.predictions.detection_parity import compare_detections
from nextvit.predictions.kind import output_names
from nextvit.predictions.results import Detections
from nextvit.proof.golden import verify_bundle
from nextvit.runtime.predictor import Predictor
from nextvit.runtime.session import open_session
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.network import deploy_network
from tests.conftest import MadeOnce, needs
from tests.models.detectors import detector_card, random_detector, silence_on_black
from tests.runtime.conftest import sealed

IMAGES = 32
BACKENDS = ("onnx", "openvino")


@dataclass(frozen=True)
class Exported:
    """A bundle, and what it was made from."""

    path: Path
    manifest: Manifest
    model: MaskRCNN
    card: ModelCard


def lively() -> tuple[MaskRCNN, ModelCard]:
    """A detector that finds as many objects as there may be on most images, and none on a black one."""
    model = random_detector(detections=100, proposals=120, iou=0.9, proposal_iou=0.9)
    card = detector_card(model)
    return silence_on_black(model, card.input).float(), card


def draw_noise(folder: Path, count: int) -> list[Path]:
    """Coloured noise, coarse and fine, in portrait and landscape."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    paths: list[Path] = []
    for index in range(count):
        height, width = generator.integers(40, 160, 2).tolist()
        coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        paths.append(folder / f"{index:02d}.png")
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def proof_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Drawn ones: random weights have the spread of trained ones over noise alone."""
    return draw_noise(tmp_path_factory.mktemp("noise") / "pictures", IMAGES)


@pytest.fixture(scope="module", params=BACKENDS)
def exported(request: pytest.FixtureRequest, proof_pictures: list[Path], made_once: MadeOnce) -> Exported:
    needs("openvino" if request.param == "openvino" else "onnxruntime")
    model, card = lively()
    images = ProofImages(samples=plain(proof_pictures), source="pictures")

    def make(folder: Path) -> None:
        out = folder / "detector.nextvit"
        export_bundle(model, card, backend=request.param, precision="fp32", images=images, out=out)

    out = made_once(f"detector-{request.param}", make) / "detector.nextvit"
    return Exported(out, read_bundle(out), model, card)


@pytest.mark.backend
def test_the_proof_says_how_many_objects_are_the_same(exported: Exported):
    proven = exported.manifest.verification
    assert (proven["images"], proven["agreement"]) == (IMAGES, 1.0)
    assert proven["objects"] > 1000
    assert proven["max_error"] < 1e-4 and proven["mask_iou"] > 0.999
    manifest, _, golden = verify_bundle(exported.path)
    assert manifest == read_bundle(exported.path)
    assert golden.images == 4


@pytest.mark.backend
@pytest.mark.parametrize("backend", BACKENDS)
def test_real_images_prove_it(backend: str, real_data: Any, tmp_path: Path):
    needs("openvino" if backend == "openvino" else "onnxruntime")
    paths = sorted((real_data("coco128seg") / "images" / "val").iterdir())[:IMAGES]
    spec = detector_card(random_detector()).input
    pixels_NHWC = torch.from_numpy(spec.network_inputs([spec(path) for path in paths[:4]])["images"])
    model = random_detector(images_NCHW=normalise(pixels_NHWC.permute(0, 3, 1, 2), spec)).float()
    images = ProofImages(samples=plain(paths), source="coco128seg, val")
    out = tmp_path / "real.nextvit"
    manifest = export_bundle(model, detector_card(model), backend=backend, precision="fp32", images=images, out=out)
    assert manifest.verification["images"] == IMAGES and manifest.verification["objects"] > 100


@pytest.mark.backend
def test_the_manifest_states_inputs_outputs_thresholds_and_resizing(exported: Exported):
    manifest = read_manifest(exported.path)
    assert list(manifest.inputs) == ["images", "sizes"]
    assert "at most 96x64 px, either way up" in manifest.inputs["images"]
    assert list(manifest.outputs) == ["boxes", "scores", "labels", "masks"]
    assert manifest.outputs["scores"].startswith("(N, 100) float32") and "above 0.05" in manifest.outputs["scores"]
    assert manifest.outputs["masks"].startswith("(N, 100, 28, 28)") and "from 0.5 on" in manifest.outputs["masks"]
    assert manifest.card.head["score_threshold"] == 0.05 and manifest.card.input.resize == "pad"
    page = (exported.path / "card.html").read_text()
    for words in (
        "same objects",
        "largest difference of scores",
        "mean IoU of masks",
        "of scores above 0.05",
    ):
        assert words in page
    assert "logits" not in page.partition("Everything")[0]


@pytest.mark.backend
def test_an_onnx_file_explains_itself(exported: Exported):
    if exported.manifest.backend != "onnx":
        pytest.skip("of ONNX files")
    model = onnx.load(exported.path / "model.onnx")
    onnx.checker.check_model(model)
    said = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert said["nextvit_inputs"] == exported.manifest.inputs
    assert said["nextvit_outputs"] == exported.manifest.outputs
    assert said["nextvit_card"]["facts"]["category_ids"] == [3, 7, 9]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""} and not model.functions
    assert str(Path(nextvit.__file__).parent).encode() not in (exported.path / "model.onnx").read_bytes()


def pictures() -> list[NDArray[np.uint8]]:
    """Landscape, portrait, a small one, a black one, and one of a single row of pixels."""
    generator = np.random.default_rng(7)
    noisy = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 96), (150, 70), (20, 33))]
    return [*noisy, np.zeros((60, 90, 3), np.uint8), generator.integers(0, 256, (1, 40, 3), dtype=np.uint8)]


@pytest.mark.backend
@pytest.mark.parametrize("batch_size", [1, 3])
def test_predictions_are_pytorchs(exported: Exported, batch_size: int):
    """With no object, with as many as there may be, and images of several sizes at once."""
    found, expected = (
        detections(predictor, batch_size)
        for predictor in (nextvit.load(exported.path), Predictor(in_torch(exported), exported.card))
    )
    parity = compare_detections(expected, found, exported.card)
    assert parity.failures("fp32") == [] and parity.agreement == 1.0
    counts = [len(each.objects) for each in found]
    assert counts[:2] == [100, 100] and counts[3] == 0
    assert [(each.width, each.height) for each in found] == [(96, 64), (70, 150), (33, 20), (90, 60), (40, 1)]
    assert {each.category_id for answer in found for each in answer.objects} == {3, 7, 9}
    for answer in found:
        for each in answer.objects:
            x1, y1, x2, y2 = each.box
            assert 0 <= x1 <= x2 <= answer.width and 0 <= y1 <= y2 <= answer.height
            assert each.mask is not None and each.mask["size"] == [answer.height, answer.width]


def in_torch(exported: Exported) -> TorchSession:
    return TorchSession(deploy_network(exported.model, exported.card), outputs=output_names(exported.card))


def detections(predictor: Predictor, batch_size: int) -> list[Detections]:
    answers = predictor(pictures(), batch_size=batch_size)
    assert all(isinstance(each, Detections) for each in answers)
    return answers  # pyright: ignore[reportReturnType]


@pytest.mark.backend
def test_serving_needs_numpy_pillow_and_the_runtime_alone(exported: Exported):
    code = (
        "import sys, numpy, nextvit;"
        f"[answer] = nextvit.load({str(exported.path)!r})([numpy.full((50, 70, 3), 99, numpy.uint8)]);"
        "assert answer.width == 70;"
        "print(sorted({'torch', 'torchvision', 'onnx', 'rich', 'cyclopts', 'yaml', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.backend
def test_other_limits_are_taken_without_another_file(exported: Exported):
    predictor = nextvit.load(exported.path, image_size=(96, 128))
    [answer] = predictor([pictures()[0]])
    assert isinstance(answer, Detections) and (answer.width, answer.height) == (96, 64)
    with pytest.raises(InputError, match="limits the shorter and then the longer side"):
        nextvit.load(exported.path, image_size=(128, 96))


def framed(**changes: Any) -> dict[str, NDArray[Any]]:
    inputs = {"images": np.zeros((2, 64, 96, 3), np.uint8), "sizes": np.array([[64, 96], [50, 90]])} | changes
    return {name: each for name, each in inputs.items() if each is not None}


@pytest.mark.backend
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": None}, '"sizes", height and width of each image, as int64 .2, 2.; got none'),
        ({"sizes": np.array([[64, 96]])}, r"got int64 of shape \(1, 2\)"),
        ({"sizes": np.array([[64, 96], [50, 90]], np.int32)}, "got int32"),
        ({"sizes": np.array([[64, 96], [0, 90]])}, r"from 1 px to that size, got \[\[64, 96\], \[0, 90\]\]"),
        ({"sizes": np.array([[64, 96], [50, 97]])}, "padded to 96x64 px must be from 1 px to that size"),
        ({"images": np.zeros((2, 50, 96, 3), np.uint8)}, "multiples of 32 px, got 96x50 px"),
        ({"images": np.zeros((2, 64, 96, 3), np.float32)}, "got float32 of shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(exported: Exported, changes: dict[str, Any], message: str):
    session = open_session(exported.path, exported.manifest)
    session.run(framed())
    with pytest.raises(InputError, match=message) as caught:
        session.run(framed(**changes))
    assert "\n" not in str(caught.value)


def with_golden(exported: Exported, folder: Path, golden: Golden) -> Path:
    """A copy with another golden example, and right checksums."""
    copied = folder / "copy.nextvit"
    shutil.copytree(exported.path, copied)
    write_golden(copied, [golden])
    return sealed(copied)


@pytest.mark.backend
def test_golden_examples_of_other_shapes_are_refused(exported: Exported, tmp_path: Path):
    [golden] = read_golden(exported.path)
    assert golden.sizes is not None
    outputs = golden.outputs
    for number, (changed, message) in enumerate(
        [
            (replace(golden, sizes=None), "height and width of each image"),
            (replace(golden, sizes=golden.sizes[:2]), "damaged .holds something else"),
            (replace(golden, sizes=golden.sizes * 99), "damaged .holds something else"),
            (replace(golden, images=golden.images[:, :-1]), "damaged .holds something else"),
            (replace(golden, outputs={**outputs, "boxes": outputs["boxes"][:, :50]}), "not of the model's shapes"),
            (
                replace(golden, outputs={**outputs, "labels": outputs["labels"] + 50}),
                "labels from .* its card has 3 classes",
            ),
        ]
    ):
        (tmp_path / f"{number}").mkdir()
        with pytest.raises(InputError, match=message) as caught:
            verify_bundle(with_golden(exported, tmp_path / f"{number}", changed))
        assert "\n" not in str(caught.value)


@pytest.mark.backend
def test_golden_examples_with_other_objects_are_not_met(exported: Exported, tmp_path: Path):
    [golden] = read_golden(exported.path)
    moved = {**golden.outputs, "boxes": golden.outputs["boxes"] * np.float32(0.9)}
    with pytest.raises(NotProven, match=r"same objects .* < 0.999"):
        verify_bundle(with_golden(exported, tmp_path, replace(golden, outputs=moved)))


@pytest.mark.backend
def test_a_file_that_does_not_fit_its_manifest_is_refused(exported: Exported, tmp_path: Path):
    manifest = exported.manifest
    card = manifest.card
    squashed = replace(card.input, image_size=(64, 64), resize="stretch")
    classifier = replace(card, task="classification", head={}, facts=NoFacts(), input=squashed)
    without_masks = {name: meaning for name, meaning in manifest.outputs.items() if name != "masks"}
    for changed in (replace(manifest, outputs=without_masks), replace(manifest, card=classifier)):
        with pytest.raises(InputError, match=r"does not fit its manifest|cannot load it") as caught:
            open_session(exported.path, changed)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backend": "coreml"},
            (
                "coreml fp32 is not for detection; "
                "a network for detection is exported to onnx in fp32 and openvino in fp32"
            ),
        ),
        ({"backend": "executorch"}, "executorch fp32 is not for detection"),
        ({"backend": "tensorrt"}, "tensorrt fp32 is not for detection"),
        ({"backend": "torch"}, "torch fp32 is not for detection"),
        ({"precision": "fp16"}, "onnx fp16 is not for detection"),
        ({"precision": "int8"}, "onnx int8 is not for detection"),
        ({"backend": "openvino", "precision": "bf16"}, "openvino bf16 is not for detection"),
        ({"dynamic_size": True}, "and so takes any size without --dynamic-size"),
        ({"explain_layers": True}, "--explain is for classifiers"),
    ],
)
def test_what_only_classifiers_have_is_refused_at_once(tmp_path: Path, changes: dict[str, Any], message: str):
    model = random_detector().float()
    nothing = ProofImages(samples=[], source="nothing")  # it would fail on that, later
    request = {"backend": "onnx", "precision": "fp32", "images": nothing, "out": tmp_path / "a.nextvit", **changes}
    with pytest.raises(InputError, match=message):
        export_bundle(model, detector_card(model), **request)
    assert not list(tmp_path.iterdir())


@pytest.mark.backend
def test_a_wrong_file_is_refused_with_a_page(
    proof_pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Deploy a detector whose boxes are a little off: the proof must find it."""
    from nextvit.models import deployed

    fuse = deployed.fuse

    def off_by_a_little(model: MaskRCNN) -> MaskRCNN:
        wrong = fuse(model)
        wrong.roi_head.bbox_head.fc_reg.bias.data += 0.2
        return wrong

    monkeypatch.setattr(deployed, "fuse", off_by_a_little)
    model, card = lively()
    images = ProofImages(samples=plain(proof_pictures[:4]), source="pictures")
    with pytest.raises(NotProven, match=r"not proven on 4 images: same objects 0\.\d+ < 0.999"):
        export_bundle(model, card, backend="onnx", precision="fp32", images=images, out=tmp_path / "a.nextvit")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.refused.html", "a.refused.json"]
    assert "not proven" in (tmp_path / "a.refused.html").read_text()
