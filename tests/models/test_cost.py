"""What is counted as a model's cost, against counts by hand."""

from dataclasses import asdict, replace
from math import prod

import pytest
import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.backbone import NextViT
from nextvit.models.config import VARIANTS
from nextvit.models.cost import cost, count_parameters, module_cost
from nextvit.models.create import create_model
from nextvit.models.deployed import Deployed
from nextvit.models.detection import DetectorConfig
from nextvit.tasks.network import deployed_cost, training_cost
from tests.export.nano import build_card, calibrated_model
from tests.models.detectors import TINY_HEADS


def test_a_convolution_and_a_linear_layer_by_hand():
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )
    counted = module_cost(model, torch.zeros(1, 4, 8, 10))
    assert counted.parameters == 6 * 4 * 9 + 6 + 6 * 5 + 5
    assert counted.macs == 6 * 80 * 4 * 9 + 6 * 5
    assert counted.activations == 4 * 80 + 6 * 80 + 6 + 5
    assert counted.bytes("fp32", batch=2) == 4 * (counted.parameters + 2 * counted.activations)
    assert counted.bytes("int8") == counted.parameters + counted.activations
    assert counted.bytes("w6") == -(-counted.parameters * 3 // 4) + 2 * counted.activations


class Attention(nn.Module):
    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, q_BTC: Tensor) -> Tensor:
        if self.whole:
            return nn.functional.scaled_dot_product_attention(q_BTC, q_BTC, value=q_BTC)
        return (q_BTC @ q_BTC.transpose(1, 2)).softmax(-1) @ q_BTC


@pytest.mark.parametrize(("whole", "scores"), [(True, 0), (False, 2 * 7 * 7)])
def test_scores_of_attention_are_traffic_only_where_the_graph_states_them(whole: bool, scores: int):
    counted = module_cost(Attention(whole=whole), torch.zeros(1, 7, 3))
    assert counted.macs == 2 * 7 * 7 * 3
    assert counted.activations == 4 * 7 * 3 + scores


def test_nothing_is_changed_or_computed():
    model = nn.Linear(3, 2)
    module_cost(model, torch.zeros(1, 3))
    assert model.weight.device.type == "cpu"
    assert model.training


def test_the_cost_of_a_card_is_that_of_the_graph_which_is_exported():
    card = build_card(64, 96)
    deployed = Deployed(calibrated_model(), card.input)
    counted = deployed_cost(card)
    assert counted == module_cost(deployed, torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    assert counted.parameters == count_parameters(deployed)


def test_folding_takes_parameters_and_adds_no_work():
    trained, deployed = (
        cost(VARIANTS["nextvit_nano"], num_classes=3, image_size=(64, 64)),
        deployed_cost(build_card(64, 64)),
    )
    assert deployed.parameters < trained.parameters
    assert 0.9 * trained.macs < deployed.macs <= trained.macs


def test_a_foreign_network_costs_as_much_as_ours():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        models = [make("nextvit_small") for make in (timm.create_model, create_model)]
    theirs, ours = (module_cost(model, torch.zeros(1, 3, 64, 64)) for model in models)
    assert theirs == ours


def detector_card(variant: str, heads: DetectorConfig, limits_px: tuple[int, int], *, classes: int) -> ModelCard:
    return ModelCard(
        task="detection",
        classes=tuple(map(str, range(classes))),
        facts=DetectionFacts(category_ids=tuple(range(classes))),
        input=Preprocess(image_size=limits_px, resize="pad"),
        variant=variant,
        architecture=to_plain(VARIANTS[variant]),
        head=asdict(heads),
    )


def test_a_detector_costs_what_its_parts_do_for_all_regions_that_it_may_look_at():
    heads, classes = DetectorConfig(**TINY_HEADS), 5
    neck, width, mask, regions, found = 16, 24, 16, 50, 20
    config = VARIANTS["nextvit_nano"]
    with torch.device("meta"):
        backbone = module_cost(NextViT(config), torch.empty(1, 3, 64, 128))
    positions = [prod(each) for each in ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2))]
    pyramid = sum(
        (channels * neck + 9 * neck**2) * count
        for channels, count in zip(config.feature_widths, positions, strict=False)
    )
    proposals = (9 * neck**2 + neck * 3 + neck * 12) * sum(positions)
    boxes = regions * (neck * 49 * width + width**2 + width * (classes + 1) + width * 4 * classes)
    odds = regions * (classes + 1) ** 2  # each class against the sum of the others, which is a product of matrices
    masks = found * (14**2 * (9 * (neck * mask + mask**2) + 4 * mask**2) + 28**2 * mask * classes)

    counted = training_cost(detector_card("nextvit_nano", heads, (64, 100), classes=classes))
    assert counted.macs == backbone.macs + pyramid + proposals + boxes + odds + masks
    deployed = deployed_cost(detector_card("nextvit_nano", heads, (64, 100), classes=classes))
    assert deployed.parameters < counted.parameters and 0.95 * counted.macs < deployed.macs <= counted.macs


@pytest.mark.parametrize(
    ("size", "gmacs", "parameters"), [("small", 290, 51.125), ("base", 340, 64.180), ("large", 391, 77.236)]
)
def test_the_cost_of_a_detector_is_that_of_the_paper(size: str, gmacs: int, parameters: float):
    """Its table, at 800x1280; the counter that it used leaves out the two products of attention."""
    card = replace(
        build_card(800, 1280),
        task="detection",
        classes=tuple(map(str, range(80))),
        facts=DetectionFacts(category_ids=tuple(range(80))),
        input=Preprocess(image_size=(800, 1280), resize="pad"),
        architecture=to_plain(VARIANTS[f"nextvit_{size}"]),
        head=to_plain(DetectorConfig()),
    )
    counted = training_cost(card)
    assert counted.parameters / 1e6 == pytest.approx(parameters, abs=5e-4)
    # Tokens, keys and channels of stages 2 to 4; only stage 3 is repeated.
    repeats = {"small": 2, "base": 4, "large": 6}[size]
    products = 2 * (16_000 * 1000 * 192 + repeats * 4000 * 1000 * 384 + 1000 * 1000 * 768)
    assert (counted.macs - products) / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_the_cost_of_a_classifier_that_is_trained_is_that_at_its_size():
    assert training_cost(build_card(64, 96)) == cost(VARIANTS["nextvit_nano"], num_classes=3, image_size=(64, 96))
