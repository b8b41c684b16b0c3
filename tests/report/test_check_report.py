"""The page of `nextvit check`."""

import re
import shutil
from pathlib import Path

from nextvit.data.check import check_survey
from nextvit.data.findings import in_order
from nextvit.data.folder import read_with_faults
from nextvit.data.survey import survey_pictures
from nextvit.report.check_report import FINDINGS_SHOWN, write_check_report
from tests.conftest import draw_dataset


def page_of(root: Path) -> str:
    dataset, faults = read_with_faults(root)
    survey = survey_pictures(dataset)
    path = root.parent / "check.html"
    write_check_report(path, survey, in_order([*faults, *check_survey(survey)]))
    return path.read_text()


def test_a_good_dataset_is_called_fit_for_training(colours: Path, tmp_path: Path):
    page = page_of(draw_dataset(tmp_path / "good", train=10))
    assert "this dataset is fit for training" in page
    assert "10 PNG" not in page and "42 PNG" in page
    assert "<img" not in page


def test_each_kind_has_a_section_with_its_pictures(colours: Path):
    shutil.copy(colours / "train" / "red" / "0.png", colours / "val" / "red" / "leak.png")
    (colours / "train" / "red" / "<b>.png").write_bytes(b"no image")
    (colours / "train" / "yellow").mkdir()
    page = page_of(colours)
    linked, anchors = (set(re.findall(pattern, page)) for pattern in (r'href="#(\w+)"', r'<a id="(\w+)"'))
    assert linked == anchors == {"unreadable", "duplicate_across_splits", "empty_class", "tiny_class"}
    assert page.count("data:image/jpeg;base64") == 2
    assert "&lt;b&gt;.png: not an image" in page and "<b>.png" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page


def test_of_many_findings_some_are_shown_and_the_rest_counted(colours: Path):
    for index in range(8):
        for copy in range(2):
            shutil.copy(
                colours / "train" / "red" / f"{index}.png", colours / "val" / "red" / f"again{index}-{copy}.png"
            )
            shutil.copy(colours / "train" / "blue" / f"{index}.png", colours / "val" / "blue" / f"b{index}-{copy}.png")
    page = page_of(colours)
    assert f"... and {16 - FINDINGS_SHOWN} more of this kind" in page
    assert page.count("data:image/jpeg;base64") == 3 * FINDINGS_SHOWN


def test_a_dataset_of_nothing_readable_has_a_page(colours: Path):
    for path in colours.rglob("*.png"):
        path.write_bytes(b"")
    assert "No picture could be read." in page_of(colours)
