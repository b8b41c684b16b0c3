"""What a bundle says of itself, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextvit.bundle.golden import read_golden
from nextvit.bundle.manifest import (
    checksum_of_values,
    file_stem,
    is_bundle,
    read_bundle,
    read_manifest,
    seal,
    write_manifest,
)
from nextvit.errors import InputError
from nextvit.runtime.predictor import load_bundle
from nextvit.runtime.session import import_session_class, open_session


def test_manifest_survives_the_disk(bundle: Path):
    manifest = read_bundle(bundle)
    write_manifest(bundle, manifest)
    assert read_bundle(bundle) == manifest
    assert manifest.card.input.image_size == (32, 48)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_one_changed_byte_is_refused_by_name(bundle: Path, name: str):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: damaged or changed"):
        load_bundle(bundle)


def test_a_missing_file_is_named(bundle: Path):
    (bundle / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"incomplete, model\.onnx is missing"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "bundle format 99, this version reads 1 to 2; update nextvit"),
        ({"becked": "onnx"}, "unknown field 'becked'; did you mean 'backend'"),
        ({"card": {}}, "lacks 'task'"),
        ({"card": 3}, "damaged"),
        ({"model_file": 3}, "model_file cannot be 3"),
        ({"precision": "fp7"}, "precision cannot be 'fp7'"),
        ({"sha256": ["model.onnx"]}, "sha256 cannot be"),
        ({"verification": None}, "verification cannot be None"),
        ({"verification": {"golden_max_errors": "0.1"}}, r"verification: damaged .golden_max_errors cannot be '0.1'"),
        ({"verification": {"golden_max_errors": [None]}}, "golden_max_errors cannot be"),
        ({"verification": {"environment": ["cpu"]}}, "environment cannot be"),
        ({"verification": {"runtime": 3}}, "runtime cannot be 3"),
        ({"verification": {"images": 3, "max_error": "small"}}, "max_error cannot be 'small'"),
        ({"verification": {"max_drop": "1"}}, "max_drop cannot be '1'"),
        ({"verification": {"after": []}}, "after cannot be"),
        ({"model_file": "../model.onnx"}, "must stay inside the bundle, got '../model.onnx'"),
        ({"sha256": {"golden.npz": ""}}, "has no checksum for model.onnx"),
        ({"model_file": "./model.onnx"}, "must stay inside the bundle, got './model.onnx'"),
        ({"sha256": {"golden.npz": "", "model.onnx": "", "a//b": ""}}, "must stay inside the bundle, got 'a//b'"),
        ({"sha256": {"golden.npz": 3}}, "sha256 cannot be"),
        ({"outputs": {"logits": None}}, "outputs cannot be"),
        ({"verification": {"max_error": 10**30}}, "64 bits"),
        ({"format": "2"}, "bundle format 2, this version"),
        ({"format": [1] * 10**5}, "bundle format"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(bundle: Path, change: dict[str, object], message: str):
    """Even one whose own checksum is right."""
    values = {**json.loads((bundle / "manifest.json").read_text()), **change}
    (bundle / "manifest.json").write_bytes(seal(values))
    with pytest.raises(InputError, match=message):
        read_manifest(bundle)


def test_a_changed_manifest_is_refused_by_name(bundle: Path):
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace('"3 blue"', '"3 blur"'))
    with pytest.raises(InputError, match=r"manifest\.json: damaged or changed"):
        read_manifest(bundle)


def test_any_changed_byte_of_the_manifest_is_refused(bundle: Path):
    """Also one that changes no value: a space, an escape, the case of a checksum, a line end."""
    path = bundle / "manifest.json"
    content = path.read_bytes()
    changed = [
        content + b"\n",
        content[:-1],
        b" " + content,
        content.replace(b"\n", b"\r\n"),
        content.replace(b"3 blue", b"\\u0033 blue"),
    ]
    changed += [bytes((*content[:at], content[at] ^ 1, *content[at + 1 :])) for at in range(0, len(content), 7)]
    checksum = json.loads(content)["manifest_sha256"].encode()
    changed += [content.replace(checksum, other) for other in (checksum.upper(), b"0" * 64, checksum + b"0", b"")]
    changed += [content.replace(b'"format": 2', b'"format": 1')]
    for each in changed:
        assert each != content
        path.write_bytes(each)
        with pytest.raises(InputError) as error:
            read_manifest(bundle)
        assert len(str(error.value).splitlines()) == 1
    path.write_bytes(content)
    read_manifest(bundle)


@pytest.mark.parametrize("without", ["manifest_sha256", "format"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_manifest_without_its_checksum_is_refused(bundle: Path, without: str, version: int):
    values = json.loads((bundle / "manifest.json").read_text())
    values |= {"format": version}
    del values[without]
    (bundle / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"manifest\.json: damaged or changed|bundle format None"):
        read_manifest(bundle)


def test_a_manifest_of_the_first_format_has_a_checksum_of_its_values(bundle: Path):
    values = json.loads((bundle / "manifest.json").read_text())
    del values["manifest_sha256"]
    values["format"] = 1
    (bundle / "manifest.json").write_text(json.dumps({**values, "manifest_sha256": checksum_of_values(values)}))
    assert read_manifest(bundle).format == 1
    write_manifest(bundle, read_manifest(bundle))
    assert read_manifest(bundle).format == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', "3", "null", "[" * 5000, '{"a": 1, "a": 2}', "\x00", '{"format": 2}']
)
def test_a_damaged_manifest_is_refused(bundle: Path, text: str):
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: ") as caught:
        read_manifest(bundle)
    assert "\n" not in str(caught.value)


def test_an_unknown_backend_is_named(bundle: Path):
    manifest = replace(read_bundle(bundle), backend="onxn")
    with pytest.raises(InputError, match=r"colours\.nextvit: unknown backend 'onxn'; did you mean 'onnx'"):
        open_session(bundle, manifest)
    with pytest.raises(InputError, match=r"^unknown backend 'onxn'; did you mean 'onnx'"):
        import_session_class("onxn")


def test_golden_examples_come_back(bundle: Path):
    [golden] = read_golden(bundle)
    pixels, outputs = golden.images, golden.outputs
    assert pixels.shape == (3, 32, 48, 3) and pixels.dtype == np.uint8
    assert outputs["logits"].shape == (3, 3)
    (bundle / "golden.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"golden\.npz: damaged"):
        read_golden(bundle)


def test_what_is_no_bundle_is_told(tmp_path: Path):
    assert not is_bundle(tmp_path)
    with pytest.raises(InputError, match="not a bundle, it has no manifest"):
        read_bundle(tmp_path)


def test_file_names_are_made_safe():
    assert file_stem("my run: 3/4") == "my-run-3-4"
    assert file_stem("...") == "model"
