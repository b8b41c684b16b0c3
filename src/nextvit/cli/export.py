"""nextvit export"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.bundle import SUFFIX, Precision, Predict, file_stem
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError
from nextvit.runs import is_run
from nextvit.scores import spoken

if TYPE_CHECKING:
    from nextvit.card import ModelCard
    from nextvit.export.export import Exam
    from nextvit.tasks.task import Task


def export(
    model: Path,
    /,
    *,
    to: str = "onnx",
    precision: Precision = "fp32",
    data: Path | None = None,
    max_drop: float | None = None,
    out: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Write a bundle, prove on real images that it answers as the model does, and report.

    Example: nextvit export runs/photos --to onnx

    A file that differs by more than its precision may is not kept, and the exit code is 1.

    Parameters
    ----------
    model: Path
        A run, or a checkpoint file.
    to: str
        Backend that will run it: onnx.
    precision: str
        Numbers it computes with: fp32.
    data: Path
        Images for the proof: a dataset, whose val split is used, or any folder of images. Default: the run's dataset.
    max_drop: float
        Most points of the score that the export may cost; needs a dataset with labels.
    out: Path
        The bundle, a folder NAME.nextvit. Default: in exports/ of the run.
    """
    if max_drop is not None and max_drop < 0:
        raise InputError(f"--max-drop must not be negative, got {max_drop:g}")
    from nextvit.export.export import export_bundle
    from nextvit.loading import load_trained

    network, card = load_trained(model)
    images, exam = proof_images(model, data, card)
    if max_drop is not None and exam is None:
        raise InputError("--max-drop needs labelled images; pass a dataset with --data")
    out = out or default_bundle(model, to, precision)
    manifest = export_bundle(
        network,
        card,
        backend=to,
        precision=precision,
        images=images,
        out=out,
        exam=exam,
        max_drop=max_drop,
        say=partial(progress.print, markup=False, soft_wrap=True),
    )
    if is_run(model):
        from nextvit.report.run_report import write_run_report

        write_run_report(model)
    proven = manifest.verification
    show(
        as_json,
        make_table(["", ""], proof_rows(proven)),
        f"bundle: {out}",
        document={"verb": "export", "bundle": str(out), "verification": proven},
    )


def default_bundle(model: Path, backend: str, precision: str) -> Path:
    """Inside the run; of a checkpoint file, in the working directory (its own folder may be a run's, and replaced)."""
    folder, name = (model / "exports", model.resolve().name) if model.is_dir() else (Path(), model.stem)
    return folder / f"{file_stem(name)}-{backend}-{precision}{SUFFIX}"


def proof_images(model: Path, data: Path | None, card: "ModelCard") -> "tuple[list[Path], Exam | None]":
    """The readable images of the proof, and the exam on them if they have labels."""
    from nextvit.cli.settings import dataset_of
    from nextvit.data.folder import list_images, read_dataset
    from nextvit.tasks import task_for

    if data is None:
        data = dataset_of(model)
    if data.is_dir() and not (data / "train").is_dir():
        return readable(list_images(data)), None
    dataset = read_dataset(data)
    return readable([sample.path for sample in dataset.split("val")]), partial(score, task_for(dataset, card))


def score(task: "Task", predict: Predict) -> dict[str, Any]:
    """The main score of a predict function with its interval."""
    evaluation = task.evaluate(predict, split="val")
    return {
        "metric": evaluation.main_score,
        "score": evaluation.scores[evaluation.main_score],
        "interval_95": evaluation.interval_95,
        "images": evaluation.images,
    }


def readable(paths: list[Path]) -> list[Path]:
    """The images that can be read; the others prove nothing."""
    from nextvit.preprocess import DecodeError, read_image

    kept: list[Path] = []
    for path in paths:
        try:
            read_image(path)
        except DecodeError as error:
            progress.print(f"left out of the proof: {error}", markup=False, soft_wrap=True)
        else:
            kept.append(path)
    return kept


def proof_rows(proven: dict[str, Any]) -> list[tuple[str, str]]:
    """A verification as rows for people."""
    rows = [
        ("images compared", str(proven["images"])),
        ("same answer", f"{proven['agreement']:.2%}"),
        ("largest difference / spread", f"{proven['max_error']:.2e}"),
    ]
    if "before" in proven:
        name = spoken(proven["before"]["metric"])
        rows.append((f"{name}, PyTorch", f"{proven['before']['score']:.2f} %"))
        rows.append((f"{name}, exported", f"{proven['after']['score']:.2f} %"))
    return rows
