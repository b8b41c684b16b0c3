"""A predictor turns images into predictions, whatever the backend."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, read_bundle
from nextvit.errors import InputError
from nextvit.image.canvas import group_by_canvas
from nextvit.image.reading import DecodeError, ImageLike
from nextvit.image.resizing import Prepared
from nextvit.predictions.kind import kind_of
from nextvit.predictions.results import Prediction
from nextvit.runtime.read_ahead import default_workers, prepare_ahead
from nextvit.runtime.session import Session, open_session
from nextvit.runtime.tiled_session import TiledSession, Tiling, check_tiling, tiled_card

AHEAD = 2
"""Batches that are read ahead: with only one the graph could have to wait where images differ in size."""


class Predictor:
    """A loaded model: `predictor(["a.jpg", array])` gives one prediction for each image."""

    def __init__(self, session: Session, card: ModelCard) -> None:
        self.session, self.card, self.kind = session, card, kind_of(card)

    def __call__(self, images: Sequence[ImageLike], *, batch_size: int | None = None) -> list[Prediction]:
        """Predict for paths, Pillow images or uint8 arrays (H, W, 3) in RGB.

        Args:
            images: a list; for a generator see `stream`.
            batch_size: as for `stream`.

        Returns:
            One prediction for each image, in order.

        Raises:
            DecodeError: an image cannot be read; the message names it.
            InputError: `images` is a single image, or contains something other than images.
        """
        if isinstance(images, str) or not isinstance(images, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("pass a list of images, such as [image]")
        workers = None if len(images) > 1 else 0  # no other image to read meanwhile
        return list(self.stream(images, batch_size=batch_size, workers=workers))

    @overload
    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        keep_unreadable: Literal[False] = False,
    ) -> Iterator[Prediction]: ...
    @overload
    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        keep_unreadable: Literal[True],
    ) -> Iterator[Prediction | DecodeError]: ...
    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        keep_unreadable: bool = False,
    ) -> Iterator[Prediction | DecodeError]:
        """Predict for any number of images, in order, with only a few batches in memory at a time.

        While the graph runs on one batch, threads read, decode and resize the files of the next ones. `images` is
        iterated over in the caller's thread, `AHEAD` batches before the predictions. The graph runs on `batch_size`
        consecutive images, as when the predictor is called with a list.

        A detector's batch is padded to one canvas, as large as its largest image needs, and the network sees the
        padding, too. Its scores therefore depend slightly on the batch. A segmentation model gets each image on a
        canvas of the image's own size: only consecutive images with canvases of one size run together, and the
        predictions do not depend on the batch.

        Args:
            images: a list, a generator, or any other iterable of what a call takes.
            batch_size: images in a run of the graph. None: the kind's own (`PredictionKind.batch_size`), and 1 with
                tiles or several scales.
            workers: threads that read files. None: one for each core; 0: none, so that the predictions of a batch
                come as soon as its last image is there.
            keep_unreadable: yield the DecodeError of an image that cannot be read in place of its prediction, instead
                of raising it.

        Yields:
            One prediction for each image.

        Raises:
            DecodeError: an image cannot be read; the predictions of those before it have been yielded.
            InputError: `images` is a single image, or contains something other than images.
        """
        if isinstance(images, str) or not isinstance(images, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("pass several images, such as [image] or a generator")
        if batch_size is None:
            batch_size = self.card.input.max_batch or self.kind.batch_size
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        self._check_count(batch_size)
        if workers is None:
            workers = default_workers()
        if workers < 0:
            raise InputError(f"workers must not be negative, got {workers}")
        return self._predictions(images, batch_size, workers, keep_unreadable)

    def _predictions(
        self, images: Iterable[ImageLike], batch_size: int, workers: int, keep_unreadable: bool
    ) -> Iterator[Prediction | DecodeError]:
        """The generator behind `stream`, which checks its arguments when it is called, not at the first prediction."""
        with closing(prepare_ahead(images, self.card.input, workers=workers, ahead=AHEAD * batch_size)) as inputs:
            while batch := list(islice(inputs, batch_size)):
                prepared = [each for each in batch if isinstance(each, Prepared)]
                predictions = iter(self.predict_prepared(prepared) if prepared else ())
                outcomes = [each if isinstance(each, InputError) else next(predictions) for each in batch]
                del batch, prepared  # unresized images may be large, and the caller may take long
                for each in outcomes:
                    if isinstance(each, InputError) and not (keep_unreadable and isinstance(each, DecodeError)):
                        raise each
                    yield each

    def predict_pixels(self, pixels_NHWC: NDArray[np.uint8]) -> list[Prediction]:
        """Predict for pixels that are already at the model's input size.

        Args:
            pixels_NHWC: uint8, RGB, at least one image; of any size for a model whose input is padded or keeps its
                size.

        Raises:
            InputError: they are of another type or shape, or the model's outputs are not those of its card.
        """
        spec = self.card.input
        shape = (*(spec.image_size if spec.one_size else pixels_NHWC.shape[1:3]), 3)
        if not are_pixels(pixels_NHWC, shape):
            given = describe_array(pixels_NHWC)
            raise InputError(f"the model takes uint8 images of shape (N, {str(shape)[1:]}, N at least 1; got {given}")
        self._check_count(len(pixels_NHWC))
        return self.predict_prepared([Prepared(each, each.shape[:2]) for each in pixels_NHWC])

    def _check_count(self, images: int) -> None:
        """Raise InputError where a batch has more images than the model takes."""
        if images > (self.card.input.max_batch or images):
            raise InputError(f"with windows or several scales a batch is one image, got {images}")

    def predict_prepared(self, images: Sequence[Prepared]) -> list[Prediction]:
        """Predict for at least one image that is already read and resized.

        Raises:
            InputError: the model's outputs are not those of its card.
        """
        predictions: list[Prediction] = []
        for part in group_by_canvas(images) if self.kind.own_canvas else (images,):
            outputs = self.session.run(self.card.input.network_inputs([each.pixels for each in part]))
            predictions += self.kind.read(outputs, part)
        return predictions

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run blank images, so that no real one waits for what a runtime does at its first run of a batch size."""
        for size in batch_sizes:
            self.predict_pixels(np.zeros((size, *self.card.input.image_size, 3), np.uint8))


def are_pixels(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is a uint8 array of at least one image of that shape; callers may not check types."""
    return getattr(value, "dtype", None) == np.uint8 and value.shape[1:] == shape and len(value) > 0


def describe_array(value: Any) -> str:
    """Type and shape, for a message."""
    return f"{value.dtype} {value.shape}" if hasattr(value, "shape") else type(value).__name__


def load_bundle(
    path: str | Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    image_size: tuple[int, int] | None = None,
    scores: bool = False,
    tiling: Tiling | None = None,
) -> Predictor:
    """A predictor for a bundle, whose files are checked against their checksums first.

    Args:
        threads: CPU threads of the runtime; None: its own choice.
        device: where to compute, by the runtime's own name for it; None: the CPU.
        image_size: height and width of the input in pixels, for a bundle of dynamic size; for a detector the largest
            shorter and longer side of an image. None: the card's.
        scores: with `tiling`, give the scores of the classes, too; without it a bundle gives the outputs that it was
            exported with.
        tiling: tiles or scales at which a segmentation model predicts; None: each whole image, once.

    Raises:
        InputError: it is not a bundle, is damaged, does not take that size or tiling, or there is no such device.
        MissingDependency: the runtime is not installed.
    """
    path = Path(path)
    manifest = read_bundle(path)
    any_size = manifest.dynamic_size or manifest.card.input.padded
    card = card_at(manifest.card, image_size, what=path, any_size=any_size)
    if tiling:
        check_tiling(tiling, card, what=path, card_of=lambda size: card_at(card, size, what=path, any_size=any_size))
    return make_predictor(open_session(path, manifest, threads=threads, device=device), card, tiling, scores=scores)


def make_predictor(session: Session, card: ModelCard, tiling: Tiling | None, *, scores: bool = False) -> Predictor:
    """A predictor for a session, with tiles or scales where `tiling` is not None."""
    if not tiling:
        return Predictor(session, card)
    return Predictor(TiledSession(session, card, tiling, scores=scores), tiled_card(card, tiling, scores=scores))


def card_at(card: ModelCard, image_size: Any, *, what: Path, any_size: bool) -> ModelCard:
    """The card of a model at another input size.

    Args:
        image_size: height and width in pixels; None: the card's own.
        what: names the model in messages.
        any_size: whether the model takes other sizes than the card's.

    Raises:
        InputError: the model does not take that size, or it is not a pair of whole numbers.
    """
    if image_size is None:
        return card
    if not is_size(image_size):
        raise InputError(f"image_size is a height and a width in whole pixels, such as (320, 240); got {image_size!r}")
    height, width = image_size
    own_height, own_width = card.input.image_size
    if (height, width) == (own_height, own_width):
        return card
    got = f"got height {height}, width {width}"
    if not any_size and not card.input.padded:
        own = f"height {own_height}, width {own_width}"
        raise InputError(f"{what}: takes images of {own} alone, {got}; export it with --dynamic-size")
    if not all(MIN_DYNAMIC_SIDE_PX <= side <= MAX_SIDE_PX for side in (height, width)):
        raise InputError(f"{what}: takes sides of {MIN_DYNAMIC_SIDE_PX} to {MAX_SIDE_PX} px, {got}")
    return replace(card, input=replace(card.input, image_size=(height, width)))


def is_size(value: Any) -> bool:
    """Whether it is a pair of whole numbers; callers may not check types."""
    sides = cast("Sequence[Any]", value) if isinstance(value, tuple | list) else ()
    return len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
