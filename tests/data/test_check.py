"""What `nextvit check` finds."""

import shutil
from pathlib import Path

from nextvit.data.check import check_dataset
from nextvit.data.folder import read_dataset
from tests.conftest import draw_dataset


def messages(root: Path, severity: str) -> list[str]:
    return [finding.message for finding in check_dataset(read_dataset(root)) if finding.severity == severity]


def test_a_good_dataset_has_no_findings(tmp_path: Path):
    assert check_dataset(read_dataset(draw_dataset(tmp_path, train=10))) == []


def test_errors_and_warnings_name_the_files(tmp_path: Path):
    root = draw_dataset(tmp_path, train=10)
    (root / "train" / "red" / "broken.png").write_bytes(b"no image")
    shutil.copy(root / "train" / "red" / "0.png", root / "val" / "red" / "leak.png")
    shutil.copy(root / "train" / "red" / "1.png", root / "train" / "blue" / "other.png")
    shutil.copy(root / "train" / "red" / "2.png", root / "train" / "red" / "twice.png")
    unreadable, *copies = sorted(messages(root, "error"))
    assert "broken.png" in unreadable and unreadable.startswith("cannot be read")
    assert "leak.png" in copies[1] and "in train and in val" in copies[1]
    assert "other.png" in copies[0] and "has the classes blue, red" in copies[0]
    assert any("same picture 2 times" in message for message in messages(root, "warning"))


def test_few_uneven_and_tiny_images_are_warned_about(tmp_path: Path):
    root = draw_dataset(tmp_path, train=3, size=20)
    shutil.rmtree(root / "val" / "red")
    warnings = " / ".join(messages(root, "warning"))
    assert "class 'blue' has only 3 training images" in warnings
    assert "class 'red' has no validation images" in warnings
    assert "have a side below 32 px" in warnings
    assert messages(root, "error") == []
