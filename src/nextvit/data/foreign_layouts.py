"""Recognise the layouts of other tools that are not read here, and say what to do with them.

Their folders would otherwise be taken for class folders, and the advice would make it worse.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nextvit.data.split_names import find_split_folders
from nextvit.errors import InputError
from nextvit.image.reading import SUFFIXES

CONVERT = "make it COCO's with: nextvit convert {root} --out {name}-coco"
AS_COCO = "export it in COCO's format instead"
YOLO_ROW = r"\A\s*\d+(?:[ \t]+-?[\d.]+(?:e-?\d+)?){4,}[ \t]*(?:\r?\n|\Z)"
OWN_LIST = r"(?i)\A(?:path,labels?|path,split,labels?|labels?,path)\b"
BOX_LINE = r"\A\d+,\d+,\d+,\d+,"
LABEL_TABLE = r"(?i)\A\"?(?:image|file|img|path|id)[\w ]*\"?[,;].*(?:label|class|category|target)"
AS_LIST = "write a CSV list with the columns path,label,split (or path,labels,split with red|blue)"
DATUMARO = r'"dm_format_version"|"infos"|"categories"\s*:\s*\{'
MASKS = "and list the names of the classes in classes.txt, one a line, from value 0 on"
PEEKED_FILES, PEEKED_BYTES = 3, 4096
"""How much is read to recognise a format: the beginnings of the first files."""


@dataclass(frozen=True)
class ForeignLayout:
    """A layout that is not read."""

    name: str
    markers: tuple[str, ...]
    """Patterns of files or folders, in the dataset's folder or in that of a split, that must all be there."""
    advice: str
    content: str = ""
    """A regular expression that the beginning of one of the first files of the last marker matches."""
    certain: bool = False
    """Whether it is recognised even where there are class folders with images, too."""


LAYOUTS = (
    ForeignLayout("VOC's format", ("Annotations/*.xml",), CONVERT, certain=True),
    ForeignLayout("VOC's format", ("*/Annotations/*.xml",), CONVERT, certain=True),
    ForeignLayout("VOC's format", ("*/*/Annotations/*.xml",), CONVERT),
    ForeignLayout("VOC's format", ("*.xml",), CONVERT, r"<annotation\b", certain=True),
    ForeignLayout("YOLO's format", ("labels/**/*.txt",), CONVERT, certain=True),
    ForeignLayout("YOLO's format", ("obj.data",), CONVERT, certain=True),
    ForeignLayout("YOLO's format", ("*.txt",), CONVERT, YOLO_ROW, certain=True),
    ForeignLayout("YOLO's format", ("_darknet.labels", "*.txt"), CONVERT, certain=True),
    ForeignLayout("CVAT's format for images", ("*.xml",), CONVERT, r"<annotations\b"),
    ForeignLayout("LabelMe's format", ("*.json",), CONVERT, r'"shapes"|"imagePath"'),
    ForeignLayout(
        "COCO's format under a name of its own",
        ("*.json",),
        "move it to annotations/instances_train.json (or instances_val.json), and the images to images/train",
        r'"(?:images|categories|licenses)"\s*:\s*\[',
    ),
    ForeignLayout(
        "VOC's layout of masks",
        ("JPEGImages", "SegmentationClass"),
        "move the images to images/train and images/val, the masks of SegmentationClass likewise to masks/train and "
        f"masks/val, {MASKS}",
    ),
    ForeignLayout(
        "MMSegmentation's layout", ("img_dir", "ann_dir"), f"rename img_dir to images and ann_dir to masks, {MASKS}"
    ),
    ForeignLayout(
        "Cityscapes' layout",
        ("leftImg8bit", "gtFine"),
        "move leftImg8bit/<split> to images/<split> and the files *_labelTrainIds.png of gtFine to masks/<split>, "
        f"give both the same names, {MASKS}",
    ),
    ForeignLayout(
        "CamVid's layout",
        ("train", "trainannot"),
        "move the images of train to images/train, the masks of trainannot to masks/train, likewise those of val and "
        f"valannot, {MASKS}",
        certain=True,
    ),
    ForeignLayout(
        "Roboflow's layout of masks",
        ("*_mask.png",),
        f"move the images to images/<split>, the masks to masks/<split> without the ending _mask, {MASKS}",
    ),
    ForeignLayout("Datumaro's own format", ("annotations/*.json",), AS_COCO, DATUMARO),
    ForeignLayout("FiftyOne's own format", ("metadata.json", "samples.json"), "export it as COCODetectionDataset"),
    ForeignLayout("Supervisely's format", ("meta.json", "*/ann"), AS_COCO),
    ForeignLayout("Label Studio's own format", ("*.json",), AS_COCO, r'"completions"|"annotations"[\s\S]*"result"'),
    ForeignLayout("VGG Image Annotator's format", ("*.json",), AS_COCO, r'"_via_|"regions"'),
    ForeignLayout("CreateML's format", ("_annotations.createml.json",), AS_COCO),
    ForeignLayout("KITTI's layout", ("image_2", "label_2"), AS_COCO, certain=True),
    ForeignLayout("Open Images' layout", ("data", "metadata", "labels/*.csv"), AS_COCO, certain=True),
    ForeignLayout("DOTA's layout", ("labelTxt",), AS_COCO, certain=True),
    ForeignLayout("VisDrone's layout", ("annotations/*.txt",), AS_COCO, BOX_LINE, certain=True),
    ForeignLayout("VisDrone's layout", ("*/annotations/*.txt",), AS_COCO, BOX_LINE, certain=True),
    ForeignLayout("WIDER FACE's layout", ("wider_face_split",), AS_COCO, certain=True),
    ForeignLayout("TensorFlow's records", ("*.tfrecord*",), AS_COCO),
    ForeignLayout("a CSV table of boxes", ("_annotations.csv",), AS_COCO),
    ForeignLayout("Roboflow's table of several classes", ("_classes.csv",), AS_LIST),
    ForeignLayout("Hugging Face's imagefolder", ("metadata.csv",), AS_LIST),
    ForeignLayout("Hugging Face's imagefolder", ("metadata.jsonl",), AS_LIST),
    ForeignLayout("a CSV list", ("*.csv",), "pass that file itself", OWN_LIST),
    ForeignLayout("a table of labels", ("*.csv",), AS_LIST, LABEL_TABLE),
)
"""The first one that fits is named."""


def refuse_foreign_layout(root: Path) -> None:
    """Raise InputError for a folder in another tool's layout; the message names it and says what to do.

    Splits with class folders are left to be read, whatever tables lie beside them.
    """
    splits = find_split_folders(root)
    has_classes = any(has_class_folders(folder) for folder in splits.values())
    for layout in LAYOUTS:
        if has_classes and not layout.certain:
            continue
        for folder in (root, *splits.values()):
            if (found := find_markers(layout, folder)) is not None:
                advice = layout.advice.format(root=root, name=root.resolve().name)
                raise InputError(f"{root}: is in {layout.name} ({found.relative_to(root)}); {advice}")


def find_markers(layout: ForeignLayout, folder: Path) -> Path | None:
    """The file or folder by which a layout is recognised in a folder; None where it is another one."""
    for marker in layout.markers[:-1]:
        if next(find_pattern(folder, marker), None) is None:
            return None
    candidates = islice(find_pattern(folder, layout.markers[-1]), PEEKED_FILES)
    return next((path for path in candidates if not layout.content or begins_like(path, layout.content)), None)


def find_pattern(folder: Path, pattern: str) -> Iterator[Path]:
    """The paths of a glob pattern, without regard to case in suffixes; hidden ones are left out."""
    variants = dict.fromkeys(
        (pattern, pattern.replace(".xml", ".XML").replace(".json", ".JSON").replace(".txt", ".TXT"))
    )
    for variant in variants:
        yield from (path for path in folder.glob(variant) if not path.name.startswith("."))


def begins_like(path: Path, content: str) -> bool:
    """Whether the beginning of a file matches a regular expression."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(PEEKED_BYTES).decode("utf-8-sig", "replace")
    return re.search(content, beginning.replace("\0", "")) is not None  # UTF-16 has a null byte beside each letter


def has_class_folders(folder: Path) -> bool:
    """Whether a folder has folders that directly hold images."""
    folders = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return any(path.suffix.lower() in SUFFIXES for each in folders for path in each.iterdir())
