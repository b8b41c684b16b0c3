"""A training run from its dataset and recipe to its evaluated best checkpoint."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import yaml

from nextvit.card import ModelCard
from nextvit.data.folder import Dataset, read_dataset
from nextvit.durable import write_durably
from nextvit.environment import environment
from nextvit.errors import InputError
from nextvit.models.classification import Classifier
from nextvit.models.cost import cost
from nextvit.models.create import create_model, find_weights
from nextvit.models.deployed import Deployed
from nextvit.models.published import LICENCE, TAGS
from nextvit.models.weights import load_model, load_weights
from nextvit.records import to_plain
from nextvit.runs import ENVIRONMENT, EVALUATION, RECIPE, best_weights, is_run
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.classification import ClassificationTask
from nextvit.tasks.task import Evaluation
from nextvit.train.interrupt import stop_on_interrupt
from nextvit.train.loop import Watch, fit
from nextvit.train.recipe import Recipe

Say = Callable[[str], None]


def train(dataset_path: Path, recipe: Recipe, *, run: Path, resume: bool = False, watch: Watch, say: Say) -> Evaluation:
    """Train, keep everything in the folder `run`, and evaluate its best checkpoint.

    Args:
        resume: go on from the checkpoint "last" of an interrupted run.
        watch: told after every step and epoch.
        say: told what a person should know once.

    Raises:
        InputError: the dataset or the recipe is wrong, or `run` holds something already.
    """
    check_run_folder(run, resume=resume)
    dataset = read_dataset(dataset_path)
    torch.manual_seed(recipe.compute.seed)
    # A resumed run has its weights; only their origin is still to be told.
    model, card, report = build(dataset, recipe, load=not resume)
    task = ClassificationTask(dataset, card, label_smoothing=recipe.loss.label_smoothing)
    if report:
        say(report)
    counts = {name: len(samples) for name, samples in dataset.splits.items()}
    say(f"{counts['train']} training and {counts['val']} validation images, {len(dataset.classes)} classes")

    run.mkdir(parents=True, exist_ok=True)
    settings = {"dataset": str(dataset_path.resolve()), **to_plain(recipe)}
    write_durably(run / RECIPE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    write_durably(run / ENVIRONMENT, json.dumps(run_facts(dataset, model, card), indent=2, ensure_ascii=False))
    with stop_on_interrupt() as stop:
        progress = fit(task, dataset, model, recipe, run=run, resuming=resume, watch=watch, stop=stop)

    best, _ = load_model(best_weights(run))
    evaluation = task.evaluate(TorchSession(Deployed(best, card.input)).run, split="val")
    record = {**asdict(evaluation), "unreadable_training": list(progress.unreadable)}
    write_durably(run / EVALUATION, json.dumps(record, ensure_ascii=False))
    unreadable = (*progress.unreadable, *evaluation.unreadable)
    for message in unreadable:
        say(f"could not be read: {message}")
    if unreadable:
        say(f"{len(unreadable)} images could not be read, and were left out")
    return evaluation


def check_run_folder(run: Path, *, resume: bool) -> None:
    """A new run needs a new folder; a resumed one needs a run."""
    if resume and not is_run(run):
        raise InputError(f"{run}: no run to resume (it has no {RECIPE}); leave out --resume to start one")
    if not resume and is_run(run):
        raise InputError(f"{run}: already holds a run; go on with --resume, or choose another --out")
    if not resume and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise InputError(f"{run}: exists and is not an empty folder; choose another --out")


def build(dataset: Dataset, recipe: Recipe, *, load: bool) -> tuple[Classifier, ModelCard, str | None]:
    """The model with its starting weights, its card, and what there is to say about the weights."""
    settings = recipe.model
    model = create_model(settings.name, num_classes=len(dataset.classes), drop_path=settings.drop_path)
    assert isinstance(model, Classifier)
    model.backbone.set_activation_checkpointing(enabled=settings.activation_checkpointing)
    from_scratch = settings.weights == "none"
    report = None
    if load and not from_scratch:
        report = str(load_weights(model, find_weights(settings.name, settings.weights), classes=dataset.classes))
    card = ModelCard(
        task="classification",
        classes=dataset.classes,
        input=recipe.data.preprocess(),
        variant=settings.name,
        architecture=to_plain(model.backbone.config),
        pretrained=None if from_scratch else settings.weights,
        **({"weights_licence": f"started from weights under {LICENCE}"} if settings.weights in TAGS else {}),
    )
    return model, card, report


def run_facts(dataset: Dataset, model: Classifier, card: ModelCard) -> dict[str, object]:
    """The machine, and what is trained on what."""
    model_cost = cost(model.backbone.config, num_classes=len(card.classes), image_size=card.input.image_size)
    return {
        **environment(),
        "dataset": str(dataset.root),
        "classes": list(dataset.classes),
        "train_images": len(dataset.split("train")),
        "val_images": len(dataset.split("val")),
        "variant": card.variant,
        "image_size": list(card.input.image_size),
        "parameters": model_cost.parameters,
        "macs": model_cost.macs,
    }
