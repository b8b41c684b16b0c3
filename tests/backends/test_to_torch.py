"""The torch backend: a `.pt2` archive that is exact, and that is read as data whatever a stranger puts into it."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import Dim, ExportedProgram

from nextvit.backends import torch as to_torch
from nextvit.backends.layers import TAP_SCALE, TrainedNetwork, record_outputs
from nextvit.backends.program import Source
from nextvit.bundle.manifest import Manifest, read_bundle
from nextvit.errors import InputError
from nextvit.export.export import export_bundle
from nextvit.models.classification import Classifier
from nextvit.proof.golden import verify_bundle
from nextvit.runtime.torch_program_session import TorchProgramSession
from tests.export.nano import build_card, calibrated_model, unlabelled
from tests.models.reference import reference_logits

TAPS = ("normalise", "model.backbone.stages.1.blocks.1.e_mhsa", "model.backbone.stages.3.blocks.0")


def pixels(count: int, height: int = 64, width: int = 64) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def error(got: Any, expected: Any) -> float:
    """The largest difference, relative to the spread of what is expected."""
    return float(np.abs(got - expected).max() / expected.std())


@pytest.fixture(scope="module")
def model() -> Classifier:
    return calibrated_model()


@pytest.fixture(scope="module")
def bundle(model: Classifier, shared_colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A proven bundle for any size."""
    out = tmp_path_factory.mktemp("torch") / "nano.nextvit"
    images = unlabelled(sorted((shared_colours / "val").rglob("*.png")))
    export_bundle(
        model, build_card(64, 64), backend="torch", precision="fp32", images=images, out=out, dynamic_size=True
    )
    return out


@pytest.fixture
def manifest(bundle: Path) -> Manifest:
    return read_bundle(bundle)


def test_predictions_are_exact_in_any_batch_and_at_any_size(bundle: Path, manifest: Manifest, model: Classifier):
    assert manifest.verification["max_error"] <= 1e-4
    session = TorchProgramSession(bundle, manifest)
    for count, height, width in ((1, 64, 64), (3, 64, 64), (2, 33, 47), (1, 225, 96)):
        images = pixels(count, height, width)
        expected = reference_logits(model, manifest.card, images)
        assert error(session.run({"images": images})["logits"], expected) <= 1e-4


def test_the_file_is_one_that_torch_reads_and_computes_alike(bundle: Path, manifest: Manifest):
    """Our own file, so loading it torch's way is safe here."""
    images = pixels(3, 64, 96)
    expected = torch.export.load(bundle / manifest.model_file).module()(torch.from_numpy(images))
    got = TorchProgramSession(bundle, manifest).run({"images": images})["logits"]
    np.testing.assert_array_equal(got, expected.detach().numpy())


def test_the_file_holds_no_pickle_and_no_path_of_this_machine(bundle: Path, manifest: Manifest):
    with zipfile.ZipFile(bundle / manifest.model_file) as archive:
        assert [
            entry.filename for entry in archive.infolist() if entry.filename.endswith(".pt") and entry.file_size
        ] == []
        for name in archive.namelist():
            assert str(Path(to_torch.__file__).parent.parent).encode() not in archive.read(name), name


def test_it_says_what_it_runs_on(bundle: Path):
    _, session, _ = verify_bundle(bundle, threads=1)
    assert session.facts() == {
        "backend": "torch",
        "runtime": f"torch {torch.__version__}",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
    }


def test_threads_are_those_asked_for_while_it_runs_and_the_programs_own_again_after(bundle: Path, manifest: Manifest):
    session = TorchProgramSession(bundle, manifest, threads=2)
    before, seen = torch.get_num_threads(), []

    def spy(images: torch.Tensor) -> tuple[torch.Tensor]:
        seen.append(torch.get_num_threads())
        return (images,)

    session.program = spy  # type: ignore[assignment]
    session.run({"images": pixels(1)})
    assert (seen, torch.get_num_threads()) == ([2], before)


def test_bf16_keeps_its_bounds_and_says_that_it_is_bf16(model: Classifier, manifest: Manifest, tmp_path: Path):
    source = Source(model=model, card=manifest.card, precision="bf16")
    to_torch.export(source, tmp_path)
    with pytest.raises(InputError, match=r"model\.pt2: computes in bf16, and its manifest says fp32"):
        TorchProgramSession(tmp_path, manifest)
    session = TorchProgramSession(tmp_path, replace(manifest, precision="bf16"))
    images = pixels(4)
    found = error(session.run({"images": images})["logits"], reference_logits(model, manifest.card, images))
    assert 1e-4 < found <= 0.15
    assert session.facts()["precision"] == "bf16"
    assert session.program.constants["p_model_head_weight"].dtype == torch.bfloat16


def test_watched_layers_come_by_their_names(model: Classifier, manifest: Manifest, tmp_path: Path):
    source = Source(model=model, card=manifest.card, precision="fp32", taps=TAPS)
    to_torch.export(source, tmp_path)
    session = TorchProgramSession(tmp_path, replace(manifest, outputs=dict.fromkeys(source.outputs, "watched")))
    images = pixels(2)
    got = session.run({"images": images})
    trained = TrainedNetwork(model, manifest.card.input).eval()
    with torch.inference_mode(), record_outputs(trained, TAPS) as expected:
        trained(torch.from_numpy(images))
    assert list(got) == source.outputs
    for name in TAPS:
        assert error(got[name] / TAP_SCALE, expected[name].numpy()) <= 1e-4, name


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pixels(1, 32, 64), r"images of \(33 to 4096\)x\(33 to 4096\) px .*; got 64x32 px"),
        (pixels(1).astype(np.float32), r"as uint8 \(N, height, width, 3\), .* got float32 of shape \(1, 64, 64, 3\)"),
        (pixels(1)[0], r"got uint8 of shape \(64, 64, 3\)"),
        (pixels(1)[:0], r"N at least 1; got uint8 of shape \(0, 64, 64, 3\)"),
    ],
)
def test_what_is_no_image_it_takes_is_refused(bundle: Path, manifest: Manifest, images: Any, message: str):
    with pytest.raises(InputError, match=message):
        TorchProgramSession(bundle, manifest).run({"images": images})


def test_a_device_that_is_not_there_is_named(bundle: Path, manifest: Manifest):
    with pytest.raises(InputError, match="device 'nonsense' is not available to PyTorch here"):
        TorchProgramSession(bundle, manifest, device="nonsense")


# What a stranger may put into an archive


@dataclass
class Bomb:
    """Creates a file when it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], *more: tuple[str, bytes]) -> None:
    """Copy an archive with its entries changed, and others added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in more:
            new.writestr(name, content)


def pickled(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    torch.save((bomb,), buffer)
    return buffer.getvalue()


def sample_inputs(name: str, content: bytes, bomb: Bomb) -> bytes:
    return pickled(bomb) if name.endswith("sample_inputs/model.pt") else content


def pickled_weight(name: str, content: bytes, bomb: Bomb) -> bytes:
    if name.endswith("weights/weight_0"):
        return pickled(bomb)
    if name.endswith("model_weights_config.json"):
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()
    return content


def expression(name: str, content: bytes, bomb: Bomb) -> bytes:
    """A size that is Python: `torch.export.load` evaluates it."""
    code = f"__import__('pathlib').Path({str(bomb.path)!r}).touch()"
    return with_model(name, content, lambda model: input_size(model).update(expr_str=code))


def input_size(model: dict[str, Any]) -> dict[str, Any]:
    graph = model["graph_module"]["graph"]
    return graph["tensor_values"]["images_nhwc"]["sizes"][0]["as_expr"]


def guard(name: str, content: bytes, bomb: Bomb) -> bytes:
    """A condition that is Python; here it is left unread, and the file answers as before."""
    code = f"__import__('pathlib').Path({str(bomb.path)!r}).touch() or True"
    return with_model(name, content, lambda model: model.update(guards_code=[code]))


def function(name: str, content: bytes, bomb: Bomb) -> bytes:
    call = {"target": "os.mkdir", "inputs": [{"kind": 1, "name": "path", "arg": {"as_string": str(bomb.path)}}]}
    return with_model(name, content, lambda model: model["graph_module"]["graph"]["nodes"][5].update(call))


def with_model(name: str, content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    if not name.endswith("models/model.json"):
        return content
    model = json.loads(content)
    change(model)
    return json.dumps(model).encode()


def test_the_bomb_goes_off_where_pickles_are_loaded(tmp_path: Path):
    """Else the tests below could not fail."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sample_inputs, "sample_inputs/model.pt' is a pickle"),
        (pickled_weight, "stem.0.conv.weight is a pickle"),
        (expression, "a side of its input is an expression"),
        (function, "it calls 'os.mkdir', which no network of ours does"),
    ],
)
def test_nothing_in_an_untrusted_file_is_executed(
    change: Callable[[str, bytes, Bomb], bytes], message: str, bundle: Path, manifest: Manifest, tmp_path: Path
):
    bomb = Bomb(tmp_path / "executed")
    rewritten(bundle / "model.pt2", tmp_path / "model.pt2", lambda name, content: change(name, content, bomb))
    with pytest.raises(InputError, match=message):
        TorchProgramSession(tmp_path, manifest)
    assert not bomb.path.exists()


def test_guards_are_not_evaluated(bundle: Path, manifest: Manifest, tmp_path: Path):
    bomb = Bomb(tmp_path / "executed")
    rewritten(bundle / "model.pt2", tmp_path / "model.pt2", lambda name, content: guard(name, content, bomb))
    TorchProgramSession(tmp_path, manifest).run({"images": pixels(1)})
    assert not bomb.path.exists()


def test_an_fp32_file_does_not_pass_for_bf16(bundle: Path, manifest: Manifest):
    with pytest.raises(InputError, match=r"model\.pt2: computes in fp32, and its manifest says bf16"):
        TorchProgramSession(bundle, replace(manifest, precision="bf16"))


def changed_graph(bundle: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    rewritten(
        bundle / "model.pt2",
        folder / "model.pt2",
        lambda name, content: with_model(name, content, lambda model: change(model["graph_module"]["graph"])),
    )


def test_a_name_that_nothing_gave_before_is_refused(bundle: Path, manifest: Manifest, tmp_path: Path):
    def backwards(graph: dict[str, Any]) -> None:
        graph["nodes"].reverse()

    changed_graph(bundle, tmp_path, backwards)
    with pytest.raises(InputError, match=r"not a program .* \(it uses '\w+' before it is computed\)"):
        TorchProgramSession(tmp_path, manifest)

    def without_the_last(graph: dict[str, Any]) -> None:
        del graph["nodes"][-1]

    changed_graph(bundle, tmp_path, without_the_last)
    with pytest.raises(InputError, match="before it is computed"):
        TorchProgramSession(tmp_path, manifest)


def test_steps_that_fit_each_other_badly_are_one_clear_error(bundle: Path, manifest: Manifest, tmp_path: Path):
    def no_arguments(graph: dict[str, Any]) -> None:
        graph["nodes"][-1]["inputs"] = graph["nodes"][-1]["inputs"][:1]

    def other_operator(graph: dict[str, Any]) -> None:
        [last] = [node for node in graph["nodes"] if node["target"].endswith("linear.default")][-1:]
        last["target"] = "torch.ops.aten.conv2d.default"

    for change in (no_arguments, other_operator):
        changed_graph(bundle, tmp_path, change)
        session = TorchProgramSession(tmp_path, manifest)
        with pytest.raises(InputError, match=r"^torch .* cannot run the program \(.+\)$") as caught:
            session.run({"images": pixels(1)})
        assert "\n" not in str(caught.value)


def test_other_things_in_an_archive_are_refused(bundle: Path, manifest: Manifest, tmp_path: Path):
    for name in (
        "model/data/aotinductor/model/code.so",
        "model/data/constants/custom_obj_0",
        "model/data/weights/model.pt",
    ):
        rewritten(bundle / "model.pt2", tmp_path / "model.pt2", lambda _, content: content, (name, b"anything"))
        with pytest.raises(InputError, match=r"model\.pt2: not a program that can be read as data alone"):
            TorchProgramSession(tmp_path, manifest)


def test_a_weight_beyond_its_numbers_is_refused(bundle: Path, manifest: Manifest, tmp_path: Path):
    rewritten(
        bundle / "model.pt2",
        tmp_path / "model.pt2",
        lambda name, content: content[:-4] if "weight_3" in name else content,
    )
    with pytest.raises(
        InputError, match=r"model\.pt2: not a program that can be read .*weight_3|values than are stored"
    ):
        TorchProgramSession(tmp_path, manifest)


def with_weights(bundle: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Copy the archive with another table of weights."""

    def changed(name: str, content: bytes) -> bytes:
        if not name.endswith("weights/model_weights_config.json"):
            return content
        table = json.loads(content)
        change(table["config"])
        return json.dumps(table).encode()

    rewritten(bundle / "model.pt2", folder / "model.pt2", changed)


def test_a_file_that_many_weights_name_is_read_once(
    bundle: Path, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def many(config: dict[str, Any]) -> None:
        [largest] = sorted(config.values(), key=lambda each: int(each["tensor_meta"]["sizes"][0]["as_int"]))[-1:]
        config.update({f"copy {number}": largest for number in range(20_000)})

    with_weights(bundle, tmp_path, many)
    read: list[str] = []
    whole = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: (read.append(name), whole(self, name))[1])
    TorchProgramSession(tmp_path, manifest)
    assert len(read) == len(set(read)) < 1000


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [{"as_int": 10**6}, {"as_int": 10**6}], "strides": [{"as_int": 0}, {"as_int": 0}]},
        {"sizes": [{"as_int": 10**18}], "strides": [{"as_int": 0}]},
        {"sizes": [{"as_int": -1}], "strides": [{"as_int": 1}]},
        {"sizes": [{"as_int": 1}], "strides": [{"as_int": -1}], "storage_offset": {"as_int": -5}},
        {"storage_offset": {"as_int": 10**9}},
        {"dtype": 99},
        {"dtype": []},
        {"sizes": 3},
    ],
)
def test_a_weight_that_is_more_than_its_numbers_is_refused(
    change: dict[str, Any], bundle: Path, manifest: Manifest, tmp_path: Path
):
    with_weights(bundle, tmp_path, lambda config: next(iter(config.values()))["tensor_meta"].update(change))
    with pytest.raises(InputError, match=r"model\.pt2: not a program") as caught:
        TorchProgramSession(tmp_path, manifest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("operator", ["add", "mul", "sub", "floordiv"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"as_string": "x" * 1000}, {"as_int": 10**6}),
        ({"as_ints": [0] * 1000}, {"as_int": 10**6}),
        ({"as_string": "x"}, {"as_string": "y"}),
        ({"as_bool": True}, {"as_int": 2}),
        ({"as_float": 1e300}, {"as_int": 10}),
        ({"as_tensor": {"name": "images_nhwc"}}, {"as_int": 0}),
    ],
)
def test_arithmetic_is_for_sizes_alone(
    operator: str, left: dict[str, Any], right: dict[str, Any], bundle: Path, manifest: Manifest, tmp_path: Path
):
    def compute(graph: dict[str, Any]) -> None:
        arguments = [{"kind": 1, "name": name, "arg": each} for name, each in (("a", left), ("b", right))]
        call = {"target": f"_operator.{operator}", "inputs": arguments, "outputs": [{"as_sym_int": {"as_name": "new"}}]}
        graph["nodes"].insert(0, call)

    changed_graph(bundle, tmp_path, compute)
    with pytest.raises(InputError, match="arithmetic is for sizes") as caught:
        TorchProgramSession(tmp_path, manifest).run({"images": pixels(1)})
    assert "\n" not in str(caught.value)


def test_sizes_do_not_grow_without_end(bundle: Path, manifest: Manifest, tmp_path: Path):
    """Each step squares the result of the step before: after forty of them it would have a trillion digits."""

    def square(graph: dict[str, Any]) -> None:
        for number in range(40):
            before = {"as_int": 3} if not number else {"as_name": f"power_{number - 1}"}
            arguments = [{"kind": 1, "name": name, "arg": {"as_sym_int": before}} for name in "ab"]
            output = {"as_sym_int": {"as_name": f"power_{number}"}}
            graph["nodes"].insert(number, {"target": "_operator.mul", "inputs": arguments, "outputs": [output]})

    changed_graph(bundle, tmp_path, square)
    with pytest.raises(InputError, match="64 bits"):
        TorchProgramSession(tmp_path, manifest).run({"images": pixels(1)})


@pytest.mark.parametrize(
    "literal",
    [{"as_int": "x"}, {"as_ints": 3.5}, {"as_bool": 1}, {"as_string": ["x"]}, {"as_float": "1"}, {"as_int": True}],
)
def test_literals_are_what_they_say(literal: dict[str, Any], bundle: Path, manifest: Manifest, tmp_path: Path):
    changed_graph(bundle, tmp_path, lambda graph: graph["nodes"][-1]["inputs"][-1].update(arg=literal))
    with pytest.raises(InputError, match="is no as_"):
        TorchProgramSession(tmp_path, manifest)


def test_what_is_no_archive_is_refused(manifest: Manifest, tmp_path: Path):
    with pytest.raises(InputError, match=r"model\.pt2: not a program"):
        TorchProgramSession(tmp_path, manifest)
    for content in (b"", b"not a zip at all"):
        (tmp_path / "model.pt2").write_bytes(content)
        with pytest.raises(InputError, match=r"model\.pt2: not a program"):
            TorchProgramSession(tmp_path, manifest)


def compiled(program: ExportedProgram, images: torch.Tensor, folder: Path) -> Any:
    """The answers of an AOTInductor package."""
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "nano.pt2"))
    return torch._inductor.aoti_load_package(package)(images).numpy()


@pytest.mark.slow
def test_compiled_ahead_the_form_for_any_size_is_right_at_odd_sides(model: Classifier, tmp_path: Path):
    """The recipe of docs/torch.md."""
    source = Source(model=model, card=build_card(224, 224), precision="fp32", dynamic_size=True)
    images = torch.from_numpy(pixels(1, 225, 225))
    got = compiled(source.capture_program(), images, tmp_path)
    assert error(got, reference_logits(model, source.card, images.numpy())) <= 1e-4


@pytest.mark.slow
def test_compiled_ahead_a_pooling_that_rounds_up_is_still_wrong_at_odd_sides(model: Classifier, tmp_path: Path):
    """Where this fails, torch has been repaired, and docs/torch.md need not warn any more."""
    source = Source(model=model, card=build_card(224, 224), precision="fp32")
    images = torch.from_numpy(pixels(1, 225, 225))
    axes = dict.fromkeys(range(3), Dim.AUTO)
    program = torch.export.export(
        source.build_deployed(), (torch.zeros(2, 64, 96, 3, dtype=torch.uint8),), dynamic_shapes=(axes,)
    )
    expected = reference_logits(model, source.card, images.numpy())
    assert error(program.module()(images).numpy(), expected) <= 1e-4
    assert not error(compiled(program, images, tmp_path), expected) <= 0.1
