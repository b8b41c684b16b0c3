"""Teachers: runs, checkpoints, bundles and timm models."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.export.export import export_bundle
from nextvit.export.proof_images import ProofImages, plain
from nextvit.files.run_folder import read_json_lines
from nextvit.models.deployed import Deployed
from nextvit.models.weights import save_model
from nextvit.tasks.network import build_network
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import Distill, LabelSettings
from nextvit.tasks.teacher import load_teacher
from nextvit.train.card import build_card
from nextvit.train.recipe import Compute, Data, Model, Recipe, Schedule
from nextvit.train.start import train

RECIPE = Recipe(
    model=Model(name="nextvit_nano"),
    data=Data(image_size=32, batch_size=8, workers=0),
    schedule=Schedule(epochs=1),
    compute=Compute(device="cpu"),
)
CPU = torch.device("cpu")
SOFTMAX = partial(torch.softmax, dim=1)


@pytest.fixture
def checkpoint(shared_colours: Path, tmp_path: Path) -> tuple[Path, ModelCard, torch.nn.Module]:
    """A network with random weights and statistics at 64 px, its file, and its task."""
    torch.manual_seed(0)
    dataset = read_dataset(shared_colours)
    card = build_card(dataset, replace(RECIPE, data=replace(RECIPE.data, image_size=64)))
    model = build_network(card)
    model.train()(torch.randn(8, 3, 64, 64))
    model.eval()
    save_model(tmp_path / "teacher.safetensors", model, card)
    return tmp_path / "teacher.safetensors", card, model


def test_a_checkpoint_teaches_its_own_predictions(checkpoint: tuple[Path, ModelCard, torch.nn.Module]):
    path, card, model = checkpoint
    teacher = load_teacher(str(path), card, SOFTMAX, CPU)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = Deployed(model, card.input)(pixels.permute(0, 2, 3, 1)).softmax(1)
    assert torch.allclose(teacher(pixels.float()), expected, atol=1e-5)


def test_views_of_another_size_are_scaled_to_the_teachers(checkpoint: tuple[Path, ModelCard, torch.nn.Module]):
    path, card, _ = checkpoint
    teacher = load_teacher(str(path), card, SOFTMAX, CPU)
    pixels = 255 * torch.rand(2, 3, 32, 32)
    larger = torch.nn.functional.interpolate(pixels, size=(64, 64), mode="bilinear", antialias=True)
    assert torch.allclose(teacher(pixels), teacher(larger))
    assert torch.allclose(teacher(pixels).sum(1), torch.ones(2))


@pytest.mark.backend
def test_a_bundle_teaches_as_its_checkpoint_does(
    checkpoint: tuple[Path, ModelCard, torch.nn.Module], shared_colours: Path, tmp_path: Path
):
    pytest.importorskip("onnxruntime", reason="needs nextvit[onnx]")
    path, card, model = checkpoint
    images = sorted((shared_colours / "val").rglob("*.png"))
    export_bundle(
        model,
        card,
        backend="onnx",
        precision="fp32",
        images=ProofImages(samples=plain(images), source="test"),
        out=tmp_path / "t.nextvit",
    )
    pixels = torch.randint(0, 256, (4, 3, 64, 64)).float()
    answers = [load_teacher(str(source), card, SOFTMAX, CPU)(pixels) for source in (path, tmp_path / "t.nextvit")]
    assert torch.allclose(*answers, atol=1e-4)


def test_a_timm_model_of_as_many_classes_teaches(monkeypatch: pytest.MonkeyPatch, shared_colours: Path):
    timm = pytest.importorskip("timm")
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name, num_classes=3))  # no network here
    dataset = read_dataset(shared_colours)
    card = build_card(dataset, RECIPE)
    answers = load_teacher("timm:resnet10t", card, SOFTMAX, CPU)(255 * torch.rand(2, 3, 32, 32))
    assert answers.shape == (2, 3) and torch.allclose(answers.sum(1), torch.ones(2))
    with pytest.raises(InputError, match="has 3 classes, the dataset 2"):
        load_teacher("timm:resnet10t", replace(card, classes=("a", "b")), SOFTMAX, CPU)


def test_teachers_that_cannot_teach_are_refused(checkpoint: tuple[Path, ModelCard, torch.nn.Module]):
    path, card, _ = checkpoint
    with pytest.raises(InputError, match=r"has 3 classes .* that are not the dataset's 2"):
        load_teacher(str(path), replace(card, classes=("a", "b")), SOFTMAX, CPU)
    with pytest.raises(InputError, match="no such run, checkpoint or bundle"):
        load_teacher("nowhere", card, SOFTMAX, CPU)
    with pytest.raises(InputError, match="timm cannot load 'resnet_banana'"):
        load_teacher("timm:resnet_banana", card, SOFTMAX, CPU)


def test_a_run_is_distilled_with_further_images(
    checkpoint: tuple[Path, ModelCard, torch.nn.Module], shared_colours: Path, tmp_path: Path
):
    distill = Distill(teacher=str(checkpoint[0]), unlabelled=str(shared_colours / "val"))
    recipe = replace(RECIPE, task=LabelSettings(distill=distill))
    train(shared_colours, recipe, run=tmp_path / "run", watch=lambda tick: None, say=lambda text: None)
    assert read_json_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == (24 + 12) // 8
    with pytest.raises(InputError, match="no folder with images"):
        empty = replace(recipe, task=LabelSettings(distill=replace(distill, unlabelled=str(tmp_path / "nothing"))))
        train(shared_colours, empty, run=tmp_path / "other", watch=lambda tick: None, say=lambda text: None)
    with pytest.raises(InputError, match=r"distill\.unlabelled needs a teacher"):
        alone = replace(recipe, task=LabelSettings(distill=Distill(unlabelled=str(shared_colours))))
        train(shared_colours, alone, run=tmp_path / "other", watch=lambda tick: None, say=lambda text: None)
