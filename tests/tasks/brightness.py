"""A toy task from outside of the package: the brightness of an image as a number, from a CSV file path,brightness.

It is what docs/architecture.md says a new task is: a kind (without torch), a task, and a row for each in two tables.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import NoFacts
from nextvit.bundle.manifest import Arrays, Precision
from nextvit.check.check import Checked, Watch, check_images, unwatched, watched_survey
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding, in_order
from nextvit.data.hold_out import hold_out
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.image.reading import Encoded, Pixels
from nextvit.image.resizing import Prepared, Preprocess
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.models.backbone import NextViT
from nextvit.models.config import NextViTConfig
from nextvit.models.deployed import Normalise, normalise
from nextvit.models.network import Network
from nextvit.predictions.kind import Comparison, Outputs, refuse_export_options
from nextvit.report.page import paragraph, section
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import WHOLE, Evaluation, Shard
from nextvit.views.contact_sheet import SMALL
from nextvit.views.training_batches import stack_views

COLUMNS = ["path", "brightness"]

# 1. The kind: from outputs to predictions


@dataclass(frozen=True)
class Brightness:
    """0 is black, 1 is white."""

    brightness: float

    def to_dict(self) -> dict[str, Any]:
        return {"brightness": self.brightness}


@dataclass(frozen=True)
class BrightnessParity:
    images: int
    max_error: float
    mean_error: float
    agreement: float

    def failures(self, precision: Precision) -> list[str]:
        return [] if self.max_error < 1e-3 else [f"largest difference {self.max_error:.1e} > 1e-3"]


class BrightnessKind:
    batch_size, own_canvas, can_be_tiled, min_score = 32, False, False, None
    columns, same = ("brightness",), "same brightness"
    parity_note, max_error_note = "Brightness is 0 to 1.", "of brightness, 0 to 1"

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def output_meanings(self, *, classes_type: str = "uint8") -> dict[str, str]:
        return {"brightness": "(N, 1) float32: 0 is black, 1 is white"}

    def exported_with(self, *, scores: bool, fixed_size: Any) -> ModelCard:
        return refuse_export_options(self.card, scores=scores, fixed_size=fixed_size)

    def exported_like(self, other: ModelCard) -> ModelCard:
        return self.card

    def reduce(self, outputs: Outputs, images: Sequence[Prepared]) -> NDArray[Any]:
        if outputs["brightness"].shape != (len(images), 1):
            raise InputError(f"the model puts out {outputs['brightness'].shape} for {len(images)} images")
        return outputs["brightness"][:, 0]

    def join(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)

    def read(self, outputs: Outputs, images: Sequence[Prepared]) -> list[Brightness]:
        return [Brightness(float(each)) for each in self.reduce(outputs, images)]

    def comparison(self) -> Comparison:
        return Comparison(self)

    def compare(self, expected: NDArray[Any], got: NDArray[Any]) -> BrightnessParity:
        errors = np.abs(expected - got)
        return BrightnessParity(len(errors), float(errors.max()), float(errors.mean()), float((errors < 1e-3).mean()))

    def parity_rows(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        return [("largest difference of brightness", f"{record['max_error']:.1e}")]

    def parity_line(self, record: dict[str, Any]) -> str:
        return f"{record['images']} images"

    def card_rows(self) -> dict[str, Any]:
        return {"predicts": "brightness"}

    def summary(self, prediction: Brightness) -> tuple[str, ...]:
        return (f"{prediction.brightness:.2f}",)

    def filter(self, prediction: Brightness, min_score: float) -> Brightness:
        return prediction

    def draw(self, image: Image.Image, prediction: Brightness) -> Image.Image:
        return image

    def draw_indices(self, prediction: Brightness) -> None:
        return None


# 2. The network


class BrightnessNetwork(Network):
    def __init__(self, config: NextViTConfig) -> None:
        super().__init__()
        self.backbone = NextViT(config)
        self.norm = nn.BatchNorm2d(config.feature_widths[-1])
        self.head = nn.Linear(config.feature_widths[-1], 1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.head(self.norm(self.backbone(images_NCHW)[-1]).mean(dim=(2, 3)))


class DeployedBrightness(nn.Module):
    def __init__(self, model: nn.Module, spec: Preprocess) -> None:
        super().__init__()
        self.normalise, self.model = Normalise(spec), model
        self.eval()

    def forward(self, images_NHWC: Tensor) -> Tensor:
        return self.model(self.normalise(images_NHWC.permute(0, 3, 1, 2)))


# 3. The task


@dataclass(frozen=True, kw_only=True)
class BrightnessLoss:
    power: float = 2.0
    """Of the difference."""


@dataclass(frozen=True, kw_only=True)
class BrightnessSettings:
    loss: BrightnessLoss = field(default_factory=BrightnessLoss)

    def preprocess(self, image_size: int) -> Preprocess:
        return Preprocess(image_size=(image_size, image_size), resize="stretch")


@dataclass(frozen=True)
class BrightnessTargets:
    values_N: Tensor
    canvas: None = None

    def part(self, part: slice) -> "BrightnessTargets":
        return BrightnessTargets(self.values_N[part])

    def to(self, device: torch.device) -> "BrightnessTargets":
        return BrightnessTargets(self.values_N.to(device))

    def pin_memory(self) -> "BrightnessTargets":
        return self


@dataclass(frozen=True)
class BrightnessSource:
    dataset: Dataset
    samples: Samples
    spec: Preprocess
    groups, sheet = None, SMALL

    def __len__(self) -> int:
        return len(self.samples)

    def view(self, index: int, rng: np.random.Generator) -> tuple[Pixels, float]:
        sample = self.samples[index]
        return self.spec(Encoded(sample.read(), sample.path)), values_of(self.dataset)[sample.path.name]

    def collate(self, views: Sequence[Pixels], targets: Sequence[float]) -> tuple[Tensor, BrightnessTargets]:
        return stack_views(views), BrightnessTargets(torch.tensor(targets))

    def draw(self, images_NHWC: Pixels, targets: Any, classes: tuple[str, ...]) -> Pixels:
        return images_NHWC


class BrightnessObjective:
    def __init__(self, card: ModelCard, settings: BrightnessSettings) -> None:
        self.card, self.power = card, settings.loss.power

    def mix(self, pixels: Tensor, targets: Any, rng: np.random.Generator) -> tuple[Tensor, Any]:
        return pixels, targets

    def add_teacher_targets(self, pixels: Tensor, targets: Any) -> Any:
        return targets

    def losses(self, model: nn.Module, pixels: Tensor, targets: BrightnessTargets) -> dict[str, Tensor]:
        predicted_N = model(normalise(pixels, self.card.input))[:, 0].float()
        return {"difference": (predicted_N - targets.values_N).abs().pow(self.power).mean()}


class BrightnessEvaluator:
    further_scores: tuple[str, ...] = ()

    def __init__(self, dataset: Dataset, card: ModelCard) -> None:
        self.dataset, self.card = dataset, card

    def evaluate(self, predict: Any, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        return self.score(*predict_split(predict, self.dataset, self.card, split=split, shard=shard))

    def score(self, samples: Any, scorable: NDArray[Any], unreadable: Sequence[str] = ()) -> Evaluation:
        scores = self.resampled_scores(samples, scorable, np.ones((len(samples), 1), np.int32))
        return Evaluation(
            scores={"closeness_score": float(scores[0])},
            main_score="closeness_score",
            interval_95=interval_95(self.resampled_scores(samples, scorable, resample_counts(len(samples)))),
            images=len(samples),
            details={"brightness": "scored", "classes": ["brightness"], "class_scores": [float(scores[0])]},
            unreadable=list(unreadable),
        )

    def resampled_scores(self, samples: Any, scorable: NDArray[Any], counts_NR: NDArray[np.int32]) -> NDArray[Any]:
        values = values_of(self.dataset)
        true_N = np.array([values[sample.path.name] for sample in samples])
        return 100 * (1 - np.abs(scorable - true_N)) @ counts_NR / counts_NR.sum(axis=0)


class BrightnessTask:
    name, recipe, class_score, images_seen = "brightness", "bright", "closeness", 1000
    needs_labels, model_task = True, "brightness"
    settings = BrightnessSettings
    has_comparable_layers, is_fp32_only, times_backbone_separately = False, False, False
    needs, adapts = "it takes a CSV file with the columns path,brightness", ()

    def recognises(self, root: Path) -> bool:
        return root.suffix == ".csv" and root.is_file() and root.read_text().splitlines()[0].split(",") == COLUMNS

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        with root.open(newline="") as file:
            paths = [root.parent / row["path"] for row in csv.DictReader(file)]
        samples = Samples.pack((path, ()) for path in paths)
        splits = {split: each for split, each in hold_out(samples).items() if split in wanted}
        return Dataset(root=root, classes=("brightness",), splits=splits, task=self.name), []

    def adapt(self, dataset: Dataset) -> None:
        return None

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        survey = watched_survey(dataset, watch)
        counts = {split: np.array([len(samples)]) for split, samples in dataset.splits.items()}
        return Checked(survey=survey, findings=in_order(check_images(survey)), class_counts=counts)

    def complete(self, dataset: Dataset, settings: Any, device: torch.device) -> Dataset:
        return dataset

    def facts(self, dataset: Dataset) -> NoFacts:
        return NoFacts()

    def head(self, variant: str, settings: BrightnessSettings, dataset: Dataset) -> dict[str, Any]:
        return {}

    def build(self, card: ModelCard) -> BrightnessNetwork:
        return BrightnessNetwork(from_plain(NextViTConfig, card.architecture, what="architecture"))

    def deploy(self, model: Network, card: ModelCard, *, dtype: torch.dtype) -> nn.Module:
        return DeployedBrightness(model, card.input)

    def training_inputs(self, card: ModelCard) -> tuple[Tensor, ...]:
        return (torch.empty(1, 3, *card.input.image_size),)

    def reference_outputs(self, model: Network, card: ModelCard, inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            images_NCHW = torch.from_numpy(inputs["images"]).permute(0, 3, 1, 2)
            return {"brightness": model(normalise(images_NCHW, card.input)).numpy()}

    def resolve(self, settings: BrightnessSettings, dataset: Dataset, *, image_size: int) -> BrightnessSettings:
        return settings

    def describe_data(self, dataset: Dataset, settings: BrightnessSettings) -> str:
        return ""

    def training_samples(self, dataset: Dataset, settings: BrightnessSettings) -> tuple[Dataset, Samples]:
        return dataset, dataset.split("train")

    def sampling_weights(self, dataset: Dataset, settings: BrightnessSettings) -> None:
        return None

    def training_source(self, samples: Samples, dataset: Dataset, card: ModelCard, settings: Any) -> BrightnessSource:
        return BrightnessSource(dataset, samples, card.input)

    def objective(self, dataset: Dataset, card: ModelCard, settings: Any, device: torch.device) -> BrightnessObjective:
        return BrightnessObjective(card, settings)

    def random_batch(self, card: ModelCard, settings: Any, *, images: int, device: torch.device) -> Any:
        return torch.zeros(images, 3, *card.input.image_size), BrightnessTargets(torch.zeros(images))

    def evaluator(self, dataset: Dataset, card: ModelCard) -> BrightnessEvaluator:
        return BrightnessEvaluator(dataset, card)

    def evaluation_card(self, card: ModelCard) -> ModelCard:
        return card

    def write_evidence(self, run: Path, model: Network, card: ModelCard, evaluation: Evaluation) -> None:
        """There is none."""

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        return [section("Brightness", paragraph(details["brightness"]))]


def values_of(dataset: Dataset) -> dict[str, float]:
    """The brightness of each image, by the name of its file."""

    def read() -> dict[str, float]:
        with dataset.root.open(newline="") as file:
            return {row["path"]: float(row["brightness"]) for row in csv.DictReader(file)}

    return dataset.compute_once("brightness", read)
