"""nextvit predict"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.cli.draw_classes import as_share, draw_classes, index_image
from nextvit.cli.draw_detections import draw_detections
from nextvit.cli.tiling import views_of
from nextvit.data.reading import list_images
from nextvit.errors import InputError
from nextvit.files.tar_members import archive_of
from nextvit.image.resizing import DecodeError, read_image
from nextvit.predictions.results import Answer, Classification, ClassMap, Detections, Guess, MultiLabel

LARGEST_PICTURE_PX = 1024


def predict(
    model: Path,
    /,
    *paths: Path,
    out: Path | None = None,
    min_score: float = 0.3,
    windows: int | None = None,
    scales: str | None = None,
    flip: bool = False,
    device: str | None = None,
    as_json: AsJson = False,
) -> int:
    """Answers for image files and folders.

    Example: nextvit predict runs/photos holiday.jpg more-photos/ --out answers

    A path that does not exist is refused at once. Exits with 1 if some files are no readable images; the others are
    answered all the same.

    Parameters
    ----------
    model: Path
        A run, a checkpoint file, or a bundle.
    paths: Path
        Image files, and folders, which are searched for images.
    out: Path
        Folder for annotated pictures and predictions.jsonl, and of a segmentation model for an image of class indices of
        each picture's size.
    min_score: float
        Of a detector, the least score of objects that are counted and drawn; predictions.jsonl and --json have all, from
        0.05 on.
    windows: int
        Of a segmentation model: answer pictures in overlapping windows of so many pixels a side, a multiple of 32, over their
        own pixels, which are not resized; pictures may be of any size. Default: the whole picture, resized as in training.
    scales: str
        Of a segmentation model: the mean over the whole picture at several sizes, with commas, such as 0.5,1,1.5; 1 is the
        size at which the model sees it otherwise.
    flip: bool
        Of a segmentation model: look at each picture mirrored, too.
    device: str
        Where to compute, by the runtime's name for it, such as cuda. Default: the CPU.
    """
    from nextvit.loading import load

    files = collect(paths)
    if not 0 <= min_score <= 1:
        raise InputError(f"--min-score must be between 0 and 1, got {min_score:g}")
    if out and out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out takes a folder")
    predictor = load(model, device=device, views=views_of(windows, scales, flip))
    if out:
        out.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    rows: list[tuple[str, str, str]] = []
    answers = predictor.stream(files, keep_unreadable=True)
    for number, (file, answer) in enumerate(zip(files, answers, strict=True)):
        if isinstance(answer, DecodeError):
            records.append({"path": str(file), "error": str(answer)})
            progress.print(f"could not be read: {answer}", markup=False, soft_wrap=True)
            continue
        records.append({"path": str(file), **answer.to_dict()})
        answer = believed(answer, min_score)
        rows.append((str(file), *in_words(answer)))
        if out:  # read once more: the stream holds pictures at the model's size, and no more of them than it must
            annotate(read_image(file), answer).save(out / f"{number:05d}-{file.stem}.jpg", quality=90)
            if isinstance(answer, ClassMap):
                records[-1]["mask"] = f"{number:05d}-{file.stem}.png"
                index_image(answer).save(out / records[-1]["mask"])
    if out:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (out / "predictions.jsonl").write_text(lines, encoding="utf-8")
    document = {"verb": "predict", "model": str(model), "predictions": records}
    told = {"detection": ["best score"], "segmentation": []}.get(predictor.card.task, ["probability"])
    columns = ["file", "answer", *told]
    table = make_table(columns, [row[: len(columns)] for row in rows], left=2)
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
        elif path.is_file() or archive_of(path):
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return files


def believed(answer: Answer, min_score: float) -> Answer:
    """The answer, of objects without those of a lower score."""
    if not isinstance(answer, Detections):
        return answer
    return replace(answer, objects=tuple(each for each in answer.objects if each.score >= min_score))


def in_words(answer: Answer) -> tuple[str, str]:
    """What is answered, and how probable it is; of objects how many of each class, and the surest one's score; of a map of
    classes the share of each, which has no probability."""
    if isinstance(answer, Detections):
        counts = Counter(each.label for each in answer.objects).most_common()
        best = f"{answer.objects[0].score:.1%}" if counts else ""
        return ", ".join(f"{count} {label}" for label, count in counts) or "none", best
    if isinstance(answer, ClassMap):
        return ", ".join(f"{label} {as_share(share)}" for label, share in answer.shares.items()), ""
    said, _ = said_and_unsaid(answer)
    return ", ".join(guess.label for guess in said) or "none", ", ".join(f"{guess.probability:.1%}" for guess in said)


def said_and_unsaid(answer: Classification | MultiLabel) -> tuple[tuple[Guess, ...], tuple[Guess, ...]]:
    """What the model answers, and what else it weighed, the most probable first."""
    if isinstance(answer, Classification):
        return answer.top[:1], answer.top[1:]
    return answer.present, answer.absent


def annotate(image: Image.Image, answer: Answer) -> Image.Image:
    """The picture with its objects or classes, or over bars with its best guesses; those that are the answer are darker."""
    if isinstance(answer, ClassMap):
        return draw_classes(image, answer)
    if isinstance(answer, Detections):
        return draw_detections(image, answer)
    picture = image.copy()
    picture.thumbnail((LARGEST_PICTURE_PX, LARGEST_PICTURE_PX))
    width = max(picture.width, 240)
    size = max(14, width // 32)
    font = ImageFont.load_default(size)
    line_height = round(size * 1.35)
    said, unsaid = said_and_unsaid(answer)
    guesses = (*said, *unsaid)[: max(3, len(said))]
    sheet = Image.new("RGB", (width, picture.height + line_height * len(guesses) + line_height // 2), "white")
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for row, guess in enumerate(guesses):
        top = picture.height + line_height // 4 + row * line_height
        draw.rectangle(
            (0, top, round(width * guess.probability), top + line_height - 2),
            fill="#93c5fd" if row < len(said) else "#e2e8f0",
        )
        draw.text((6, top), f"{guess.label}  {guess.probability:.1%}", fill="#0f172a", font=font)
    return sheet
