"""An ONNX file of any origin as the teacher: what its input is, is stated, and what is not known is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextvit.errors import InputError
from nextvit.tasks.settings import OnnxTeacher
from nextvit.tasks.teacher import Teacher, open_teacher
from tests.tasks.onnx_teachers import CLASSES, plain_logits, write_teacher

pytest.importorskip("onnxruntime", reason="needs nextvit[onnx]")
pytest.importorskip("onnx", reason="needs nextvit[train]")

CPU = torch.device("cpu")


def opened(path: Path, **stated: Any) -> Teacher:
    return open_teacher(str(path), OnnxTeacher(**stated), CPU)


def views(side: int = 32, count: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).uniform(0, 255, (count, 3, side, side)).astype(np.float32))


def normalised(
    pixels: torch.Tensor,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
) -> torch.Tensor:
    return (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize(
    ("written", "stated"),
    [
        ({}, {}),
        ({"shape": (2, 3, 32, 32)}, {}),  # batches of two, of which the last is filled up
        ({"shape": (1, 3, 32, 32)}, {}),
        ({"shape": ("N", 3, "H", "W")}, {"size": 32}),
        ({"shape": ("N", "C", "H", "W")}, {"size": 32, "layout": "NCHW"}),
        ({"shape": ("N", 32, 32, 3), "layout": "NHWC"}, {}),
        ({"shape": ("N", "H", "W", "C"), "layout": "NHWC"}, {"size": 32, "layout": "NHWC"}),
        ({"type_name": "DOUBLE"}, {}),
        ({"two_outputs": True}, {"output": "values"}),
    ],
)
def test_every_layout_gives_the_logits_of_the_same_network_in_torch(
    tmp_path: Path, written: dict[str, Any], stated: dict[str, Any]
):
    teacher = opened(write_teacher(tmp_path / "t.onnx", **written), **stated)
    assert teacher.num_classes == CLASSES and teacher.classes is None
    assert torch.allclose(teacher.logits(views()), plain_logits(normalised(views())), atol=1e-4)


def test_channels_scale_mean_and_std_are_as_stated(tmp_path: Path):
    path, mean, std = write_teacher(tmp_path / "t.onnx"), (104.0, 117.0, 123.0), (58.0, 57.0, 56.0)
    teacher = opened(path, channels="BGR", scale=1.0, mean=mean, std=std)
    expected = plain_logits((views().flip(1) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    assert torch.allclose(teacher.logits(views()), expected, atol=1e-4)


def test_a_file_that_takes_bytes_gets_them_unscaled(tmp_path: Path):
    teacher = opened(write_teacher(tmp_path / "t.onnx", shape=("N", 32, 32, 3), layout="NHWC", type_name="UINT8"))
    assert torch.allclose(teacher.logits(views()), plain_logits(views().round()), rtol=1e-4)


def test_probabilities_teach_as_their_logits_do(tmp_path: Path):
    teacher = opened(write_teacher(tmp_path / "t.onnx", softmax=True), values="probabilities")
    expected = plain_logits(normalised(views())).softmax(1)
    assert torch.allclose(teacher.logits(views()).softmax(1), expected, atol=1e-5)


def test_views_of_another_size_are_scaled_to_the_files(tmp_path: Path):
    teacher = opened(write_teacher(tmp_path / "t.onnx"))
    smaller = torch.nn.functional.interpolate(views(48), size=(32, 32), mode="bilinear", antialias=True)
    assert torch.allclose(teacher.logits(views(48)), plain_logits(normalised(smaller)), atol=1e-4)


def test_classes_are_named_by_a_file(tmp_path: Path):
    path, names = write_teacher(tmp_path / "t.onnx"), tmp_path / "names.txt"
    names.write_text("ant\nbee \ncat\ndog\n")
    assert opened(path, classes=str(names)).classes == ("ant", "bee", "cat", "dog")
    for text, found in (("ant\nbee\n", "2 names, 2 of them"), ("ant\nant\ncat\ndog", "4 names, 3 of them")):
        names.write_text(text)
        with pytest.raises(InputError, match=found):
            opened(path, classes=str(names))
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        opened(path, classes=str(tmp_path / "nowhere.txt"))


@pytest.mark.parametrize(
    ("written", "stated", "message"),
    [
        ({"shape": ("N", 3, "H", "W")}, {}, "state the side .* --onnx-teacher.size"),
        ({"shape": ("N", "C", "H", "W")}, {"size": 32}, "--onnx-teacher.layout NCHW or NHWC"),
        ({"shape": ("N", 3, 32, 32)}, {"size": 64}, "takes 32x32 px, and --onnx-teacher.size says 64"),
        ({"shape": ("N", 3, 32, 32)}, {"layout": "NHWC"}, "no 3 channels in NHWC"),
        ({"softmax": True}, {}, "are probabilities, not logits"),
        ({}, {"values": "probabilities"}, "are logits, not probabilities"),
        ({"two_outputs": True}, {}, "outputs values, features; name the one"),
        ({}, {"output": "logits"}, "none called 'logits'"),
        ({"type_name": "INT32"}, {}, "four axes"),
    ],
)
def test_what_is_not_known_or_not_so_is_refused(
    tmp_path: Path, written: dict[str, Any], stated: dict[str, Any], message: str
):
    with pytest.raises(InputError, match=message):
        opened(write_teacher(tmp_path / "t.onnx", **written), **stated)


def test_a_damaged_file_is_refused(tmp_path: Path):
    (tmp_path / "t.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"t\.onnx"):
        opened(tmp_path / "t.onnx")


@pytest.mark.parametrize("stated", [{"size": 0}, {"scale": 0.0}, {"std": (1.0, 0.0, 1.0)}])
def test_impossible_statements_are_refused(stated: dict[str, Any]):
    with pytest.raises(InputError, match=rf"onnx_teacher\.{next(iter(stated))}"):
        OnnxTeacher(**stated)
