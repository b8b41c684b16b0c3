"""Core ML packages, proven by running their operators again: what is tested is the saved file."""

import json
import platform
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextvit.backends.coreml import export
from nextvit.backends.coreml_check import check
from nextvit.backends.coreml_stand_in import MilInterpreter, open_session
from nextvit.backends.layers import tap_points
from nextvit.backends.mil_program import read_package
from nextvit.backends.program import Source
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Precision, read_bundle
from nextvit.cli.verify import differences
from nextvit.errors import InputError, NoRuntimeHere, NotProven
from nextvit.export.explain import compare_layers
from nextvit.export.export import export_bundle
from nextvit.files.records import to_plain
from nextvit.machine.quiet import suppress_output
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.predictions.logits_parity import LogitsParity, compare_logits
from nextvit.proof.golden import verify_bundle
from nextvit.runtime import session
from tests.backends.coreml_packages import KNOWN, manifest_for
from tests.export import nano
from tests.export.nano import CLASSES, unlabelled
from tests.models.calibrated import calibrate
from tests.models.reference import reference_logits

pytestmark = pytest.mark.skipif(platform.system() == "Windows", reason="coremltools has no Windows wheels")
pytest.importorskip("google.protobuf")
Change = Callable[[Any], None]
SHORT = replace(VARIANTS["nextvit_nano"], blocks=("C", "T", "C", "T"))
"""Every kind of block and of pooling, and half as many operators as the smallest network has."""


def build_card(height: int, width: int) -> ModelCard:
    return replace(nano.build_card(height, width), architecture=to_plain(SHORT))


def calibrated_model() -> Classifier:
    torch.manual_seed(0)
    return calibrate(Classifier(SHORT, num_classes=len(CLASSES))).float()


def source_for(precision: Precision, size: tuple[int, int] = (64, 64), **changes: Any) -> Source:
    return Source(model=calibrated_model(), card=build_card(*size), precision=precision, **changes)


def written(source: Source, folder: Path) -> MilInterpreter:
    return open_session(folder, manifest_for(source, export(source, folder)))


def noise(height: int, width: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def parity(source: Source, opened: MilInterpreter, pixels: np.ndarray) -> LogitsParity:
    got = opened.run({"images": pixels})["logits"]
    return compare_logits(reference_logits(source.model, source.card, pixels), got)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    """A package of odd sides with the tensors of all layers as outputs."""
    source = source_for("fp32", (33, 47))
    source = replace(source, taps=tuple(tap_points(source.model, source.card.input)))
    folder = tmp_path_factory.mktemp("odd")
    export(source, folder)
    return source, folder


@pytest.fixture(scope="module")
def bundle(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "nano.nextvit"
    request: dict[str, Any] = {"backend": "coreml", "precision": "fp16", "images": unlabelled(images), "out": out}
    export_bundle(calibrated_model(), build_card(64, 64), **request)
    return out


def test_sides_that_are_no_multiples_of_32_and_every_layer_stay_exact(odd: tuple[Source, Path]):
    source, folder = odd
    pixels = noise(33, 47)
    got = open_session(folder, manifest_for(source)).run({"images": pixels})
    assert list(got) == source.outputs
    assert all(len(each) == 3 for each in got.values())
    assert got["logits"].dtype == np.float32
    layers = compare_layers(source, list(source.taps), got, pixels)
    assert len(layers) == len(source.taps) + 1
    assert max(each.error for each in layers) <= 1e-4


def test_predictions_equal_an_independent_computation_in_torch(odd: tuple[Source, Path]):
    """Not through our own reference: unfused, normalised by the textbook formula, in double precision."""
    source, folder = odd
    pixels = noise(33, 47)
    got = open_session(folder, manifest_for(source)).run({"images": pixels})["logits"]
    mean, std = (
        torch.tensor(each, dtype=torch.float64)[:, None, None]
        for each in (source.card.input.mean, source.card.input.std)
    )
    images_NCHW = torch.from_numpy(pixels).double().permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = calibrated_model().double()((images_NCHW / 255 - mean) / std)
    assert compare_logits(expected.numpy(), got).max_error <= 1e-5


@pytest.mark.backend
@pytest.mark.parametrize(("precision", "stored", "max_error"), [("w8", "INT8", 0.25), ("w6", "UINT8", 0.8)])
def test_small_weights_are_small_and_predict_alike(
    precision: Precision, stored: str, max_error: float, bundle: Path, tmp_path: Path
):
    source = source_for(precision)
    opened = written(source, tmp_path)
    found = parity(source, opened, noise(64, 64, 6))
    assert found.agreement == 1.0
    assert found.max_error <= max_error
    assert stored in opened.program.weights
    share = {"w8": 0.6, "w6": 0.45}[precision]
    assert opened.program.bytes_on_disk < share * read_package(bundle / "model.mlpackage").bytes_on_disk
    # Weights alone are small: what is computed is fp16.
    assert set(check(tmp_path, manifest_for(source))["precisions"]) == {"FLOAT16", "FLOAT32"}


@pytest.mark.backend
def test_one_file_takes_every_size(tmp_path: Path):
    source = source_for("fp16", dynamic_size=True)
    opened = written(source, tmp_path)
    for size in ((33, 47), (64, 64), (129, 80)):
        assert parity(source, opened, noise(*size)).max_error <= 2e-2
    with pytest.raises(InputError, match=r"images of \(33 to 4096\)x\(33 to 4096\) px .*; got 64x32 px"):
        opened.run({"images": noise(32, 64)})
    report = check(tmp_path, manifest_for(source))
    assert report["input"] == "RGB image of 64x64 px, or any from 33x33 to 4096x4096 px"
    rules = {each["rule"] for each in report["off_neural_engine"]}
    assert "size open until it runs: only the default size runs there" in rules


def test_the_package_takes_an_rgb_image_and_explains_itself(odd: tuple[Source, Path], bundle: Path):
    source, folder = odd
    program = read_package(folder / "model.mlpackage")
    assert (program.image.name, program.image.color_layout, program.image.size) == ("images", "RGB", (33, 47))
    assert program.image.is_fixed_size
    assert {op.kind for op in program.operations} <= KNOWN
    assert (program.specification, program.opset) == (7, "CoreML6")
    assert program.description == "nextvit_nano: classification of 3 classes, 47x33 px"
    assert program.licence == source.card.weights_licence
    assert json.loads(program.metadata["nextvit_card"])["classes"] == list(CLASSES)
    assert json.loads(program.metadata["classes"]) == list(CLASSES)
    files = {path.relative_to(bundle).as_posix() for path in (bundle / "model.mlpackage").rglob("*") if path.is_file()}
    data = "model.mlpackage/Data/com.apple.CoreML"
    assert files == {"model.mlpackage/Manifest.json", f"{data}/model.mlmodel", f"{data}/weights/weight.bin"}


def test_a_bundle_is_proven_checked_and_verified_without_core_ml(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    manifest, opened, golden = verify_bundle(bundle)
    assert manifest.verification["max_error"] <= 2e-2
    assert manifest.verification["runtime"]["runtime"].endswith("not Core ML")
    assert opened.facts()["runtime"].startswith("re-executed in torch")
    assert golden.images == 4
    facts = verify_bundle(bundle, threads=1)[1].facts()
    assert (facts["precision"], facts["computes_in"], facts["threads"]) == ("fp16", "FLOAT16, FLOAT32", 1)
    with pytest.raises(InputError, match="its stand-in has no choice of devices; leave out 'gpu'"):
        verify_bundle(bundle, device="gpu")
    on_macos = {"backend": "coreml", "runtime": "Core ML", "device": "all", "precision": "fp16"}
    assert differences(manifest, on_macos).keys() == {"runtime", "device"}  # what Core ML computes in it does not tell
    program = manifest.verification["program"]
    assert program["operators"]["matmul"] == 4  # two of each attention
    assert program["off_neural_engine"] == []
    assert program["bytes"] == sum(
        each.stat().st_size for each in (bundle / "model.mlpackage").rglob("*") if each.is_file()
    )
    assert "What is in the file" in (bundle / "card.html").read_text(encoding="utf-8")
    with pytest.raises(NoRuntimeHere, match="Core ML runs on macOS"):
        session.open_session(bundle, manifest)
    copied = tmp_path / "copy.nextvit"
    shutil.copytree(bundle, copied)
    weights = copied / "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"weight.bin: damaged or changed"):
        read_bundle(copied)


def test_fp32_runs_off_the_neural_engine(odd: tuple[Source, Path]):
    source, folder = odd
    report = check(folder, manifest_for(source))
    [fp32] = [each for each in report["off_neural_engine"] if each["rule"] == "computes in fp32: CPU or GPU"]
    assert fp32["operators"] == report["operators"]
    assert report["precisions"] == {"FLOAT32": sum(report["operators"].values())}


@contextmanager
def changed(folder: Path, copy: Path) -> Generator[Any]:
    """The model's message of a copied package, saved again when the block ends."""
    with suppress_output():
        from coremltools.proto import Model_pb2
    shutil.copytree(folder, copy)
    file = copy / "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    model: Any = Model_pb2.Model()
    model.ParseFromString(file.read_bytes())
    yield model
    file.write_bytes(model.SerializeToString())


def operations(model: Any) -> list[Any]:
    function = model.mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def wrong_mean(model: Any) -> None:
    """The shift of the normalisation, which is a constant of three numbers, as if the mean were 0.5."""
    [shift] = [
        op.attributes["val"].immediateValue.tensor.floats.values
        for op in operations(model)
        if op.type == "const"
        and len(op.attributes["val"].type.tensorType.dimensions) > 1
        and len(op.attributes["val"].immediateValue.tensor.floats.values) == 3
        and op.attributes["val"].immediateValue.tensor.floats.values[0] < 0
    ]
    shift[:] = [-0.5 / 0.229, -0.5 / 0.224, -0.5 / 0.225]


def swapped_colours(model: Any) -> None:
    model.description.input[0].type.imageType.colorSpace = 30  # BGR


def skipped_activation(model: Any) -> None:
    """The first ReLU becomes x + x."""
    relu = next(op for op in operations(model) if op.type == "relu")
    relu.type = "add"
    relu.inputs["y"].CopyFrom(relu.inputs["x"])


@pytest.mark.parametrize("change", [wrong_mean, swapped_colours, skipped_activation])
def test_a_saved_program_that_is_wrong_is_caught(change: Change, odd: tuple[Source, Path], tmp_path: Path):
    source, folder = odd
    with changed(folder, tmp_path / "broken") as model:
        change(model)
    found = parity(source, open_session(tmp_path / "broken", manifest_for(source)), noise(33, 47))
    assert any("largest error" in each for each in found.failures("fp32"))


def test_swapped_channels_of_the_saved_weights_are_caught_with_their_layer(odd: tuple[Source, Path], tmp_path: Path):
    source, folder = odd
    shutil.copytree(folder, tmp_path / "broken")
    program = read_package(folder / "model.mlpackage")
    [stem] = [each for each in program.constants.values() if each.shape == (32, 3, 3, 3)]
    file = tmp_path / "broken/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    content = file.read_bytes()
    assert content.count(stem.tobytes()) == 1
    file.write_bytes(content.replace(stem.tobytes(), np.ascontiguousarray(stem[:, ::-1]).tobytes()))
    pixels = noise(33, 47)
    got = open_session(tmp_path / "broken", manifest_for(source)).run({"images": pixels})
    first = next(each for each in compare_layers(source, list(source.taps), got, pixels) if each.error > 1e-4)
    assert first.layer == "stem.0"


@pytest.mark.backend
def test_a_wrong_writer_leaves_no_bundle(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trained for one mean, exported with another: the proof is the only one to know."""
    card = build_card(64, 64)
    wrong = replace(card, input=replace(card.input, mean=(0.5, 0.5, 0.5)))

    def export_wrongly(source: Source, folder: Path) -> str:
        return export(replace(source, card=wrong), folder)

    monkeypatch.setattr("nextvit.backends.coreml.export", export_wrongly)
    with pytest.raises(NotProven, match=r"coreml fp16 file is not proven.*diverges at normalise"):
        export_bundle(
            calibrated_model(),
            card,
            backend="coreml",
            precision="fp16",
            images=unlabelled(images),
            out=tmp_path / "wrong.nextvit",
        )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["wrong.refused.html", "wrong.refused.json"]


def unknown_operator(model: Any) -> None:
    next(op for op in operations(model) if op.type == "softmax").type = "gelu"


def other_package(model: Any) -> None:
    first = next(op for op in operations(model) if op.attributes["val"].HasField("blobFileValue"))
    first.attributes["val"].blobFileValue.fileName = "@model_path/../../../../secret.bin"


def wrong_offset(model: Any) -> None:
    first = next(op for op in operations(model) if op.attributes["val"].HasField("blobFileValue"))
    first.attributes["val"].blobFileValue.offset = 3


def no_image(model: Any) -> None:
    model.description.input[0].type.multiArrayType.shape.extend([1, 3, 33, 47])


def wrong_shape(model: Any) -> None:
    relu = next(op for op in operations(model) if op.type == "relu")
    relu.outputs[0].type.tensorType.dimensions[1].constant.size = 31


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown_operator, "operators that cannot be re-executed here: gelu"),
        (other_package, "weights must lie in the package"),
        (wrong_offset, r"weight.bin: damaged, no FLOAT32 of .* at 3"),
        (no_image, "its input is not one image"),
        (wrong_shape, r"relu '.*' gives \(1, 32, .*declared \(1, 31,"),
    ],
)
def test_packages_that_cannot_be_run_are_one_clear_error(
    change: Change, message: str, odd: tuple[Source, Path], tmp_path: Path
):
    source, folder = odd
    with changed(folder, tmp_path / "broken") as model:
        change(model)
    with pytest.raises(InputError, match=message):
        open_session(tmp_path / "broken", manifest_for(source)).run({"images": noise(33, 47, 1)})


def test_what_is_no_package_is_one_clear_error(odd: tuple[Source, Path], tmp_path: Path):
    source, _ = odd
    with pytest.raises(InputError, match=r"model.mlpackage: not a Core ML package, it has no Manifest.json"):
        open_session(tmp_path, manifest_for(source))
    package = tmp_path / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Manifest.json").write_text('{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "m"}}}')
    with pytest.raises(InputError, match=r"its model 'm' is not in the package"):
        open_session(tmp_path, manifest_for(source))
    (package / "Data" / "m").write_bytes(b"no message")
    with pytest.raises(InputError, match=r"Data/m: damaged"):
        open_session(tmp_path, manifest_for(source))


def test_images_of_another_type_or_size_are_refused(odd: tuple[Source, Path]):
    source, folder = odd
    opened = open_session(folder, manifest_for(source))
    with pytest.raises(InputError, match=r"as uint8 \(N, height, width, 3\), .*; got float32"):
        opened.run({"images": noise(33, 47).astype(np.float32)})
    with pytest.raises(InputError, match=r"images of 47x33 px .*; got 64x64 px"):
        opened.run({"images": noise(64, 64)})
    assert to_plain(source.card)["input"]["image_size"] == [33, 47]
