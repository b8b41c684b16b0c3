"""Many images: read ahead in threads, answered in order, with nothing left behind."""

import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nextvit
from nextvit.errors import InputError
from nextvit.image.reading import DecodeError, Encoded
from nextvit.image.resizing import Preprocess
from nextvit.machine.cores import usable_cores
from nextvit.predictions.results import Classification
from nextvit.runtime import read_ahead as reading
from nextvit.runtime.predictor import AHEAD, Predictor, load_bundle
from nextvit.runtime.read_ahead import THREAD_NAME, default_workers, prepare_ahead

pytestmark = pytest.mark.serial

COLOURS = {"1 red": (200, 30, 10), "2 green": (10, 200, 30), "3 blue": (30, 10, 200)}


class RecordingSession:
    """Logits are the channel means; remembers the batches it got, and what was read by then."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.batches: list[Any] = []
        self.during = during

    def run(self, inputs: Any) -> dict[str, Any]:
        self.during()
        self.batches.append(inputs["images"])
        return {"logits": inputs["images"].mean(axis=(1, 2)).astype(np.float32)}

    def facts(self) -> dict[str, Any]:
        return {"threads": 1}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Thirty JPEGs of three colours in turn, each another image of another size."""
    generator = np.random.default_rng(0)
    files: list[Path] = []
    for number in range(30):
        colour = list(COLOURS.values())[number % 3]
        noise = generator.integers(-10, 50, (40 + number, 70 - number, 3))
        pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
        files.append(tmp_path / f"{number:02d}.jpg")
        Image.fromarray(pixels).save(files[-1], progressive=number % 2 == 0)
    return files


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def slow_input(monkeypatch: pytest.MonkeyPatch, delay: Callable[[Any], float]) -> list[tuple[Any, str]]:
    """Make reading take a while, and remember what was read in which thread."""
    done: list[tuple[Any, str]] = []
    read = Preprocess.prepare

    def slow(self: Preprocess, image: Any) -> Any:
        time.sleep(delay(image))
        done.append((image, threading.current_thread().name))
        return read(self, image)

    monkeypatch.setattr(Preprocess, "prepare", slow)
    return done


@pytest.mark.parametrize("workers", [0, 1, 3, None])
def test_a_stream_gives_what_a_plain_loop_gives_to_the_bit(bundle: Path, photos: list[Path], workers: int | None):
    """The same batches of the same pixels; 30 images in batches of 7 leave 2."""
    predictor = load_bundle(bundle, threads=1)
    expected: list[Any] = []
    for start in range(0, 30, 7):
        batch = np.stack([predictor.card.input(photo) for photo in photos[start : start + 7]])
        expected += predictor.predict_pixels(batch)
    assert [answer.label for answer in expected] == [*COLOURS] * 10
    assert len({answer.probability for answer in expected}) == 30
    assert list(predictor.stream(photos, batch_size=7, workers=workers)) == expected
    assert predictor(photos, batch_size=7) == expected
    assert not readers()


def test_order_is_that_of_the_images_however_long_each_takes(
    bundle: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Every first image takes longest, so that with three threads those behind it are ready before it."""
    done = slow_input(monkeypatch, lambda image: 0.03 if int(image.stem) % 3 == 0 else 0.0)
    session = RecordingSession()
    answers = list(Predictor(session, load_bundle(bundle).card).stream(photos, batch_size=4, workers=3))
    assert [image for image, _ in done] != photos
    assert [answer.label for answer in answers if isinstance(answer, Classification)] == [*COLOURS] * 10
    assert [len(batch) for batch in session.batches] == [4] * 7 + [2]


def test_files_are_read_in_threads_while_the_graph_runs(
    bundle: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    done = slow_input(monkeypatch, lambda image: 0.01)
    grown: list[int] = []

    def during() -> None:
        before = len(done)
        time.sleep(0.1)
        grown.append(len(done) - before)

    list(Predictor(RecordingSession(during), load_bundle(bundle).card).stream(photos, batch_size=5, workers=2))
    assert sum(grown) >= 5
    assert len(done) == 30 and all(name.startswith(THREAD_NAME) for _, name in done)


def test_a_stream_never_takes_more_than_a_few_batches_ahead(bundle: Path, photos: list[Path]):
    """An endless generator is answered, and taken from as far as memory was promised."""
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            yield photos[taken % 30]
            taken += 1

    stream = load_bundle(bundle, threads=1).stream(endless(), batch_size=3, workers=2)
    for number, answer in enumerate(islice(stream, 40)):
        assert isinstance(answer, Classification) and answer.label == [*COLOURS][number % 3]
        assert taken <= number + 3 + AHEAD * 3
    assert 1 <= len(readers()) <= 2
    del stream
    assert not readers()


def test_without_workers_a_batch_is_answered_as_soon_as_it_is_there(bundle: Path, photos: list[Path]):
    taken: list[Path] = []
    live = (taken.append(photo) or photo for photo in photos)
    stream = load_bundle(bundle, threads=1).stream(live, batch_size=2, workers=0)
    next(stream)
    assert taken == photos[:2] and not readers()


def test_images_and_arrays_are_used_before_the_next_is_taken(bundle: Path):
    """A camera may write every frame into the same array, and a film is one Pillow image."""

    def frames() -> Iterator[np.ndarray]:
        frame = np.zeros((40, 50, 3), np.uint8)
        for colour in COLOURS.values():
            frame[:] = colour
            yield frame

    def pictures() -> Iterator[Image.Image]:
        film = Image.new("RGB", (50, 40))
        for colour in COLOURS.values():
            film.paste(colour, (0, 0, 50, 40))
            yield film

    predictor = load_bundle(bundle, threads=1)
    for source in (frames(), pictures()):
        answers = predictor.stream(source, workers=2)
        assert [answer.label for answer in answers if isinstance(answer, Classification)] == [*COLOURS]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_raises_its_own_error_behind_the_predictions_before_it(
    bundle: Path, photos: list[Path], workers: int
):
    photos[10].write_bytes(photos[10].read_bytes()[:300])
    predictor = load_bundle(bundle, threads=1)
    with pytest.raises(DecodeError) as alone:
        predictor.card.input(photos[10])
    stream = predictor.stream(photos, batch_size=4, workers=workers)
    assert [answer.label for answer in islice(stream, 10) if isinstance(answer, Classification)][9] == "1 red"
    with pytest.raises(DecodeError) as streamed:
        next(stream)
    with pytest.raises(DecodeError) as called:
        predictor(photos)
    assert str(alone.value) == str(streamed.value) == str(called.value)
    assert "10.jpg: damaged" in str(alone.value)
    assert not readers()


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_may_be_kept_in_their_places(bundle: Path, photos: list[Path], workers: int):
    """A whole batch of them, too, gives no run of the graph."""
    bad = [2, 4, 5, 6, 7, 29]
    for number in bad:
        photos[number].unlink()
    predictor = Predictor(session := RecordingSession(), load_bundle(bundle).card)
    answers = list(predictor.stream(photos, batch_size=4, workers=workers, keep_unreadable=True))
    assert [number for number, answer in enumerate(answers) if isinstance(answer, DecodeError)] == bad
    assert all(str(answers[number]) == f"{photos[number]}: no such file" for number in bad)
    assert [answer.label for answer in answers if isinstance(answer, Classification)] == [
        [*COLOURS][number % 3] for number in range(30) if number not in bad
    ]
    assert [len(batch) for batch in session.batches] == [3, 4, 4, 4, 4, 4, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_no_image_is_an_error_even_where_unreadable_ones_are_kept(
    bundle: Path, photos: list[Path], workers: int
):
    stream = load_bundle(bundle).stream([photos[0], None], workers=workers, keep_unreadable=True)  # pyright: ignore
    assert isinstance(next(stream), Classification)
    with pytest.raises(InputError, match="a path, a Pillow image or a uint8 array, got NoneType"):
        next(stream)
    assert not readers()


def test_an_error_of_the_graph_or_of_the_source_ends_the_threads(bundle: Path, photos: list[Path]):
    def fail() -> None:
        raise InputError("the graph cannot")

    def broken() -> Iterator[Path]:
        yield from photos[:9]
        raise LookupError("the source cannot")

    card = load_bundle(bundle).card
    with pytest.raises(InputError, match="the graph cannot"):
        list(Predictor(RecordingSession(fail), card).stream(photos, batch_size=2, workers=2))
    with pytest.raises(LookupError, match="the source cannot"):
        list(Predictor(RecordingSession(), card).stream(broken(), batch_size=2, workers=2))
    assert not readers()


def test_a_loop_that_is_left_early_leaves_no_threads_and_reads_no_further(
    bundle: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    done = slow_input(monkeypatch, lambda image: 0.02)
    for _ in load_bundle(bundle, threads=1).stream(photos, batch_size=2, workers=2):
        break
    assert not readers()
    assert len(done) <= 2 + 2 * AHEAD + 2


INTERRUPTED = """
import signal, sys, time, threading
import nextvit
from nextvit.image.resizing import Preprocess
# The background jobs of a shell, and their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
read = Preprocess.prepare
def slow(self, image):
    time.sleep(0.1)
    return read(self, image)
Preprocess.prepare = slow
predictor = nextvit.load(sys.argv[1], threads=1)
try:
    print("started", flush=True)
    for answer in predictor.stream([sys.argv[2]] * 100_000, batch_size=64, workers=2):
        pass
except KeyboardInterrupt:
    print("interrupted", threading.active_count())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_a_stream_promptly(bundle: Path, photos: list[Path]):
    """While it waits for slow images, of which 193 are in the queue: ten seconds of reading."""
    command = [sys.executable, "-c", INTERRUPTED, str(bundle), str(photos[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "started\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, _ = process.communicate(timeout=60)
    assert out == "interrupted 1\n"
    assert time.monotonic() - started < 5


def test_pixels_are_bytes_all_the_way_to_the_graph(bundle: Path, photos: list[Path]):
    """No float copy anywhere: it alone would take four times the batch, and 1.3 of it is what was allocated in all.

    Decoding itself is Pillow's, whose memory is not counted here; what numpy allocates is.
    """
    side, count = 256, 16
    card = load_bundle(bundle).card
    card = replace(card, input=replace(card.input, image_size=(side, side)))
    session = RecordingSession()
    session.run = lambda inputs: (
        session.batches.append(inputs["images"])
        or {  # type: ignore[method-assign]
            "logits": np.zeros((len(inputs["images"]), 3), np.float32)
        }
    )
    predictor = Predictor(session, card)
    images = [photos[0], Encoded(photos[1].read_bytes(), "x"), Image.open(photos[2]), np.zeros((90, 80, 3), np.uint8)]
    predictor(images)
    tracemalloc.start()
    predictor(images * (count // len(images)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(batch.dtype == np.uint8 and batch.flags.c_contiguous for batch in session.batches)
    batch_bytes = count * side * side * 3
    assert session.batches[-1].nbytes == batch_bytes
    assert peak < 3 * batch_bytes  # each image, and all of them together


@pytest.mark.parametrize("images", ["a.jpg", None, 3, Path("a.jpg"), Image.new("RGB", (9, 9))])
def test_what_is_not_several_images_is_refused_before_the_first_prediction(bundle: Path, images: Any):
    with pytest.raises(InputError, match="pass several images"):
        load_bundle(bundle).stream(images)


def test_settings_are_checked_before_the_first_prediction(bundle: Path, photos: list[Path]):
    predictor = load_bundle(bundle)
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        predictor.stream(photos, batch_size=0)
    with pytest.raises(InputError, match="workers must not be negative, got -1"):
        predictor.stream(photos, workers=-1)


def test_one_image_is_read_without_threads(bundle: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch):
    done = slow_input(monkeypatch, lambda image: 0.0)
    nextvit.load(bundle, threads=1)(photos[:1])
    assert [name for _, name in done] == [threading.current_thread().name]


def test_the_default_is_a_thread_for_each_core_within_reason(monkeypatch: pytest.MonkeyPatch):
    assert 1 <= default_workers() <= usable_cores()
    for cores, expected in ((1, 1), (8, 8), (128, 16)):
        monkeypatch.setattr(reading, "usable_cores", lambda cores=cores: cores)
        assert default_workers() == expected


def test_waiting_for_images_takes_no_more_of_them_than_promised(photos: list[Path]):
    taken: list[Path] = []
    images = (taken.append(photo) or photo for photo in photos)
    spec = Preprocess(image_size=(32, 48))
    inputs = prepare_ahead(images, spec, workers=1, ahead=4)
    first = next(inputs)
    assert not isinstance(first, InputError) and np.array_equal(first.pixels, spec(photos[0]))
    assert len(taken) == 5
    inputs.close()
    assert not readers()
