"""nextvit predict"""

import json
from pathlib import Path
from typing import Any

from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.cli.tiling import views_of
from nextvit.data.image_files import list_images
from nextvit.errors import InputError, suggest_path
from nextvit.files.tar_members import find_archive
from nextvit.image.reading import DecodeError, read_image


def predict(
    model: Path,
    /,
    *paths: Path,
    out: Path | None = None,
    min_score: float | None = None,
    windows: int | None = None,
    scales: str | None = None,
    flip: bool = False,
    device: str | None = None,
    as_json: AsJson = False,
) -> int:
    """Predict on image files and folders.

    Example: nextvit predict runs/photos holiday.jpg more-photos/ --out predictions

    A path that does not exist is refused at once. Exits with 1 if some files are no readable images; the others are
    predicted all the same.

    Parameters
    ----------
    model: Path
        A run, a checkpoint file, or a bundle.
    paths: Path
        Image files, and folders, which are searched for images.
    out: Path
        Folder for annotated images and predictions.jsonl, and of a segmentation model for an image of class indices
        of each image's size.
    min_score: float
        Of a detector, the least score of objects that are counted and drawn; predictions.jsonl and --json have all,
        from 0.05 on. Default: 0.3.
    windows: int
        Of a segmentation model: predict in overlapping windows of so many pixels a side, a multiple of 32, over
        their own pixels, which are not resized; images may be of any size. Default: the whole image, resized as in
        training.
    scales: str
        Of a segmentation model: the mean over the whole image at several sizes, with commas, such as 0.5,1,1.5; 1 is
        the size at which the model sees it otherwise.
    flip: bool
        Of a segmentation model: average with the mirrored image, too.
    device: str
        Where to compute, by the runtime's name for it, such as cuda. Default: the CPU.
    """
    from nextvit.loading import load

    files = collect(paths)
    if min_score is not None and not 0 <= min_score <= 1:
        raise InputError(f"--min-score must be between 0 and 1, got {min_score:g}")
    if out and out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out takes a folder")
    predictor = load(model, device=device, tiling=views_of(windows, scales, flip))
    kind = predictor.kind
    if min_score is not None and kind.min_score is None:
        raise InputError(
            f"--min-score is for detectors, and {model} is a model for {predictor.card.task}; leave it out"
        )
    least = kind.min_score if min_score is None else min_score
    if out:
        out.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    predictions = predictor.stream(files, keep_unreadable=True)
    for number, (file, prediction) in enumerate(zip(files, predictions, strict=True)):
        if isinstance(prediction, DecodeError):
            records.append({"path": str(file), "error": str(prediction)})
            progress.print(f"could not be read: {prediction}", markup=False, soft_wrap=True)
            continue
        records.append({"path": str(file), **prediction.to_dict()})
        shown = prediction if least is None else kind.filter(prediction, least)
        rows.append((str(file), *kind.summary(shown)))
        if out:  # read once more: the stream holds images at the model's size, and no more of them than it must
            name = f"{number:05d}-{file.stem}"
            kind.draw(read_image(file), shown).save(out / f"{name}.jpg", quality=90)
            if indices := kind.draw_indices(prediction):
                records[-1]["mask"] = f"{name}.png"
                indices.save(out / records[-1]["mask"])
    if out:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (out / "predictions.jsonl").write_text(lines, encoding="utf-8")
    document = {"verb": "predict", "model": str(model), "predictions": records}
    table = make_table(["file", *kind.columns], rows, left=2)
    show(as_json, *([table] if rows else []), document=document)
    return int(len(rows) < len(records))


def collect(paths: tuple[Path, ...]) -> list[Path]:
    """The image files that are meant, in order."""
    if not paths:
        raise InputError("no images given; pass files or folders behind the model")
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = list_images(path)
            if not found:
                raise InputError(f"{path}: a folder without images")
            files += found
        elif path.is_file() or find_archive(path):
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder{suggest_path(path)}")
    return files
