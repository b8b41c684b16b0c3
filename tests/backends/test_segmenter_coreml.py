"""A segmentation model's Core ML package, proven by running its operators again: what is tested is the saved file."""

import platform
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from nextvit.backends.coreml import export
from nextvit.backends.coreml_stand_in import MilInterpreter, open_session
from nextvit.backends.mil_program import read_package
from nextvit.backends.program import Source
from nextvit.bundle.golden import read_golden
from nextvit.bundle.manifest import Precision
from nextvit.errors import NoRuntimeHere
from nextvit.export.export import export_bundle
from nextvit.export.proof_images import ProofImages
from nextvit.image.resizing import Preprocess
from nextvit.machine.quiet import suppress_output
from nextvit.predictions.segmentation import with_scores
from nextvit.predictions.segmentation_parity import LogitsDifference, SegmentationParity
from nextvit.proof.golden import verify_bundle
from nextvit.runtime.predictor import load_bundle
from nextvit.tasks.reading import read_dataset
from tests.backends.coreml_packages import KNOWN, manifest_for
from tests.data.masks_by_hand import draw_masked
from tests.export.lively_segmenter import lively
from tests.models.reference import reference_outputs
from tests.models.segmenters import random_segmenter

pytestmark = [
    pytest.mark.skipif(platform.system() == "Windows", reason="coremltools has no Windows wheels"),
    pytest.mark.backend,
]
pytest.importorskip("google.protobuf")
Head = Literal["fpn", "uper"]
RESIZING = {"upsample_bilinear", "upsample_nearest_neighbor", "slice_by_index", "reduce_argmax"}
STANDARDISING = {"sub", "sqrt", "real_div"}


def source_for(
    head: Head, size: tuple[int, int], precision: Precision = "fp32", *, standardise: bool = False
) -> Source:
    model = random_segmenter(head, standardise=standardise).float()
    _, card = lively(Preprocess(image_size=size, resize="stretch"), standardise=standardise)
    return Source(model=model, card=with_scores(card, True), precision=precision)


def written(source: Source, folder: Path) -> MilInterpreter:
    return open_session(folder, manifest_for(source, export(source, folder)))


@pytest.mark.backend
@pytest.mark.parametrize(
    ("head", "size", "standardise"),
    [
        ("fpn", (50, 71), True),
        ("uper", (50, 71), False),
        ("fpn", (64, 96), False),
        ("uper", (64, 96), False),
    ],
)
def test_the_package_gives_pytorchs_classes_and_scores(
    head: Head, size: tuple[int, int], standardise: bool, tmp_path: Path
):
    """Sides that are no multiples of 32: doubled maps are cut, and enlarged ones are not doubled."""
    source = source_for(head, size, standardise=standardise)
    opened = written(source, tmp_path)
    assert {op.kind for op in opened.program.operations} <= KNOWN | RESIZING | STANDARDISING
    inputs = {"images": np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)}
    got, expected = opened.run(inputs), reference_outputs(source.model, source.card, inputs)
    assert (got["classes"].dtype, got["classes"].shape) == (np.int32, (2, *size))
    assert len(np.unique(got["classes"])) > 2 and (got["classes"] == expected["classes"]).mean() > 0.999
    difference = LogitsDifference()
    difference.add(expected["logits"], got["logits"])
    assert difference.error is not None and difference.error < 1e-4


@pytest.fixture(scope="module")
def bundle(images: ProofImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "nano.nextvit"
    source = source_for("fpn", (64, 96), "fp16")
    export_bundle(source.model, source.card, backend="coreml", precision="fp16", images=images, out=out)
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ProofImages:
    root = draw_masked(tmp_path_factory.mktemp("masks") / "drawn")
    return ProofImages(samples=read_dataset(root).split("val"), source="drawn")


def test_a_bundle_in_fp16_is_proven_by_its_pixels(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    manifest, _, parity = verify_bundle(bundle)
    proven = manifest.verification
    assert isinstance(parity, SegmentationParity) and parity.logits_error is not None
    assert proven["agreement"] >= 0.995 and 1e-4 < proven["logits_error"] <= 2e-2
    assert proven["runtime"]["computes_in"] == "FLOAT16, FLOAT32"  # the answers alone are fp32
    assert manifest.outputs["classes"].startswith("(N, H, W) int32: the class of each pixel")
    assert {op["rule"]: op["operators"] for op in proven["program"]["off_neural_engine"]} == {
        "computes with integers": {"reduce_argmax": 1}
    }
    program = read_package(bundle / "model.mlpackage")
    assert program.description == "nextvit_nano: segmentation of 4 classes, 96x64 px"
    assert [len(each.images) for each in read_golden(bundle)] == [4]
    with pytest.raises(NoRuntimeHere, match="Core ML runs on macOS"):
        load_bundle(bundle)


def test_what_an_output_means_is_said_in_the_package(bundle: Path):
    with suppress_output():
        from coremltools.proto import Model_pb2
    model: Any = Model_pb2.Model()
    model.ParseFromString((bundle / "model.mlpackage/Data/com.apple.CoreML/model.mlmodel").read_bytes())
    said = {output.name: output.shortDescription for output in model.description.output}
    assert list(said) == ["classes", "logits"]
    assert said["classes"].startswith(
        "(1, H, W) int32: the class of each pixel, as its index in the metadata's classes"
    )
