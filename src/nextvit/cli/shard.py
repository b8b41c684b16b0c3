"""nextvit shard"""

from pathlib import Path
from typing import Literal

from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError

MIB = 2**20


def shard(
    dataset: Path,
    /,
    *,
    out: Path,
    task: Literal["distillation"] | None = None,
    shard_size: int = 256,
    as_json: AsJson = False,
) -> None:
    """Copy a dataset into tar shards: few large files instead of many small ones, with a checksum for each image.

    Example: nextvit shard photos --out photos-shards

    The folder of shards takes the dataset's place in every command, with the same results.

    Parameters
    ----------
    dataset: Path
        The images, as for training.
    out: Path
        New folder for the shards.
    task: str
        distillation: images without labels, as the recipe distill takes them.
    shard_size: int
        Size in MiB at which a shard is full.
    """
    from nextvit.data.shards import write_shards
    from nextvit.tasks.reading import read_dataset

    if shard_size < 1:
        raise InputError(f"--shard-size must be at least 1 MiB, got {shard_size}")
    data = read_dataset(dataset, task=task)
    if data.annotations or data.masks:
        raise InputError(f"{dataset}: shards hold images with classes; annotated objects and masks stay as they are")
    splits = write_shards(
        data.splits,
        data.classes,
        out,
        task=data.task,
        shard_bytes=shard_size * MIB,
        written=lambda name, images: progress.print(f"{name}: {images} images", markup=False),
    )
    sizes = {name: sum(split.shards.values()) for name, split in splits.items()}
    rows = [
        (name, str(split.images), str(len(split.shards)), f"{sizes[name] / MIB:.1f}") for name, split in splits.items()
    ]
    show(
        as_json,
        make_table(["split", "images", "shards", "MiB"], rows),
        f"written to {out}",
        document={
            "verb": "shard",
            "out": str(out),
            "classes": list(data.classes),
            "splits": {
                name: {"images": split.images, "shards": len(split.shards), "bytes": sizes[name]}
                for name, split in splits.items()
            },
        },
    )
