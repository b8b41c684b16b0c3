"""A dataset: which image belongs to which classes and split, and what is annotated on it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nextvit.data.annotations import Annotations
from nextvit.data.class_masks import Masks
from nextvit.data.samples import Samples
from nextvit.errors import InputError, did_you_mean

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images in splits, with their labels, annotated objects or masks."""

    root: Path
    classes: tuple[str, ...]
    """Names; the index is the label. Sorted by name, or for detection by category id."""
    splits: dict[str, Samples]
    """"train" and "val", and "test" where it was read; or one of them alone, for scoring."""
    task: str = "classification"
    """"multilabel" where an image may have several classes, or none; "detection" where objects are annotated;
    "segmentation" where each pixel has a class."""
    annotations: dict[str, Annotations] = field(default_factory=dict)
    """For "detection": the objects of the samples of each split, in the same order. A sample's labels are those of its
    objects."""
    category_ids: tuple[int, ...] = ()
    """For "detection": the classes' ids in the annotations, ascending."""
    lists: tuple[tuple[Path, Path], ...] = ()
    """For "detection": the folder of the images and the annotation file of each split that was read."""
    unusable: frozenset[str] = frozenset()
    """For "detection": image files that are listed in a way that cannot be used; they have findings."""
    masks: dict[str, Masks] = field(default_factory=dict)
    """For "segmentation": the masks of the samples of each split, in the same order. Samples have no labels."""

    computed: dict[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False, compare=False)
    """Cached results of `compute_once`."""

    def compute_once(self, what: str, make: Callable[[], Made]) -> Made:
        """The result of `make`, cached under the name `what`: reading all masks takes minutes, and several callers need
        their statistics."""
        if what not in self.computed:
            self.computed[what] = make()
        return self.computed[what]

    def split(self, name: str) -> Samples:
        """The samples of a split.

        Raises:
            InputError: there is no such split.
        """
        if name not in self.splits:
            raise InputError(f"{self.root} has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]

    def with_classes(
        self, classes: tuple[str, ...], position: Sequence[int], category_ids: tuple[int, ...]
    ) -> "Dataset":
        """The same images with the classes of a model.

        Args:
            classes: the model's.
            position: for each class of this dataset, its index in `classes`.
            category_ids: the model's, for "detection".
        """
        new = np.array(position, np.int32)
        return replace(
            self,
            classes=classes,
            splits={split: samples.map_labels(new) for split, samples in self.splits.items()},
            annotations={split: each.map_labels(new) for split, each in self.annotations.items()},
            category_ids=category_ids,
            masks={split: masks.map_classes(position) for split, masks in self.masks.items()},
        )

    def leave_out(self, images: Collection[Path]) -> "Dataset":
        """The dataset without these images."""
        kept = {
            split: np.array([sample.path not in images for sample in samples], np.bool_)
            for split, samples in self.splits.items()
        }
        return replace(
            self,
            splits={split: samples.select(kept[split]) for split, samples in self.splits.items()},
            annotations={split: each.select(kept[split]) for split, each in self.annotations.items()},
            masks={split: masks.select(kept[split]) for split, masks in self.masks.items()},
        )

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
