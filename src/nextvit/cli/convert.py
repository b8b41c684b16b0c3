"""nextvit convert"""

from pathlib import Path

from nextvit.cli.console import AsJson, make_table, show


def convert(dataset: Path, /, *, out: Path, as_json: AsJson = False) -> None:
    """Write a dataset with objects in VOC's or YOLO's format anew in COCO's, which the other commands read.

    Example: nextvit convert VOC2012 --out voc-coco

    Images are copied, boxes, outlines and masks are kept, and so is what else the files say, such as VOC's difficult
    and
    truncated: as fields of the annotations.

    Parameters
    ----------
    dataset: Path
        Folder with Annotations/*.xml, or with labels/*.txt and data.yaml or classes.txt.
    out: Path
        New folder for images/<split> and annotations/instances_<split>.json.
    """
    from nextvit.convert.convert import convert_to_coco

    found = convert_to_coco(dataset, out)
    splits = {
        split: {"images": len(images), "objects": sum(len(image.objects) for image in images)}
        for split, images in found.splits.items()
    }
    show(
        as_json,
        make_table(["split", "images", "objects"], [(name, *map(str, each.values())) for name, each in splits.items()]),
        f"{len(found.categories)} classes, from {found.source_format}'s format",
        *found.remarks,
        f"written to {out}; look at it with: nextvit check {out}",
        document={
            "verb": "convert",
            "out": str(out),
            "from": found.source_format,
            "classes": [each["name"] for each in found.categories],
            "splits": splits,
            "remarks": list(found.remarks),
        },
    )
