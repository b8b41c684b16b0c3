"""Layouts of other tools: each is named, and the advice leads to data that are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset, read_split
from tests.conftest import draw_dataset
from tests.data.masks_by_hand import draw_masked

LABELME = {"version": "5.4.1", "flags": {}, "shapes": [], "imagePath": "a.jpg"}
CVAT = '<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="a.jpg"/></annotations>'
VOC = "<annotation><filename>a.jpg</filename></annotation>"
DATUMARO = {"info": {}, "categories": {"label": {"labels": []}}, "items": []}


def write(*files: str, **contents: object) -> Callable[[Path], None]:
    """Images of these names, and text files: `train__a_json` is train/a.json."""

    def make(root: Path) -> None:
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / name)
        for key, content in contents.items():
            name = key.replace("__", "/").replace("_X", ".")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str | bytes) else json.dumps(content)
            (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return make


CASES: list[tuple[Callable[[Path], None], str]] = [
    (write("train/a.jpg", train__a_Xjson=LABELME), r"LabelMe's format \(train/a\.json\); .* nextvit convert"),
    (write("a.jpg", a_XJSON=LABELME), r"LabelMe's format \(a\.JSON\)"),
    (write("Train/a.jpg", Train__a_Xjson=json.dumps(LABELME).encode("utf-16")), r"LabelMe's format"),
    (write("images/a.jpg", annotations_Xxml=CVAT), r"CVAT's format for images \(annotations\.xml\); .* convert"),
    (write("images/a.jpg", Annotations__a_Xxml=VOC), r"VOC's format \(Annotations/a\.xml\); .* nextvit convert"),
    (write("train/a.jpg", train__a_XXML=VOC), r"VOC's format \(train/a\.XML\)"),
    (write("Valid/a.jpg", Valid__a_Xxml=VOC), r"VOC's format"),
    (write("images/a.jpg", labels__train__a_Xtxt="0 .5 .5 1 1"), r"YOLO's format .* nextvit convert"),
    (write("train/images/a.jpg", train__labels__a_Xtxt="0 .5 .5 1 1"), r"YOLO's format .* nextvit convert"),
    (write("images/a.jpg", result_Xjson={"images": [], "categories": []}), r"COCO's format under .* \(result\.json\)"),
    (write("train/a.jpg", train__annotations_Xjson={"info": {}, "licenses": [], "images": []}), r"COCO's format under"),
    (write("VOC2007/JPEGImages/a.jpg", VOC2007__Annotations__a_Xxml=VOC), r"VOC's format .* nextvit convert"),
    (write("VOCdevkit/VOC2007/JPEGImages/a.jpg", VOCdevkit__VOC2007__Annotations__a_Xxml=VOC), r"VOC's format"),
    (write("a.jpg", a_Xtxt="0 .5 .5 1 1", classes_Xtxt="cat"), r"YOLO's format \(a\.txt\); .* nextvit convert"),
    (write("train/a.jpg", train__a_Xtxt="\n1 0.5 0.5 1e-1 1\r\n"), r"YOLO's format \(train/a\.txt\)"),
    (write("obj_train_data/a.jpg", obj_Xdata="train = data/train.txt"), r"YOLO's format .* nextvit convert"),
    (write("JPEGImages/a.jpg", "SegmentationClass/a.png"), r"VOC's layout of masks .* masks/train .* classes\.txt"),
    (write("img_dir/train/a.jpg", "ann_dir/train/a.png"), r"MMSegmentation's layout .* rename img_dir to images and"),
    (write("leftImg8bit/train/x/a.png", "gtFine/train/x/a.png"), r"Cityscapes' layout .*_labelTrainIds"),
    (write("train/a.jpg", "train/a_mask.png"), r"Roboflow's layout of masks .* without the ending _mask"),
    (
        write("data/a.jpg", labels_Xjson={"classes": ["a"], "labels": {}}),
        r"in FiftyOne, export .* COCODetectionDataset",
    ),
    (write("data/a.jpg", metadata_Xjson={}, samples_Xjson={}), r"FiftyOne's own format .* COCODetectionDataset"),
    (write("images/a.jpg", annotations__default_Xjson=DATUMARO), r"Datumaro's own format .* COCO's format instead"),
    (write("ds/img/a.jpg", "ds/ann/b.png", meta_Xjson={}), r"Supervisely's format"),
    (write("images/a.jpg", via_Xjson={"a.jpg": {"filename": "a.jpg", "regions": []}}), r"VGG Image Annotator's"),
    (write("images/a.jpg", all_Xjson=[{"id": 1, "annotations": [{"result": []}]}]), r"Label Studio's own format"),
    (write("train/a.jpg", train___annotations_Xcreateml_Xjson=[]), r"CreateML's format"),
    (write("image_2/a.png", label_2__a_Xtxt="Car 0 0 0"), r"KITTI's layout"),
    (write("train/a.jpg", train___classes_Xcsv="filename,cat,dog"), r"Roboflow's table .* path,label,split"),
    (write("train/a.jpg", train__metadata_Xcsv="file_name,label"), r"Hugging Face's imagefolder .* path,label,split"),
    (write("train/a.jpg", train___annotations_Xcsv="filename,class"), r"a CSV table of boxes"),
    (write("training/image_2/a.png", training__label_2__a_Xtxt="Car 0 0 0"), r"KITTI's layout"),
    (write("train/data/a.jpg", train__labels__detections_Xcsv="I,L", train__metadata__c_Xcsv="/m/1,a"), "Open Images'"),
    (write("images/a.png", labelTxt__a_Xtxt="1 2 3 4 5 6 7 8 plane 0"), r"DOTA's layout"),
    (write("Vis-train/images/a.jpg", **{"Vis-train__annotations__a_Xtxt": "1,2,3,4,1,0,0,0"}), r"VisDrone's layout"),
    (write("WIDER_train/images/0/a.jpg", wider_face_split__a_Xtxt="a"), r"WIDER FACE's layout"),
    (write("train/a.png", "trainannot/a.png"), r"CamVid's layout .* masks/train.* classes\.txt"),
    (write("images/a.jpg", all_Xcsv="path,label,split\na,cat,"), r"a CSV list \(all\.csv\); pass that file itself"),
    (write("train/a.jpg", train_Xcsv="image_id,label\na,cat"), r"a table of labels \(train\.csv\); write a CSV list"),
]


@pytest.mark.parametrize(("make", "words"), CASES)
def test_layouts_of_other_tools_are_named(tmp_path: Path, make: Callable[[Path], None], words: str):
    make(tmp_path)
    for read in (read_dataset, lambda root: read_split(root, "val")):
        with pytest.raises(InputError, match=words) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value) and "move the class folders" not in str(caught.value)


def test_class_folders_are_read_whatever_tables_lie_beside_them(tmp_path: Path):
    draw_dataset(tmp_path, train=4, val=2, size=8)
    write(metadata_Xcsv="a,b", annotations_Xxml="<notes/>", train__a_Xjson=LABELME, train___classes_Xcsv="")(tmp_path)
    assert len(read_dataset(tmp_path).split("train")) == 12


def test_the_advice_for_mmsegmentation_leads_to_data_that_are_read(tmp_path: Path):
    root = draw_masked(tmp_path, train=4, val=2)
    shutil.move(root / "images", root / "img_dir")
    shutil.move(root / "masks", root / "ann_dir")
    with pytest.raises(InputError, match=r"rename img_dir to images and ann_dir to masks"):
        read_dataset(root)
    (root / "img_dir").rename(root / "images")
    (root / "ann_dir").rename(root / "masks")
    assert len(read_dataset(root).split("train")) == 4
