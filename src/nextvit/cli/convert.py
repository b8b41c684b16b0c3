"""nextvit convert"""

from pathlib import Path

from nextvit.cli.console import AsJson, make_table, show


def convert(dataset: Path, /, *, out: Path, as_json: AsJson = False) -> None:
    """Write a dataset with objects in another format anew in COCO's, which the other commands read.

    Read are Pascal VOC's and YOLO's formats, LabelMe's JSON, and CVAT's XML for images.

    Example: nextvit convert VOC2012 --out voc-coco

    Images are copied; boxes, outlines and masks are kept, and so is what else the files say, such as VOC's difficult
    and truncated: as fields of the annotations. Every file is used, or named as left out with the reason.

    Parameters
    ----------
    dataset: Path
        Folder with images and one of: Annotations/*.xml; labels/*.txt with data.yaml or classes.txt; a JSON for each
        image; annotations.xml.
    out: Path
        New folder for images/<split> and annotations/instances_<split>.json.
    """
    from nextvit.convert.convert import convert_to_coco

    found = convert_to_coco(dataset, out)
    splits = {
        split: {"images": len(images), "objects": sum(len(image.objects) for image in images)}
        for split, images in found.splits.items()
    }
    categories = found.dataset.categories
    show(
        as_json,
        make_table(["split", "images", "objects"], [(name, *map(str, each.values())) for name, each in splits.items()]),
        f"{len(categories)} classes, from {found.dataset.source_format}'s format",
        *found.remarks,
        f"written to {out}; look at it with: nextvit check {out}",
        document={
            "verb": "convert",
            "out": str(out),
            "from": found.dataset.source_format,
            "classes": [each["name"] for each in categories],
            "splits": splits,
            "remarks": list(found.remarks),
            "left_out": [{"reason": each.reason, "files": list(each.paths)} for each in found.left_out],
        },
    )
