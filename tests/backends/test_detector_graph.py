"""A detector's ONNX file, in ONNX Runtime and OpenVINO, against PyTorch."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from nextvit.backends.onnx import convert_to_onnx
from nextvit.backends.onnx_suppression import keep_best_translations
from nextvit.backends.program import capture_padded
from nextvit.image.resizing import Preprocess
from nextvit.machine.quiet import suppress_output
from nextvit.models.deployed import DeployedDetector
from nextvit.models.regions import pool_regions
from nextvit.models.suppression import keep_best
from nextvit.runtime.telemetry import without_telemetry
from tests.models.detectors import random_detector

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Path, Arrays], list[NDArray[Any]]]


def in_onnx_runtime(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    ort: Any = pytest.importorskip("onnxruntime")
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def in_openvino(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    with without_telemetry():
        ov: Any = pytest.importorskip("openvino")
        model = ov.convert_model(path)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled(inputs)
    return [answers[place] for place in range(len(compiled.outputs))]


RUNTIMES = {"onnx": in_onnx_runtime, "openvino": in_openvino}


@pytest.fixture(params=RUNTIMES)
def run(request: pytest.FixtureRequest) -> Run:
    return RUNTIMES[request.param]


class Parts(torch.nn.Module):
    """What is ours to write as ONNX, by itself."""

    def forward(
        self, boxes_BK4: torch.Tensor, scores_BK: torch.Tensor, map_NCHW: torch.Tensor, regions_R5: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        maps = [map_NCHW, map_NCHW[..., ::2, ::2], map_NCHW[..., ::4, ::4], map_NCHW[..., ::8, ::8]]
        return keep_best(boxes_BK4, scores_BK, 0.5, 0.05), pool_regions(maps, regions_R5, 7)


def parts_inputs(rows: int, pictures: int, *, highest: float) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    corners = torch.rand(rows, 60, 2, generator=generator) * 200
    boxes_BK4 = torch.cat([corners, corners + torch.rand(rows, 60, 2, generator=generator) * 120], dim=2)
    boxes_BK4[0, 3], boxes_BK4[0, 4, 2] = 0, boxes_BK4[0, 4, 0]  # without area
    index_R1 = torch.randint(0, pictures, (60, 1), generator=generator)
    map_NCHW = torch.randn(pictures, 4, 64, 72, generator=generator)
    scores_BK = torch.rand(rows, 60, generator=generator) * highest
    return boxes_BK4, scores_BK, map_NCHW, torch.cat([index_R1, boxes_BK4[0]], dim=1)


@pytest.fixture(scope="module")
def parts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts") / "parts.onnx"
    rows, pictures = torch.export.Dim("rows", max=999), torch.export.Dim("pictures", max=99)
    shapes = ({0: rows}, {0: rows}, {0: pictures}, None)
    program = torch.export.export(Parts(), parts_inputs(5, 2, highest=1), dynamic_shapes=shapes)
    with suppress_output():
        exported = torch.onnx.export(
            program, input_names=list("bsmr"), custom_translation_table=keep_best_translations(), verbose=False
        )
    assert exported is not None
    onnx.save(exported.model_proto, path)
    return path


@pytest.mark.parametrize(("rows", "pictures", "highest"), [(6, 2, 1.0), (1, 1, 1.0), (12, 3, 0.04)])
def test_suppression_and_pooling_mean_the_same_everywhere(
    parts_file: Path, run: Run, rows: int, pictures: int, highest: float
):
    inputs = parts_inputs(rows, pictures, highest=highest)
    kept_BK, pooled_RCSS = run(parts_file, {name: each.numpy() for name, each in zip("bsmr", inputs, strict=True)})
    expected_kept_BK, expected_pooled_RCSS = Parts()(*inputs)
    assert np.array_equal(kept_BK, expected_kept_BK)
    assert expected_kept_BK.any() == (highest > 0.05)
    np.testing.assert_allclose(pooled_RCSS, expected_pooled_RCSS, atol=1e-5)


def detector_file(deployed: DeployedDetector, outputs: tuple[str, ...]) -> onnx.ModelProto:
    return convert_to_onnx(capture_padded(deployed), inputs=("images", "sizes"), outputs=outputs).model_proto


@pytest.fixture(scope="module")
def deployed() -> DeployedDetector:
    """It finds much, so that a small image has as many detections as there may be."""
    model = random_detector(detections=100, proposals=120, iou=0.9, proposal_iou=0.9).float()
    return DeployedDetector(model, Preprocess(image_size=(64, 64)))


@pytest.fixture(scope="module")
def model_file(deployed: DeployedDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "model.onnx"
    onnx.save(detector_file(deployed, ("boxes", "scores", "labels", "masks")), path)
    return path


def pictures(*shape: int, sizes: list[tuple[int, int]]) -> Arrays:
    images_NHWC = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return {"images": images_NHWC, "sizes": np.array(sizes)}


def assert_same_detections(found: list[NDArray[Any]], expected: list[NDArray[Any]]) -> None:
    """Each of these detections is among the others with the same class, box and mask, and a score within 1e-3."""
    for boxes, scores, labels, masks, *others in zip(*found, *expected, strict=True):
        other_boxes, other_scores, other_labels, other_masks = others
        assert (scores > 0).sum() == (other_scores > 0).sum()
        for place in np.flatnonzero(scores > 0):
            near = np.abs(other_boxes - boxes[place]).max(axis=1) + (other_labels != labels[place])
            other = near.argmin()
            assert near[other] < 0.05
            assert abs(other_scores[other] - scores[place]) < 1e-3
            assert np.abs(other_masks[other] - masks[place]).max() < 1e-2
        for rest in (boxes, masks):
            assert not rest[scores == 0].any()


@pytest.mark.backend
@pytest.mark.parametrize(
    ("shape", "sizes", "detections"),
    [
        ((1, 128, 64), [(128, 60)], [100]),
        ((2, 64, 96), [(64, 96), (50, 90)], [100, 100]),
        ((2, 32, 32), [(32, 32), (0, 0)], [None, 0]),
    ],
    ids=["portrait", "landscape", "smallest and none"],
)
def test_the_file_gives_pytorchs_detections(
    deployed: DeployedDetector,
    model_file: Path,
    run: Run,
    shape: tuple[int, ...],
    sizes: list[tuple[int, int]],
    detections: list[int | None],
):
    inputs = pictures(*shape, sizes=sizes)
    with torch.no_grad():
        expected = [each.numpy() for each in deployed(*(torch.from_numpy(each) for each in inputs.values()))]
    found = run(model_file, inputs)
    assert [each.dtype for each in found] == [np.float32, np.float32, np.int64, np.float32]
    for count, scores_D in zip(detections, found[1], strict=True):
        assert (scores_D > 0).sum() == count or (count is None and 0 < (scores_D > 0).sum() < 100)
    assert_same_detections(found, expected)
    assert_same_detections(expected, found)


@pytest.mark.backend
def test_the_file_has_standard_operators_and_names_its_inputs_and_outputs(model_file: Path):
    graph = onnx.load(model_file).graph
    assert {node.domain for node in graph.node} == {""}
    kinds = Counter(node.op_type for node in graph.node)
    assert (kinds["NonMaxSuppression"], kinds["RoiAlign"]) == (2, 8)
    assert "model.roi_head.mask_head.upsample" in {node.name.rpartition(":")[0] for node in graph.node}
    assert not any(node.metadata_props for node in graph.node)
    assert [each.name for each in graph.input] == ["images", "sizes"]
    assert [each.name for each in graph.output] == ["boxes", "scores", "labels", "masks"]


@pytest.mark.backend
def test_a_detector_of_boxes_alone(tmp_path: Path):
    deployed = DeployedDetector(random_detector(masks=False).float(), Preprocess(image_size=(64, 64)))
    onnx.save(detector_file(deployed, ("boxes", "scores", "labels")), tmp_path / "model.onnx")
    assert [each.name for each in onnx.load(tmp_path / "model.onnx").graph.output] == ["boxes", "scores", "labels"]
    inputs = pictures(1, 64, 96, sizes=[(64, 96)])
    with torch.no_grad():
        expected = deployed(*(torch.from_numpy(each) for each in inputs.values()))
    for run in RUNTIMES.values():
        np.testing.assert_allclose(run(tmp_path / "model.onnx", inputs)[1], expected[1], atol=1e-4)
