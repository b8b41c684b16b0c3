"""Suggestions in error messages."""

from pathlib import Path

import pytest

from nextvit.errors import suggest_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    (tmp_path / "photos" / "labels.csv").touch()
    (tmp_path / "model.safetensors").touch()
    return tmp_path


def test_the_nearest_sibling_of_a_missing_path_is_suggested(folder: Path):
    assert suggest_path(folder / "photo") == f"; did you mean {folder / 'photos'}?"
    assert suggest_path(folder / "model.safetensor") == f"; did you mean {folder / 'model.safetensors'}?"
    assert suggest_path(folder / "photos" / "lables.csv") == f"; did you mean {folder / 'photos' / 'labels.csv'}?"
    assert suggest_path(folder / "Photos") == f"; did you mean {folder / 'photos'}?" or (folder / "Photos").exists()


def test_a_mistyped_parent_is_corrected_where_the_path_exists_below_it(folder: Path):
    assert suggest_path(folder / "fotos" / "labels.csv") == f"; did you mean {folder / 'photos' / 'labels.csv'}?"
    assert suggest_path(folder / "fotos" / "trian") == f"; did you mean {folder / 'photos' / 'train'}?"
    # Nothing near below the corrected parent: the parent itself is still of use.
    assert suggest_path(folder / "fotos" / "weather") == f"; did you mean {folder / 'photos'}?"


def test_what_is_not_near_is_not_suggested(folder: Path):
    assert suggest_path(folder / "weather") == ""
    assert suggest_path(folder / "weather" / "labels.csv") == ""
    assert suggest_path(folder / "model.safetensors" / "weights") == ""


def test_a_path_that_exists_needs_no_suggestion(folder: Path):
    assert suggest_path(folder / "photos") == suggest_path(folder / "model.safetensors") == ""


def test_a_relative_path_gets_a_relative_suggestion(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert suggest_path(Path("photo")) == "; did you mean photos?"
    assert suggest_path(Path("photos/trian")) == f"; did you mean {Path('photos/train')}?"
    assert suggest_path(Path("fotos/trian")) == f"; did you mean {Path('photos/train')}?"


def test_only_a_limited_number_of_siblings_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nextvit.errors.MAX_SIBLINGS", 0)
    assert suggest_path(folder / "photo") == ""


@pytest.mark.parametrize("name", ["", ".", "/", "..", "a\nb", "a" * 5000, "\0", "\udcff"])
def test_no_path_makes_it_fail(folder: Path, name: str):
    assert isinstance(suggest_path(folder / name), str)
    assert isinstance(suggest_path(Path(name)), str)


def test_the_suggestion_stays_on_one_line(folder: Path):
    (folder / "two\nlines").touch()
    assert suggest_path(folder / "two\nline") == ""


def test_a_file_that_exists_needs_no_suggestion(folder: Path):
    assert suggest_path(folder / "photos") == suggest_path(folder / "photos" / "labels.csv") == ""
