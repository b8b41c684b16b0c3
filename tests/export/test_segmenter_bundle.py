"""A segmentation model, from its weights to a proven bundle that answers as PyTorch does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.bundle.golden import Golden, read_golden, write_golden
from nextvit.bundle.manifest import Precision, read_bundle
from nextvit.errors import InputError, NotProven
from nextvit.export.attempt import as_many_as_fit
from nextvit.export.export import export_bundle
from nextvit.export.proof_images import ProofImages, proof_images
from nextvit.export.targets import target_of
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.resizing import Preprocess
from nextvit.predictions.kind import output_names
from nextvit.predictions.packed_class_map import PackedClassMap
from nextvit.predictions.results import ClassMap
from nextvit.predictions.sampling import resize_class_map
from nextvit.predictions.segmentation import with_scores
from nextvit.predictions.segmentation_parity import LogitsDifference, SegmentationParity, compare_maps
from nextvit.predictions.tolerances import TOLERANCES
from nextvit.proof.golden import verify_bundle
from nextvit.runtime.predictor import Predictor, load_bundle
from nextvit.runtime.session import open_session
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.network import deploy_network
from nextvit.tasks.reading import read_dataset
from tests.conftest import needs
from tests.data.masks_by_hand import CLASSES, draw_masked
from tests.export.lively_segmenter import FIT, lively
from tests.models.reference import reference_outputs
from tests.runtime.conftest import sealed

SQUASH = Preprocess(image_size=(64, 96), resize="stretch")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = draw_masked(tmp_path_factory.mktemp("masks") / "drawn")
    (root / "classes.txt").write_text("\n".join((*CLASSES, "ring")))
    return root


@pytest.mark.backend
@pytest.mark.parametrize(
    ("backend", "spec"),
    [
        ("onnx", FIT),
        ("onnx", SQUASH),
        ("openvino", FIT),
    ],
)
def test_an_export_is_proven_by_its_pixels_and_its_score(backend: str, spec: Preprocess, drawn: Path, tmp_path: Path):
    needs("openvino" if backend == "openvino" else "onnxruntime")
    model, card = lively(spec)
    out = tmp_path / "model.nextvit"
    manifest = export_bundle(model, card, backend=backend, precision="fp32", images=proof_images(drawn, card), out=out)
    proven = manifest.verification
    assert proven["images"] == 4 and proven["agreement"] >= 0.999 and proven["pixels"] > 4 * 4000
    assert proven["before"]["metric"] == "mean_iou_score"
    assert abs(proven["before"]["score"] - proven["after"]["score"]) < 0.1
    assert "same class" in (out / "card.html").read_text()

    [golden] = read_golden(out)
    assert golden.outputs["classes"].dtype == np.uint8 and len(np.unique(golden.outputs["classes"])) > 2
    verify_bundle(out)
    path = read_dataset(drawn).split("val")[0].path
    reference = Predictor(TorchSession(deploy_network(model, card), outputs=output_names(card)), card)([path])[0]
    [answer] = load_bundle(out)([path])
    assert isinstance(answer, ClassMap) and isinstance(reference, ClassMap)
    assert answer.labels.shape == (36, 48) and (answer.labels == reference.labels).mean() > 0.999

    wrong = replace_classes(golden)
    write_golden(out, [wrong])
    sealed(out)
    with pytest.raises(NotProven, match="same pixels"):
        verify_bundle(out)


@pytest.mark.parametrize("spec", [FIT, SQUASH])
def test_what_a_standardising_model_is_proven_against_is_standardised(spec: Preprocess):
    model, card = lively(spec, standardise=True)
    card = with_scores(card, True)
    sizes = [(64, 96), (64, 40)] if spec.resize == "pad" else [(64, 96)] * 2
    pixels = [np.random.default_rng(number).integers(0, 90, (*size, 3), np.uint8) for number, size in enumerate(sizes)]
    inputs = card.input.network_inputs(pixels)
    expected = TorchSession(deploy_network(model, card), outputs=output_names(card)).run(inputs)
    outputs = reference_outputs(model, card, inputs)
    np.testing.assert_allclose(outputs["logits"], expected["logits"], rtol=0, atol=1e-4 * expected["logits"].std())
    assert (outputs["classes"] == expected["classes"]).mean() > 0.999


@pytest.mark.backend
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_scores_are_a_second_output_that_is_proven_too(backend: str, drawn: Path, tmp_path: Path):
    needs("openvino" if backend == "openvino" else "onnxruntime")
    model, card = lively()
    card = with_scores(card, True)
    out = tmp_path / "model.nextvit"
    manifest = export_bundle(model, card, backend=backend, precision="fp32", images=proof_images(drawn, card), out=out)
    assert list(manifest.outputs) == ["classes", "logits"] and "float32" in manifest.outputs["logits"]
    assert 0 < manifest.verification["logits_error"] < 1e-4
    assert "difference of logits" in (out / "card.html").read_text()
    [golden] = read_golden(out)
    logits = golden.outputs["logits"]
    frame = golden.images.shape[1:3]
    assert (logits.dtype, logits.shape) == (np.float32, (4, 4, frame[0] // 4, frame[1] // 4))
    parity = verify_bundle(out)[2]
    assert isinstance(parity, SegmentationParity) and parity.logits_error is not None
    assert parity.logits_error < 1e-4
    [answer] = load_bundle(out)([read_dataset(drawn).split("val")[0].path])
    assert isinstance(answer, ClassMap)

    write_golden(out, [replace(golden, outputs={**golden.outputs, "logits": logits + 1e-3 * logits.std()})])
    sealed(out)
    with pytest.raises(NotProven, match=r"largest error of the logits 1\.0.e-03 > 1e-04"):
        verify_bundle(out)


@pytest.mark.backend
@pytest.mark.parametrize(("backend", "precision"), [("onnx", "fp16"), ("openvino", "fp16")])
def test_fewer_bits_are_proven_by_as_many_pixels_as_predictions_elsewhere(
    backend: str, precision: Precision, drawn: Path, tmp_path: Path
):
    needs("openvino" if backend == "openvino" else "onnxruntime")
    model, card = lively(SQUASH)
    card = with_scores(card, True)
    images = proof_images(drawn, card)
    out = tmp_path / "model.nextvit"
    proven = export_bundle(model, card, backend=backend, precision=precision, images=images, out=out).verification
    assert 0.995 <= proven["agreement"] < 1
    assert 1e-4 < proven["logits_error"] <= TOLERANCES[precision].max_error
    verify_bundle(out)


@pytest.mark.backend
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_model_that_squashes_is_exported_for_any_size(backend: str, drawn: Path, tmp_path: Path):
    needs("openvino" if backend == "openvino" else "onnxruntime")
    model, card = lively(SQUASH)
    out = tmp_path / "model.nextvit"
    images = proof_images(drawn, card)
    export_bundle(model, card, backend=backend, precision="fp32", images=images, out=out, dynamic_size=True)
    sizes = [each.images.shape[1:3] for each in read_golden(out)]
    assert sizes == [(64, 96), (81, 73)]  # both were run one by one and three at a time
    verify_bundle(out)
    path = read_dataset(drawn).split("val")[0].path
    for size in (None, (47, 130)):
        asked = card if size is None else replace(card, input=replace(card.input, image_size=size))
        [expected] = Predictor(TorchSession(deploy_network(model, asked), outputs=output_names(card)), asked)([path])
        [got] = load_bundle(out, image_size=size)([path])
        assert isinstance(got, ClassMap) and isinstance(expected, ClassMap)
        assert (got.labels == expected.labels).mean() > 0.999


@pytest.mark.parametrize("backend", ["onnx", pytest.param("openvino", marks=pytest.mark.backend)])
def test_a_file_of_one_size_takes_any_number_of_images_of_it(backend: str, drawn: Path, tmp_path: Path):
    """Sides that are no multiples of 32."""
    needs("openvino" if backend == "openvino" else "onnxruntime")
    model, card = lively(Preprocess(image_size=(50, 71), resize="stretch"))
    out = tmp_path / "model.nextvit"
    export_bundle(model, card, backend=backend, precision="fp32", images=proof_images(drawn, card), out=out)
    session = open_session(out, read_bundle(out))
    for count in (1, 5):
        given = {"images": np.zeros((count, 50, 71, 3), np.uint8)}
        assert session.run(given)["classes"].shape == (count, 50, 71)
    with pytest.raises(InputError, match="images of 71x50 px"):
        session.run({"images": np.zeros((1, 64, 96, 3), np.uint8)})
    with pytest.raises(InputError, match="export it with --dynamic-size"):
        load_bundle(out, image_size=(64, 96))


def test_only_so_many_golden_examples_are_kept_as_a_bundle_may_hold():
    arrays = {"classes": np.zeros((4, 10, 10), np.uint8), "logits": np.zeros((4, 2, 3, 3), np.float32)}
    example = Golden(np.zeros((4, 10, 10, 3), np.uint8), arrays, np.full((4, 2), 10))
    each = 10 * 10 * 3 + 16 + 10 * 10 + 4 * 2 * 3 * 3
    kept = as_many_as_fit(example, 3 * each)
    assert kept.sizes is not None
    assert {len(array) for array in (kept.images, kept.sizes, *kept.outputs.values())} == {3}
    assert len(as_many_as_fit(example, 100 * each).images) == 4
    with pytest.raises(InputError, match=r"one image of 10x10 px take 488 bytes.*leave out --scores"):
        as_many_as_fit(example, each - 1)


def replace_classes(golden: Golden) -> Golden:
    """With other answers on one percent of the pixels."""
    classes = golden.outputs["classes"].copy()
    classes[:, 0, :40] = (classes[:, 0, :40] + 1) % 4
    return replace(golden, outputs={"classes": classes})


def test_the_reference_of_a_frame_says_nothing_beyond_its_image():
    model, card = lively()
    pixels = [np.full((40, 64, 3), 200, np.uint8), np.full((64, 50, 3), 90, np.uint8)]
    [classes_NHW] = reference_outputs(model, card, card.input.network_inputs(pixels)).values()
    assert classes_NHW.shape == (2, 64, 64)
    assert (classes_NHW[0, 40:] == IGNORE_INDEX).all() and (classes_NHW[1, :, 50:] == IGNORE_INDEX).all()
    assert (classes_NHW[0, :40] < 4).all() and (classes_NHW[1, :, :50] < 4).all()


@pytest.mark.parametrize(
    ("backend", "precision", "words"),
    [
        (
            "onnx",
            "int8",
            "a network for segmentation is exported to onnx in fp32, fp16 and openvino in fp32, fp16, bf16",
        ),
        ("coreml", "w8", "a network for segmentation is exported to onnx in fp32"),
    ],
)
def test_what_a_backend_does_not_take_is_refused(backend: str, precision: str, words: str):
    with pytest.raises(InputError, match=words):
        target_of(backend, precision, dynamic_size=False, task="segmentation")


@pytest.mark.parametrize(
    ("backend", "spec", "dynamic", "words"),
    [
        ("onnx", FIT, True, "any size without --dynamic-size"),
        ("coreml", FIT, False, "coreml takes models for segmentation of one size alone; pass --fixed-size"),
        ("coreml", SQUASH, True, "coreml takes models for segmentation of one size alone"),
    ],
)
def test_a_size_that_a_backend_does_not_take_is_refused(
    backend: str, spec: Preprocess, dynamic: bool, words: str, drawn: Path, tmp_path: Path
):
    model, card = lively(spec)
    with pytest.raises(InputError, match=words):
        export_bundle(
            model,
            card,
            backend=backend,
            precision="fp32",
            images=proof_images(drawn, card),
            out=tmp_path / "a.nextvit",
            dynamic_size=dynamic,
        )


def test_layers_of_it_are_not_explained(tmp_path: Path, drawn: Path):
    model, card = lively()
    images = ProofImages(samples=read_dataset(drawn).split("val"), source="drawn")
    with pytest.raises(InputError, match="--explain is for classifiers"):
        export_bundle(
            model,
            card,
            backend="onnx",
            precision="fp32",
            images=images,
            out=tmp_path / "a.nextvit",
            explain_layers=True,
        )


def test_maps_are_compared_pixel_by_pixel():
    first, second = np.zeros((10, 20), np.uint8), np.zeros((30, 10), np.uint8)
    changed = first.copy()
    changed[0, :5] = 3
    packed = [PackedClassMap.pack(each, (5, 5)) for each in (first, second)]
    parity = compare_maps(packed, [PackedClassMap.pack(changed, (5, 5)), packed[1]])
    assert (parity.images, parity.pixels, parity.max_error, parity.mean_error) == (2, 500, 5 / 200, 2.5 / 200)
    assert parity.agreement == pytest.approx(0.99)
    assert parity.failures("fp32") == ["same pixels 0.99000 < 0.999"]
    assert compare_maps(packed, packed).failures("fp32") == []
    assert parity.failures("bf16") == ["same pixels 0.99000 < 0.995"]
    assert compare_maps(packed, packed, logits_error=np.inf).failures("fp32") == [
        "largest error of the logits inf > 1e-04"
    ]


def test_a_rare_class_that_is_never_told_is_no_agreement():
    """Of a thousandth of the pixels it would not be missed among all of them."""
    with_defect = np.zeros((1024, 1024), np.uint8)
    with_defect[:33, :31] = 1
    found, missed = ([PackedClassMap.pack(each, each.shape)] for each in (with_defect, np.zeros_like(with_defect)))
    for expected, got in ((found, missed), (missed, found)):
        parity = compare_maps(expected, got)
        assert parity.agreement > 0.999 and parity.least_overlap == 0
        assert parity.failures("fp32") == ["least overlap of a class 0.000 < 0.99"]
        assert parity.failures("bf16") == ["least overlap of a class 0.000 < 0.5"]
    assert compare_maps(found, found).least_overlap == 1
    small = [PackedClassMap.pack(each[:20, :20], (20, 20)) for each in (with_defect, np.zeros_like(with_defect))]
    assert compare_maps(small[:1], small[1:]).least_overlap is None


def test_logits_are_compared_batch_after_batch_by_the_spread_of_all():
    rng = np.random.default_rng(0)
    batches = [rng.normal(mean, 2, (2, 3, 4, 5)).astype(np.float32) for mean in (-1, 5)]
    difference = LogitsDifference()
    for each in batches:
        difference.add(each, each + np.float32(0.5))
    assert difference.error == pytest.approx(0.5 / np.concatenate(batches).std(), rel=1e-6)
    difference.add(batches[0], np.full_like(batches[0], np.nan))
    assert difference.error == np.inf
    assert LogitsDifference().error is None


def test_a_map_is_resized_as_pillow_does():
    classes = np.random.default_rng(0).integers(0, 5, (37, 23), dtype=np.uint8)
    for height, width in ((80, 41), (11, 60), (37, 23), (1, 1)):
        pillow = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
        assert np.array_equal(resize_class_map(classes, (height, width)), np.array(pillow))
