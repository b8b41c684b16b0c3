"""nextvit predict"""

from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.cli.prediction_folder import LINES, PredictionFolder, describe_path
from nextvit.cli.tiling import views_of
from nextvit.data.image_files import scan_folder, split_path
from nextvit.errors import InputError, suggest_path
from nextvit.files.tar_members import find_archive
from nextvit.image.reading import DecodeError, read_image
from nextvit.predictions.kind import PredictionKind


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

    A path that does not exist is refused at once. Exits with 1 if some files are no readable images, or of formats that
    are not read; the others are predicted all the same. Lines of predictions.jsonl are written as they come.

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

    files, left_out = collect(paths, out=out)
    if min_score is not None and not 0 <= min_score <= 1:
        raise InputError(f"--min-score must be between 0 and 1, got {min_score:g}")
    predictor = load(model, device=device, tiling=views_of(windows, scales, flip))
    kind = predictor.kind
    if min_score is not None and kind.min_score is None:
        raise InputError(
            f"--min-score is for detectors, and {model} is a model for {predictor.card.task}; leave it out"
        )
    least = kind.min_score if min_score is None else min_score
    records: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    with closing(PredictionFolder(out)) if out else nullcontext() as folder:

        def keep(record: dict[str, Any]) -> None:
            """Write the line of an image at once, and show why it has none."""
            if as_json:
                records.append(record)
            if folder:
                folder.write_line(record)
            if "error" in record:
                progress.print(f"could not be read: {record['error']}", markup=False, soft_wrap=True)

        for file, why in left_out:
            path = describe_path(file)
            keep({**path, "error": f"{path['path']}: {why}"})
        predictions = predictor.stream(files, keep_unreadable=True)
        for number, (file, prediction) in enumerate(zip(files, predictions, strict=True)):
            path = describe_path(file)
            if isinstance(prediction, DecodeError):
                keep({**path, "error": str(prediction).replace(str(file), path["path"])})
                continue
            shown = prediction if least is None else kind.filter(prediction, least)
            written = write_images(folder, kind, file, prediction, shown, number=number) if folder else {}
            keep({**path, **prediction.to_dict(), **written})
            rows.append((path["path"], *kind.summary(shown)))
    document = {"verb": "predict", "model": str(model), "predictions": records}
    table = make_table(["file", *kind.columns], rows, left=2)
    show(as_json, *([table] if rows else []), document=document)
    return int(len(rows) < len(files) + len(left_out))


def write_images(
    folder: PredictionFolder, kind: PredictionKind, file: Path, prediction: Any, shown: Any, *, number: int
) -> dict[str, str]:
    """Write the annotated image, and a map's image of class indices; return their names, for the line.

    Args:
        shown: the part of the prediction that is drawn.
    """
    names: dict[str, str] = {}
    try:  # read once more: the stream holds images at the model's size, and no more of them than it must
        drawn = kind.draw(read_image(file), shown)
        names["drawn"] = folder.write_image(drawn, file, number=number, suffix=".jpg", quality=90)
    except DecodeError as error:  # it was removed meanwhile
        progress.print(f"could not be drawn: {error}", markup=False, soft_wrap=True)
    if indices := kind.draw_indices(prediction):
        names["mask"] = folder.write_image(indices, file, number=number, suffix=".png")
    return names


def collect(paths: tuple[Path, ...], *, out: Path | None) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The image files that are meant, in order, and those in folders that are not read, each with the reason.

    Earlier predictions in a folder, and what is written into `out`, are left out.
    """
    if not paths:
        raise InputError("no images given; pass files or folders behind the model")
    if out and out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out takes a folder")
    files: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            if out and out.resolve() == path.resolve():
                raise InputError(f"{out}: --out is the folder of the images; choose another, such as {out}-predictions")
            found = scan_folder(path, is_left_out=partial(holds_predictions, out=out))
            if not found.images and not found.unread and not found.bad_names:
                raise InputError(f"{path}: a folder without images")
            files += map(Path, sorted(found.images + found.bad_names, key=split_path))
            left_out += [
                (Path(each), f"{format}, which is not read; make it JPEG or PNG, with that suffix")
                for each, format in found.unread
            ]
        elif path.is_file() or find_archive(path):
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder{suggest_path(path)}")
    return files, left_out


def holds_predictions(folder: str, *, out: Path | None) -> bool:
    """Whether a folder is `out`, or has predictions of an earlier call."""
    if (Path(folder) / LINES).is_file():
        progress.print(f"left out: {folder}, which has earlier predictions", markup=False, soft_wrap=True)
        return True
    return out is not None and out.resolve() == Path(folder).resolve()
