"""nextvit export"""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.bundle.manifest import SUFFIX, Precision, file_stem
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError
from nextvit.files.run_folder import is_run
from nextvit.predictions.kind import kind_of
from nextvit.predictions.score_names import display_name
from nextvit.report.page import points

if TYPE_CHECKING:
    from nextvit.bundle.card import ModelCard
    from nextvit.bundle.manifest import Manifest
    from nextvit.export.proof_images import ProofImages


def export(
    model: Path,
    /,
    *,
    to: str = "onnx",
    precision: Precision = "fp32",
    data: Path | None = None,
    images: int | None = None,
    dynamic_size: bool = False,
    fixed_size: str | None = None,
    scores: bool = False,
    calibration_images: int = 300,
    max_drop: float | None = None,
    explain: bool = False,
    sign: Path | None = None,
    out: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Write a bundle, prove on real images that it predicts as the model does, and report.

    Example: nextvit export runs/photos --to onnx

    A file that differs by more than its precision may is not kept, and the exit code is 1; a report beside its place
    says how far it is, and at which layer it diverges.

    Parameters
    ----------
    model: Path
        A run, or a checkpoint file.
    to: str
        Backend that will run it: onnx, openvino, tensorrt, coreml, executorch, torch.
    precision: str
        Numbers it computes with: fp32, fp16, bf16, int8; for Core ML also weights alone in 8 or 6 bits: w8, w6. Which
        backend has which: docs/support.md.
    data: Path
        Images for the proof: a dataset, whose val split is used, or any folder of images. Default: the run's dataset;
        for a checkpoint file, five photographs that come with nextvit.
    images: int
        Prove on so many of them, at least 256. Default: all.
    dynamic_size: bool
        Take images of any size from 33 px a side. A detector, and a segmentation model that takes images whole
        (data.resize pad), does so anyway.
    fixed_size: str
        HEIGHTxWIDTH, such as 352x480, of a segmentation model: take images of this one size, to which each
        side of an image is scaled alone. The proof, and the score before and after, are made at it.
    scores: bool
        Of a segmentation model: output the logits of the classes, too, at a quarter of the resolution.
    calibration_images: int
        For int8, so many images of the training split, as many of each class as it gives.
    max_drop: float
        Most points of the score that the export may cost. Default: 0.5, with which all but fp32 are accepted where the
        images have labels, and int8, w8 and w6 in any case; no limit for the others.
    explain: bool
        Report the error of every layer, also of a file that is proven.
    sign: Path
        Sign the bundle with this Ed25519 private key, a PEM file without a passphrase.
    out: Path
        The bundle, a folder NAME.nextvit. Default: in exports/ of the run; of a checkpoint file, in the working folder.
    """
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise InputError(f"--max-drop must be between 0 and 100 points, got {max_drop:g}")
    if calibration_images < 1:
        raise InputError(f"--calibration-images must be at least 1, got {calibration_images}")
    from nextvit.export.request import check_request
    from nextvit.export.targets import target_of
    from nextvit.loading import load_trained, read_trained_card

    def card_and_bundle(trained: "ModelCard") -> "tuple[ModelCard, Path]":
        """The card of the file that is asked for, and where it goes; InputError where it cannot be written."""
        target_of(to, precision, dynamic_size=dynamic_size, task=trained.task)
        card = with_options(trained, scores=scores, fixed_size=fixed_size, dynamic_size=dynamic_size)
        size = card.input.image_size if fixed_size else None
        bundle = out or default_bundle(model, to, precision, dynamic_size=dynamic_size, fixed_size=size, scores=scores)
        check_request(card, bundle, backend=to, dynamic_size=dynamic_size, max_drop=max_drop, explain_layers=explain)
        return card, bundle

    # 1. Refuse what can be refused before torch is loaded, which takes seconds
    if described := read_trained_card(model):
        card_and_bundle(described)
    else:
        target_of(to, precision, dynamic_size=dynamic_size)

    # 2. Load the model and its images
    from nextvit.data.reading import is_dataset
    from nextvit.export.calibration import calibration_images as read_calibration_images
    from nextvit.export.export import export_bundle
    from nextvit.predictions.tolerances import TOLERANCES

    network, trained = load_trained(model)
    card, bundle = card_and_bundle(trained)
    proof = images_for(model, data, card, limit=images)
    if max_drop is not None and proof.evaluator is None and precision in TOLERANCES:
        raise InputError("--max-drop needs labelled images; pass a dataset with --data")
    if proof.evaluator is None:
        counted = (
            "" if precision in TOLERANCES else ", and every prediction that differs from PyTorch's counts as wrong"
        )
        progress.print(f"these images have no labels, so there is no score{counted}", markup=False, soft_wrap=True)

    # 3. Write, prove, report
    source = calibrated_on(model, data) if precision == "int8" else None
    calibration = read_calibration_images(source, card, count=calibration_images) if source else None
    manifest = export_bundle(
        network,
        card,
        backend=to,
        precision=precision,
        images=proof,
        out=bundle,
        dynamic_size=dynamic_size,
        calibration=calibration,
        calibration_source=f"{source.resolve().name}, {'train' if is_dataset(source) else 'all'}" if source else None,
        max_drop=max_drop,
        explain_layers=explain,
        sign_with=sign,
        say=partial(progress.print, markup=False, soft_wrap=True),
    )
    if is_run(model):
        from nextvit.cli.run_report import write_report

        write_report(model)
    proven = manifest.verification
    tables = [make_table(["", ""], [*proof_rows(proven, card), *file_rows(manifest)])]
    if "layers" in proven:
        tables.append(
            make_table(["layer", "largest / std", "mean / std", "fraction of the error"], layer_rows(proven["layers"]))
        )
    if "sensitivity" in proven:
        tables.append(
            make_table(["quantised alone", "mean / std", "same prediction"], cost_rows(proven["sensitivity"]))
        )
    show(
        as_json,
        *tables,
        f"bundle: {bundle}",
        document={"verb": "export", "bundle": str(bundle), "verification": proven},
    )


def with_options(card: "ModelCard", *, scores: bool, fixed_size: str | None, dynamic_size: bool) -> "ModelCard":
    """The card of the file that is to be written: with logits as an output, or of one fixed size, where the task has
    these.

    Raises:
        InputError: another task, no such size, or a size both fixed and dynamic.
    """
    if not scores and fixed_size is None:
        return card
    if fixed_size is not None and dynamic_size:
        raise InputError("a file takes one size (--fixed-size) or any (--dynamic-size); leave one of them out")
    return kind_of(card).exported_with(scores=scores, fixed_size=parse_size(fixed_size) if fixed_size else None)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from HEIGHTxWIDTH."""
    if not (sides := re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)):
        raise InputError(f"--fixed-size is HEIGHTxWIDTH in pixels, such as 352x480; got {text!r}")
    return int(sides[1]), int(sides[2])


def default_bundle(
    model: Path,
    backend: str,
    precision: str,
    *,
    dynamic_size: bool,
    fixed_size: tuple[int, int] | None = None,
    scores: bool = False,
) -> Path:
    """Inside the run; of a checkpoint file, in the working directory (its own folder may be a run's, and replaced)."""
    folder, name = (model / "exports", model.resolve().name) if model.is_dir() else (Path(), model.stem)
    parts = [file_stem(name), backend, precision]
    parts += ["dynamic"] if dynamic_size else ["{}x{}".format(*fixed_size)] if fixed_size else []
    parts += ["scores"] if scores else []
    return folder / f"{'-'.join(parts)}{SUFFIX}"


def images_for(
    model: Path, data: Path | None, card: "ModelCard", *, split: str = "val", limit: int | None = None
) -> "ProofImages":
    """The images to prove on: those that were named, else those of the run's dataset, else the bundled ones."""
    from nextvit.export.proof_images import proof_images

    return proof_images(data or dataset_if_known(model), card, split=split, limit=limit)


def calibrated_on(model: Path, data: Path | None) -> Path | None:
    """Where calibration images come from: a dataset that was named, else the run's, else the folder that was named. So
    the images of the proof serve for both only where nothing else is known."""
    from nextvit.data.reading import is_dataset

    return data if data and is_dataset(data) else dataset_if_known(model) or data


def dataset_if_known(model: Path) -> Path | None:
    """The dataset of a run; None for a checkpoint file."""
    from nextvit.cli.settings import dataset_of

    return dataset_of(model) if is_run(model) else None


def proof_rows(proven: dict[str, Any], card: "ModelCard") -> list[tuple[str, str]]:
    """A verification as rows for people."""
    rows = [("images compared", f"{proven['images']} ({proven['source']})"), *kind_of(card).parity_rows(proven)]
    if "unreadable" in proven:
        rows.append(
            ("images that cannot be read", f"{proven['unreadable']['images']}: {proven['unreadable']['first'][0]}")
        )
    if "before" in proven:
        name = display_name(proven["before"]["metric"])
        rows.append((f"{name}, PyTorch", f"{proven['before']['score']:.2f} %"))
        rows.append((f"{name}, exported", f"{proven['after']['score']:.2f} %"))
        low, high = proven["drop_interval_95"]
        allowed = "" if proven.get("max_drop") is None else f", allowed: {proven['max_drop']:g}"
        rows.append(("drop", f"{points(proven['drop'])} points (95 %: {points(low)} to {points(high)}{allowed})"))
    if proven.get("beyond_tolerances"):
        rows.append(("accepted by the score, although", "; ".join(proven["beyond_tolerances"])))
    for name, each in proven.get("further", {}).items():
        rows.append((f"{display_name(name)}, PyTorch", f"{each['before']:.2f} %"))
        rows.append((f"{display_name(name)}, exported", f"{each['after']:.2f} %"))
    return rows


def file_rows(manifest: "Manifest") -> list[tuple[str, str]]:
    """What was written, beside how exact it is."""
    proven = manifest.verification
    rows = [("run by", proven["runtime"]["runtime"])]
    if "calibration" in proven:
        rows.append(("calibrated on", f"{proven['calibration']['images']} images ({proven['calibration']['source']})"))
        rows.append(("left in fp32", ", ".join(manifest.float_layers) or "nothing"))
    if "latency" in proven:
        height, width = proven["latency"]["image_size"]
        rows.append((f"one image of {width}x{height} px", f"{proven['latency']['p50_ms']:.2f} ms"))
    return rows


def layer_rows(layers: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The error of every layer as rows for people."""
    return [
        (
            each["layer"],
            f"{float(each['error']):.1e}",
            f"{float(each['mean_error']):.1e}",
            "" if each["share"] is None else f"{float(each['share']):.0%}",
        )
        for each in layers
    ]


def cost_rows(costs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What quantising each group alone costs as rows for people."""
    return [(each["group"], f"{float(each['mean_error']):.1e}", f"{each['agreement']:.1%}") for each in costs]
