"""What benchmarks/hostile.py damages of settings, runs, checkpoints and bundles, mostly with checksums that fit."""

import contextlib
import io
import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from hostile_damage import damage_bytes, damage_json, damage_npz, damage_text, damage_value, odd_value
from hostile_datasets import draw_small
from hostile_reading import Target, refused, replaced, verb

TRAIN = (
    "--weights none --model nextvit_nano --epochs 1 --image-size 32 --batch-size 6 --schedule.patience 0"
    " --compute.threads 1 --compute.precision fp32 --compute.device cpu --data.workers 0 --data.allow-errors"
)


# Settings, runs and checkpoints


def train_run(folder: Path) -> None:
    draw_small(folder, keep=6)
    for name in ("labelled", "masks", "objects", "voc", "yolo"):
        shutil.rmtree(folder / name)
    verb("train", folder / "classes", "--out", folder / "run", *shlex.split(TRAIN))


def read_damaged_settings(folder: Path, random: Random) -> None:
    from nextvit.cli.settings import build_recipe

    path = folder / "run" / "recipe.yaml"
    if random.random() < 0.5:
        content = damage_text(path.read_text(), random)
    else:
        import yaml

        content = damage_json(json.dumps(yaml.safe_load(path.read_text())).encode(), random)  # JSON is YAML
    with replaced(path, content):
        task = random.choice(("classification", "detection", "segmentation", "multilabel"))
        refused(lambda: build_recipe(task, {}, name=None, config=path, resumed=None))
        verb("info", folder / "run", "--json")


def report_damaged_run(folder: Path, random: Random) -> None:
    run = folder / "run"
    path = run / random.choice(
        ("metrics.jsonl", "environment.json", "evaluation.json", "heatmaps.npz", "augmented.png", "recipe.yaml")
    )
    content = path.read_bytes()
    if path.suffix == ".npz" and random.random() < 0.7:
        content = damage_npz(content, random)
    elif path.suffix == ".json":
        content = damage_json(content, random)
    elif path.suffix == ".jsonl":
        lines = content.splitlines()
        lines[random.randrange(len(lines))] = damage_json(random.choice(lines), random)
        content = b"\n".join(lines)
    else:
        content = damage_bytes(content, random)
    with replaced(path, content):
        verb("report", run, *([run] if random.random() < 0.3 else []), "--out", folder / "report.html")
        verb("info", run, "--json")


def resume_damaged_run(folder: Path, random: Random) -> None:
    """A file of the last checkpoint is damaged, mostly with checksums that fit."""
    from nextvit.files.durable import write_checksums

    run = folder / "resumed"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folder / "run", run)
    shutil.rmtree(run / "checkpoints" / "previous", ignore_errors=True)
    last = run / "checkpoints" / "last"
    path = random.choice(sorted(last.iterdir()))
    content = path.read_bytes()
    if path.suffix == ".pt" and random.random() < 0.7:
        content = damage_state(content, random)
    elif path.suffix == ".safetensors" and random.random() < 0.7:
        content = damage_safetensors(content, random)
    elif path.suffix == ".json":
        content = damage_json(content, random)
    else:
        content = damage_bytes(content, random)
    path.write_bytes(content)
    if path.suffix != ".json" and random.random() < 0.9:
        write_checksums(last)
    if path.suffix == ".safetensors":
        verb("info", path, "--json")
    verb("train", folder / "classes", "--out", run, "--resume", "--epochs", 2)


def damage_state(content: bytes, random: Random) -> bytes:
    """Change tensors and numbers of an optimizer's state, keeping a file that torch reads."""
    import torch

    state = torch.load(io.BytesIO(content), weights_only=True)
    found = [
        (each, key)
        for each in torch_containers(state)
        for key in (each if isinstance(each, dict) else range(len(each)))
        if not isinstance(each[key], dict | list)
    ]
    for _ in range(random.choice((1, 1, 1, 3))):
        holder, key = random.choice(found)
        value = holder[key]
        if not isinstance(value, torch.Tensor):
            holder[key] = random.choice((odd_value(random), torch.zeros(3), -1, 2**40))
            continue
        holder[key] = random.choice(
            (
                *(value.double(), value.half(), value.long(), value[..., None], value.reshape(-1)[:1], value.T),
                *(torch.zeros(()).expand(value.shape), torch.empty_strided(value.shape, [0] * value.dim())),
                *(torch.full_like(value, float("nan")), torch.zeros(0), None, 1.0, value.to_sparse()),
            )
        )
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def torch_containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for each in value.values() if isinstance(value, dict) else value:
            yield from torch_containers(each)


def damage_safetensors(content: bytes, random: Random) -> bytes:
    """Change the header: names, types, shapes, offsets, and our card in its metadata."""
    length = int.from_bytes(content[:8], "little")
    values = json.loads(content[8 : 8 + length])
    metadata = values.get("__metadata__", {})
    if metadata and random.random() < 0.5:
        name = random.choice(sorted(metadata))
        with contextlib.suppress(ValueError):
            metadata[name] = json.dumps(damage_value(json.loads(metadata[name]), random))
    else:
        values = damage_value(values, random)
    header = json.dumps(values).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


# Bundles

BACKENDS = ("onnx", "openvino", "torch", "executorch", "coreml", "tensorrt")


def export_bundles(folder: Path) -> None:
    train_run(folder)
    for backend in BACKENDS:
        verb("export", folder / "run", "--to", backend, "--out", folder / f"{backend}.nextvit", "--max-drop", 100)
    shutil.rmtree(folder / "run")


def load_damaged_bundle(folder: Path, random: Random) -> None:
    """A file of a bundle is damaged, and the checksums of its manifest fit."""
    import nextvit

    bundle = random.choice(sorted(folder.glob("*.nextvit")))
    image = min((folder / "classes" / "train" / "red").iterdir())
    path = random.choice(sorted(each for each in bundle.rglob("*") if each.is_file() and each.suffix != ".html"))
    manifest = bundle / "manifest.json"
    if path == manifest:
        content = reseal(json.loads(damage_json_values(path, random)))
    elif path.suffix == ".npz" and random.random() < 0.7:
        content = damage_npz(path.read_bytes(), random)
    elif path.suffix == ".onnx" and random.random() < 0.7:
        content = damage_onnx(path.read_bytes(), random)
    elif path.suffix == ".pt2" and random.random() < 0.7:
        content = damage_zip(path.read_bytes(), random)
    else:
        content = damage_bytes(path.read_bytes(), random)
    with replaced(path, content), replaced(manifest, content if path == manifest else resealed(bundle)):
        with contextlib.suppress(ImportError):  # a runtime that this machine does not have
            refused(lambda: nextvit.load(bundle)([image]))
        verb("info", bundle, "--json")


def damage_json_values(path: Path, random: Random) -> str:
    return json.dumps(damage_value(json.loads(path.read_bytes()), random))


def resealed(bundle: Path) -> bytes:
    """The manifest with the checksums that the bundle's files have now."""
    from nextvit.files.durable import compute_sha256

    values = json.loads((bundle / "manifest.json").read_bytes())
    values["sha256"] = {name: compute_sha256(bundle / name) for name in values["sha256"]}
    return reseal(values)


def reseal(values: dict[str, Any]) -> bytes:
    """A manifest with a checksum of itself that fits."""
    from nextvit.bundle.manifest import OWN_CHECKSUM, checksum_of

    own = {name: each for name, each in values.items() if name != OWN_CHECKSUM}
    return json.dumps({**own, OWN_CHECKSUM: checksum_of(own)}).encode()


def damage_onnx(content: bytes, random: Random) -> bytes:
    """Change shapes, types, names, attributes and order in a graph that ONNX still reads."""
    import onnx

    model = onnx.load_model_from_string(content)
    graph = model.graph
    node = random.choice(graph.node)
    match random.randrange(6):
        case 0 if node.attribute:
            attribute = random.choice(node.attribute)
            attribute.i = random.choice(NUMBERS_64)
            del attribute.ints[:]
            attribute.ints.extend([random.choice(NUMBERS_64)] * random.choice((0, 1, 2, 4)))
        case 1:
            weight = random.choice(graph.initializer)
            del weight.dims[:]
            weight.dims.extend([random.choice(NUMBERS_64)] * random.choice((0, 1, 4)))
        case 2:
            random.choice(graph.initializer).data_type = random.randrange(24)
        case 3:
            node.op_type = random.choice(graph.node).op_type
        case 4 if node.input:
            node.input[random.randrange(len(node.input))] = random.choice(random.choice(graph.node).output)
        case _:
            dimension = random.choice(random.choice(graph.input).type.tensor_type.shape.dim)
            dimension.dim_value = random.choice(NUMBERS_64)
    return model.SerializeToString()


NUMBERS_64 = (0, -1, 1, 3, 7, 65536, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63))


def damage_zip(content: bytes, random: Random) -> bytes:
    """Damage one member of an archive, and write the archive anew."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        chosen = random.choice(source.namelist())
        for name in source.namelist():
            member = source.read(name)
            if name == chosen:
                member = damage_json(member, random) if name.endswith(".json") else damage_bytes(member, random)
            target.writestr(name, member)
    return buffer.getvalue()


MODELS = {
    "settings": Target(11, train_run, read_damaged_settings),
    "bundles": Target(3, export_bundles, load_damaged_bundle),
    "runs": Target(2, train_run, report_damaged_run),
    "checkpoints": Target(1, train_run, resume_damaged_run),
}
