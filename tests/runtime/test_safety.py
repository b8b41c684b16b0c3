"""Bundles from strangers: whatever lies in the folder, the answer is one clear line, and no other file is read."""

import json
import os
import pickle
import random
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nextvit
from nextvit.bundle.golden import Golden, read_golden, write_golden
from nextvit.bundle.manifest import read_bundle, seal
from nextvit.errors import InputError, MissingDependency
from nextvit.proof.golden import verify_bundle
from nextvit.runtime.onnx_contents import check_self_contained
from tests.runtime.conftest import sealed, write_colour_bundle
from tests.runtime.onnx_by_hand import FLOAT, attribute, colour_model, external_tensor, field, node, tensor

pytest.importorskip("onnxruntime")
TENTHS = np.full(3, 0.1, np.float32)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("sprung",))


def test_a_pickle_in_the_golden_examples_is_not_opened(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    trap = np.empty(1, object)
    trap[0] = Trap()
    np.savez(bundle / "golden.npz", **{"0.images": trap})
    with pytest.raises(InputError, match=r"golden\.npz: damaged \(Object arrays cannot be loaded"):
        verify_bundle(sealed(bundle))
    (bundle / "golden.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"golden\.npz: damaged \(File is not a zip file"):
        verify_bundle(sealed(bundle))
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap()))
    assert (tmp_path / "sprung").exists()  # the trap works


def test_golden_examples_that_would_fill_the_memory_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    with zipfile.ZipFile(bundle / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.images.npy", bytes(1_000_000))
    assert (bundle / "golden.npz").stat().st_size < 2_000
    monkeypatch.setattr("nextvit.bundle.golden.MAX_GOLDEN_BYTES", 999_999)
    with pytest.raises(InputError, match="unpacks to 1,000,000 bytes, more than 999,999"):
        verify_bundle(sealed(bundle))


def test_a_header_that_claims_more_than_there_is_is_refused(bundle: Path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000000,)}"
    with zipfile.ZipFile(bundle / "golden.npz", "w") as archive:
        archive.writestr("0.images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InputError, match=r"golden\.npz: damaged"):
        verify_bundle(sealed(bundle))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"0.images": np.zeros((1, 32, 48, 3))},
        {"0.images": np.zeros((1, 3, 32, 48), np.uint8)},
        {"0.images": np.zeros((0, 32, 48, 3), np.uint8)},
        {"0.images": np.zeros((2, 32, 48, 3), np.uint8), "0.output.logits": np.zeros((1, 3), np.float32)},
        {"0.images": np.zeros((1, 32, 48, 3), np.uint8), "0.output.logits": np.array(["text"])},
        {"1.images": np.zeros((1, 32, 48, 3), np.uint8)},
        {"0.images": np.zeros((1, 32, 48, 3), np.uint8), "0.output.logits": np.float32(1)},
        {"0.images": np.array(3, np.uint8)},
        {"0.images": np.zeros((1, 32, 48, 3), np.uint8), "0.sizes": np.zeros((1, 2), np.int64)},
        {"0.images": np.zeros((1, 32, 48, 3), np.uint8), "0.sizes": np.full((1, 2), -1, np.int64)},
        {"0.images": np.zeros((1, 32, 48, 3), np.uint8), "0.sizes": np.full((1, 2), 10**9, np.int64)},
        {"0.images": np.zeros(1, "V8")},
    ],
)
def test_golden_examples_of_other_kinds_are_refused(bundle: Path, arrays: dict[str, np.ndarray]):
    np.savez(bundle / "golden.npz", **arrays)
    with pytest.raises(InputError, match=r"golden\.npz: damaged"):
        read_golden(bundle)


def test_damage_anywhere_in_the_golden_examples_is_refused_or_seen(bundle: Path):
    """Each byte of a small file in turn: never another exception than ours."""
    write_golden(bundle, [Golden(np.zeros((1, 1, 1, 3), np.uint8), {"logits": np.zeros((1, 3), np.float32)})])
    content = (bundle / "golden.npz").read_bytes()
    refused = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        (bundle / "golden.npz").write_bytes(changed)
        try:
            read_golden(bundle)
        except InputError:
            refused += 1
    assert refused > len(content) // 2
    for length in range(len(content)):
        (bundle / "golden.npz").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_golden(bundle)


def test_a_manifest_without_end_is_refused(bundle: Path):
    (bundle / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"manifest\.json: nested"):
        read_bundle(bundle)


def test_files_that_do_not_belong_to_a_bundle_are_named(bundle: Path):
    (bundle / ".DS_Store").write_bytes(b"left by a desktop")
    (bundle / "manifest.sig").write_bytes(b"judged by verify alone")
    read_bundle(bundle)
    (bundle / "more").mkdir()
    (bundle / "more" / "weights.bin").write_bytes(b"planted")
    with pytest.raises(InputError, match=r"more/weights\.bin does not belong to the bundle"):
        read_bundle(bundle)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_counts_as_the_content_that_it_leads_to(bundle: Path, tmp_path: Path):
    """As in a cache that keeps every file once; the checksum says whether it is the right one."""
    shutil.move(bundle / "model.onnx", tmp_path / "kept-elsewhere")
    (bundle / "model.onnx").symlink_to(tmp_path / "kept-elsewhere")
    assert nextvit.load(bundle)([np.zeros((9, 9, 3), np.uint8)])
    (bundle / "planted").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InputError, match="planted does not belong to the bundle"):
        read_bundle(bundle)
    (bundle / "planted").unlink()
    (tmp_path / "kept-elsewhere").write_bytes(colour_model(tenth=tensor("tenth", -TENTHS)))
    with pytest.raises(InputError, match=r"model\.onnx: damaged or changed"):
        read_bundle(bundle)


def external_models(location: str) -> dict[str, bytes]:
    """The same reach for another file, from every place of an ONNX file that may hold a tensor."""
    planted = external_tensor("tenth", location, 3)
    inner = field(1, node("Constant", [], "x", value=planted)) + field(2, "inner")
    branch = field(1, "then_branch") + field(6, inner) + field(20, 5)
    functions = field(25, field(1, "own") + field(7, node("Constant", [], "x", value=planted)))
    return {
        "initializer": colour_model(tenth=planted),
        "constant": colour_model(tenth=tensor("unused", TENTHS), nodes=(node("Constant", [], "tenth", value=planted),)),
        "subgraph": colour_model(nodes=(field(2, "y") + field(4, "If") + field(5, branch),)),
        "sparse": colour_model() + field(7, field(15, field(1, planted))),
        "function": colour_model() + functions,
        "second graph, which protobuf merges into the first": colour_model() + field(7, field(5, planted)),
    }


@pytest.mark.parametrize("location", ["inside.bin", "../outside.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("place", external_models(""))
def test_no_tensor_may_lie_in_another_file(tmp_path: Path, location: str, place: str):
    bundle = write_colour_bundle(tmp_path / "planted.nextvit", model=external_models(location)[place])
    for folder in (tmp_path, bundle):
        TENTHS.tofile(folder / "outside.bin" if folder == tmp_path else folder / "inside.bin")
    with pytest.raises(InputError, match=r"model\.onnx: a tensor is stored outside of the file"):
        nextvit.load(sealed(bundle))


def test_the_planted_models_are_real(tmp_path: Path):
    """ONNX Runtime itself does read the file that lies beside the model, so what is refused above would have worked."""
    import onnxruntime

    TENTHS.tofile(tmp_path / "inside.bin")
    (tmp_path / "model.onnx").write_bytes(external_models("inside.bin")["initializer"])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    pixels = np.full((1, 32, 48, 3), 200, np.uint8)
    assert session.run(["logits"], {"images": pixels})[0] == pytest.approx(20)


@pytest.mark.parametrize("tag", [b"\xea\x80\x80\x80\x10", b"\xf0\x80\x80\x80\x10"])
def test_a_tag_of_more_than_32_bits_hides_no_external_data(tmp_path: Path, tag: bytes):
    """protobuf's reader in C++ leaves out the higher bits, so that it sees the fields 13 and 14."""
    planted = external_tensor("tenth", "inside.bin", 3).replace(b"\x6a", b"\xea\x80\x80\x80\x10")
    planted = planted.replace(b"\x70\x01", b"\xf0\x80\x80\x80\x10\x01")
    assert tag in planted and b"\x6a" not in planted and b"\x70\x01" not in planted
    bundle = write_colour_bundle(tmp_path / "planted.nextvit", model=colour_model(tenth=planted))
    TENTHS.tofile(bundle / "inside.bin")
    with pytest.raises(InputError, match=r"model\.onnx: damaged, no ONNX file"):
        nextvit.load(sealed(bundle))


def test_a_field_of_number_zero_is_refused(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(colour_model() + b"\x00\x00")
    with pytest.raises(InputError, match="damaged, no ONNX file"):
        check_self_contained(tmp_path / "model.onnx")


def test_compiled_engines_and_other_formats_are_refused(tmp_path: Path):
    engine = node("EPContext", ["images"], "y", embed_mode=0)
    with pytest.raises(InputError, match=r"names a compiled engine"):
        nextvit.load(write_colour_bundle(tmp_path / "engine.nextvit", model=colour_model(nodes=(engine,))))
    (tmp_path / "model.ort").write_bytes(colour_model())
    with pytest.raises(InputError, match=r"a bundle's model for ONNX Runtime is a \.onnx file"):
        check_self_contained(tmp_path / "model.ort")


def test_a_damaged_model_is_refused_wherever_the_damage_is(tmp_path: Path):
    """Each byte in turn through the reader of ONNX files; nothing but our own exception may leave it."""
    content, file = colour_model(), tmp_path / "model.onnx"
    for position in range(len(content)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(content)
            changed[position] ^= mask
            file.write_bytes(changed)
            try:
                check_self_contained(file)
            except InputError as error:
                assert "damaged" in str(error) or "outside" in str(error)
    file.write_bytes(content[:-1])
    with pytest.raises(InputError, match="damaged, no ONNX file"):
        check_self_contained(file)
    file.write_bytes(b"\x0b\x0c")  # a group, which ONNX does not have
    with pytest.raises(InputError, match="damaged, no ONNX file"):
        check_self_contained(file)
    file.write_bytes(b"\xff" * 100)  # a number without end
    with pytest.raises(InputError, match="damaged, no ONNX file"):
        check_self_contained(file)


def test_nesting_without_end_costs_no_stack(tmp_path: Path):
    inner = b""
    for _ in range(3_000):
        inner = field(1, field(5, field(1, "g") + field(6, inner) + field(20, 5)))
    (tmp_path / "model.onnx").write_bytes(field(7, inner))
    check_self_contained(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "model",
    {
        "empty nodes": field(7, field(1, b"") * 1_000_000),
        "empty tensors": field(7, field(5, b"") * 1_000_000),
        "empty attributes": field(7, field(1, field(5, b"") * 1_000_000)),
        "empty functions": field(25, b"") * 1_000_000,
        "numbers": field(7, field(5, field(4, 1) * 1_500_000)),
        "shapes": field(7, field(11, field(2, field(1, field(2, field(1, b"") * 10_000_000))))),
        "a long name": field(7, field(2, "x" * 20_000_000)),
        "metadata": field(14, field(1, "a") + field(2, "x" * 20_000_000)),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_file_of_more_parts_than_ours_have_is_refused_before_a_runtime_sees_it(
    model: tuple[str, bytes], tmp_path: Path
):
    (tmp_path / "model.onnx").write_bytes(colour_model() + model[1])
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"more than .*; refused"):
        check_self_contained(tmp_path / "model.onnx")
    assert time.perf_counter() - started < 5


def test_weights_of_any_size_are_taken(tmp_path: Path):
    tenth = tensor("tenth", np.zeros(10_000_000, np.float32))
    (tmp_path / "model.onnx").write_bytes(colour_model(tenth=tenth))
    assert check_self_contained(tmp_path / "model.onnx")


def test_what_is_no_regular_file_is_not_read(bundle: Path):
    for name in ("model.onnx", "golden.npz", "manifest.json"):
        content = (bundle / name).read_bytes()
        for target in ("/dev/zero", "/dev/stdin"):
            (bundle / name).unlink()
            (bundle / name).symlink_to(target)
            with pytest.raises(InputError) as error:
                nextvit.load(bundle)
            assert len(str(error.value).splitlines()) == 1
        (bundle / name).unlink()
        os.mkfifo(bundle / name)
        with pytest.raises(InputError):
            nextvit.load(bundle)
        (bundle / name).unlink()
        (bundle / name).write_bytes(content)
    assert nextvit.load(bundle)


@pytest.mark.parametrize(
    "model",
    [
        colour_model(size=(32, 32)),
        colour_model(size=("height", "width")),
        colour_model().replace(b"images", b"pixels"),
        colour_model().replace(b"logits", b"scores"),
    ],
)
def test_a_model_that_does_not_fit_its_manifest_is_refused(tmp_path: Path, model: bytes):
    with pytest.raises(InputError, match=r"model\.onnx: does not fit its manifest") as caught:
        nextvit.load(write_colour_bundle(tmp_path / "other.nextvit", model=model))
    assert "\n" not in str(caught.value)


def test_a_card_of_other_classes_is_refused(bundle: Path):
    from dataclasses import replace

    card = replace(read_bundle(bundle).card, classes=("a", "b"))
    with pytest.raises(InputError, match=r"the model puts out float32 \(1, 3\) for 1 images; its card has 2 classes"):
        nextvit.load(sealed(bundle, card=card))([np.zeros((9, 9, 3), np.uint8)])


@pytest.mark.parametrize("errors", [None, []])
def test_an_int8_bundle_without_its_bounds_is_refused(bundle: Path, errors: list[float] | None):
    verification = {} if errors is None else {"golden_max_errors": errors}
    with pytest.raises(
        InputError, match=r"the manifest is damaged .verification: golden_max_errors has 0 of its sizes"
    ):
        verify_bundle(sealed(bundle, precision="int8", verification=verification))
    verify_bundle(sealed(bundle, verification={"golden_max_errors": [0.01]}))


@pytest.mark.parametrize(
    ("size", "outputs", "message"),
    [
        ((32, 48), {}, "golden.npz: damaged .its outputs are not of the model's shape"),
        ((32, 48), {"logits": np.zeros((1, 2), np.float32)}, "golden.npz: damaged .its outputs are not"),
        ((48, 32), {"logits": np.zeros((1, 3), np.float32)}, "the model takes images of 48x32 px .* got 32x48 px"),
    ],
)
def test_golden_examples_that_do_not_fit_the_model_are_refused(
    bundle: Path, size: tuple[int, int], outputs: dict[str, np.ndarray], message: str
):
    write_golden(bundle, [Golden(np.zeros((1, *size, 3), np.uint8), outputs)])
    with pytest.raises(InputError, match=message):
        verify_bundle(sealed(bundle))


def test_an_fp32_file_does_not_pass_for_fp16(bundle: Path):
    with pytest.raises(InputError, match=r"model\.onnx: its manifest says fp16, and none of its weights are"):
        nextvit.load(sealed(bundle, precision="fp16"))


def test_what_onnx_runtime_cannot_run_is_one_clear_error(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    session = nextvit.load(bundle).session
    monkeypatch.setattr(session, "width", (1, 99))
    with pytest.raises(InputError, match=r"^ONNX Runtime .* cannot run the model \(.+\)$"):
        session.run({"images": np.zeros((1, 32, 49, 3), np.uint8)})


def test_attributes_are_written_as_onnx_reads_them():
    """The hand-made models are what they seem: onnx reads them, where it is installed."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(colour_model())
    onnx.checker.check_model(model, full_check=True)
    assert [each.op_type for each in model.graph.node] == ["Cast", "ReduceMean", "Mul"]
    assert model.graph.node[0].attribute[0].i == FLOAT
    assert attribute("to", FLOAT) == model.graph.node[0].attribute[0].SerializeToString()
    assert onnx.load_from_string(external_models("inside.bin")["sparse"]).graph.sparse_initializer


def mutated(value: Any, chance: random.Random) -> Any:
    """A value of JSON's kinds with one part replaced, at any depth."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(sorted(value))
        return {**value, name: mutated(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], mutated(value[at], chance), *value[at + 1 :]]
    names = ("text", "", "\x1b[31m", "/dev/zero", "pad", "original", "detection", "multilabel", "segmentation")
    return chance.choice([None, True, -1, 0, 10**15, 0.5, 1e308, [], {}, [[]], {"a": 1}, [1, 2, 3], *names])


def test_mutations_of_a_manifest_with_the_right_checksum_are_one_line_or_harmless(bundle: Path):
    from nextvit.cli.info import describe

    original = json.loads((bundle / "manifest.json").read_text())
    original["verification"] = {"images": 3, "max_error": 0.1, "agreement": 1.0, "drop": 0.0, "after": {"score": 3}}
    chance, refused = random.Random(0), 0
    for _ in range(300):
        values = mutated(mutated(original, chance), chance)
        if not isinstance(values, dict):
            continue
        values.pop("manifest_sha256", None)
        (bundle / "manifest.json").write_bytes(seal(values))
        for use in (lambda: nextvit.load(bundle)([np.zeros((9, 9, 3), np.uint8)]), lambda: describe(bundle)):
            try:
                use()
            except (InputError, MissingDependency) as error:
                assert len(str(error).splitlines()) == 1
                refused += 1
    assert refused > 100
