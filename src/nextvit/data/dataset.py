"""A dataset: which image belongs to which classes and split, and what is annotated on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nextvit.data.annotations import Annotations
from nextvit.data.class_masks import Masks
from nextvit.data.samples import Samples
from nextvit.errors import InputError, did_you_mean

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled images: which file belongs to which classes and split."""

    root: Path
    classes: tuple[str, ...]
    """Names; the index is the label. Sorted, in data with objects by their category ids."""
    splits: dict[str, Samples]
    """"train" and "val"."""
    task: str = "classification"
    """"multilabel" where an image may have several classes, or none; "detection" where objects are annotated;
    "segmentation" where each pixel has a class."""
    annotations: dict[str, Annotations] = field(default_factory=dict)
    """For "detection": of each split, the objects of the samples in their order. A sample's labels are those it has."""
    category_ids: tuple[int, ...] = ()
    """For "detection": the classes' ids in the annotations, ascending."""
    masks: dict[str, Masks] = field(default_factory=dict)
    """For "segmentation": of each split, the masks of the samples in their order. Samples have no labels."""

    computed: dict[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False, compare=False)
    """What `compute_once` has made."""

    def compute_once(self, what: str, make: Callable[[], Made]) -> Made:
        """What `make` returns, made only once: reading all masks takes minutes, and several need what is in them."""
        if what not in self.computed:
            self.computed[what] = make()
        return self.computed[what]

    def split(self, name: str) -> Samples:
        """The samples of a split; InputError where it does not exist."""
        if name not in self.splits:
            raise InputError(f"{self.root} has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]

    def locate(self, path: Path) -> tuple[str, int]:
        """The split and the index of an image."""
        places = self.compute_once(
            "places",
            lambda: {
                sample.path: (split, index)
                for split, samples in self.splits.items()
                for index, sample in enumerate(samples)
            },
        )
        return places[path]
