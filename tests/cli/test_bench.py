"""What `nextvit bench` checks before it measures, and what it leaves when something is wrong."""

import json
import shutil
from pathlib import Path

import pytest

from nextvit.benchmark import profile, suite
from nextvit.files.run_folder import read_json_lines
from tests.cli.commands import BRIEF, refused
from tests.conftest import draw_dataset, needs
from tests.runtime.conftest import CLASSES, write_colour_bundle

pytestmark = pytest.mark.serial
WHOLE = ("--runs", 2, "--seconds", 0, "--threads", 1)


@pytest.fixture(autouse=True)
def needed() -> None:
    needs("onnxruntime")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A model by hand, which tells the brightest channel."""
    return write_colour_bundle(tmp_path / "colours.nextvit")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Images of the classes that the bundle by hand knows."""
    dataset = draw_dataset(tmp_path / "labelled", train=2, val=2)
    for split in ("train", "val"):
        for name in CLASSES:  # "1 red"
            (dataset / split / name.split()[1]).rename(dataset / split / name)
    return dataset


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring is a failure."""
    monkeypatch.setattr(suite, "run_benchmark", lambda *arguments, **named: pytest.fail("measured too early"))
    monkeypatch.setattr(suite, "measure_limits", lambda *arguments, **named: pytest.fail("measured too early"))


@pytest.mark.backend
def test_what_cannot_be_loaded_does_not_end_the_rest(bundle: Path, labelled: Path, tmp_path: Path, call, monkeypatch):
    needs("onnx")
    monkeypatch.setattr(profile, "SECONDS", 0.1)
    damaged = shutil.copytree(bundle, tmp_path / "damaged.nextvit")
    (damaged / "model.onnx").write_bytes(b"no longer what was proven")
    done = call("bench", bundle, damaged, *WHOLE, "--quick", "--data", labelled, "--profile", "--json")
    assert done.code == 0, done.err
    [result] = done.document["results"]
    assert result["score"]["images"] == 6
    assert [each["model"] for each in done.document["unavailable"]] == [str(damaged)]
    assert list(done.document["profiles"]) == [result["name"]]
    assert done.document["profiles"][result["name"]]["batch"] == 1
    assert done.document["profiles"][result["name"]]["operators"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "phtos"), ["phtos: no such folder"]),
        (("--data", "other"), ["the model has 3 classes (1 red, 2 green, 3 blue)"]),
        (("--fail-if", "p50>+5%"), ["'p50>+5%' compares with a baseline; add --baseline FILE"]),
        (("--fail-if", "cold_start>500", "--quick"), ["cold_start would not be measured", "no --quick"]),
        (("--fail-if", "score<80"), ["score would not be measured", "--data"]),
        (("--save", "nodir/x.jsonl"), ["nodir/x.jsonl: there is no folder nodir"]),
        (("--page", "nodir/x.html"), ["nodir/x.html: there is no folder nodir"]),
        (("--page", "other"), ["other: is a folder"]),
        (("--baseline", "elsewhere.jsonl", "--fail-if", "p50>+5%"), ["was measured on 'another processor'"]),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(
    arguments: tuple[str, ...],
    words: list[str],
    bundle: Path,
    tmp_path: Path,
    call,
    unmeasured,
    monkeypatch,
):
    draw_dataset(tmp_path / "other", train=2, val=1)
    facts = {"model": str(bundle), "backend": "onnx", "precision": "fp32", "threads": 1, "batch": 1, "p50_ms": 1.0}
    elsewhere = {"name": "colours", **facts, "image_size": [32, 48], "environment": {"cpu": "another processor"}}
    (tmp_path / "elsewhere.jsonl").write_text(json.dumps(elsewhere))
    monkeypatch.chdir(tmp_path)
    refused(call("bench", bundle, *arguments), *words)


def test_a_network_by_its_name_has_no_score_to_ask_for(bundle: Path, labelled: Path, call, unmeasured, monkeypatch):
    loaded = suite.load_all

    def by_name(found, batches):
        ready, missing = loaded(found, batches)
        object.__setattr__(ready[0].configuration, "kind", "variant")
        return ready, missing

    monkeypatch.setattr(suite, "load_all", by_name)
    refused(call("bench", bundle, "--data", labelled, "--fail-if", "score<80"), "score would not be measured")


def test_a_profile_without_the_package_that_reads_the_file(bundle: Path, call, unmeasured, monkeypatch):
    monkeypatch.setattr(profile, "find_spec", lambda name: None)
    done = call("bench", bundle, *BRIEF, "--profile")
    assert done.code == 3
    assert "'onnx' is not installed" in done.err


def test_records_are_kept_before_they_are_judged(bundle: Path, tmp_path: Path, call):
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    assert call("bench", bundle, *BRIEF, "--threads", 1, "--batch", 2, "--save", before).code == 0
    arguments = ("--baseline", before, "--fail-if", "p50>+5%", "--save", after)
    done = call("bench", bundle, *BRIEF, "--threads", 1, *arguments)
    assert done.code == 2 and "no configuration has p50" in done.err
    assert [each["batch"] for each in read_json_lines(after)] == [1]


def test_damaged_images_are_left_out_of_the_time_from_file_to_prediction(
    bundle: Path, labelled: Path, call, monkeypatch
):
    monkeypatch.setattr(suite, "measure_limits", lambda *arguments: suite.Limits())
    picture = labelled / "val" / "1 red" / "0.png"
    picture.write_bytes(picture.read_bytes()[:100])
    done = call("bench", bundle, *WHOLE, "--data", labelled, "--json")
    assert done.code == 0, done.err
    assert "left out of the time from file to prediction" in done.err and "0.png: " in done.err
    assert done.document["results"][0]["end_to_end"]["images"] == 100
    assert done.document["results"][0]["score"]["images"] == 5


def test_without_single_images_the_time_from_file_to_prediction_is_missed(bundle: Path, call, monkeypatch):
    monkeypatch.setattr(suite, "measure_limits", lambda *arguments: suite.Limits())
    done = call("bench", bundle, *WHOLE, "--batch", 2)
    assert "warning: the time from file to prediction is one of single images; add 1 to --batch" in done.out
    assert "the time from file to prediction" not in call("bench", bundle, *WHOLE, "--batch", 2, "--quick").out


def test_bundles_of_equal_precision_have_scores_of_their_own(bundle: Path, labelled: Path, tmp_path: Path):
    """As two exports of one run, of which one is better."""
    from nextvit.benchmark.configurations import Selection, bundle_configurations
    from nextvit.cli.bench import scores_of
    from nextvit.tasks.reading import read_dataset

    worse = write_colour_bundle(tmp_path / "worse.nextvit")
    found = [each for path in (bundle, worse) for each in bundle_configurations(path, "a run", "run", Selection())]
    loaded, _ = suite.load_all(found, [1])
    assert [each.configuration.bundle for each in loaded] == ["colours.nextvit", "worse.nextvit"]
    session = loaded[1].predictor.session
    loaded[1].predictor.session = Reversed(session)
    scores = scores_of(loaded, read_dataset(labelled))
    assert scores["colours"]["value"] == 100.0 and scores["worse"]["value"] < 50.0


class Reversed:
    """Answers of the last class for the first."""

    def __init__(self, session) -> None:
        self.session = session

    def run(self, inputs):
        return {"logits": self.session.run(inputs)["logits"][:, ::-1]}

    def facts(self):
        return self.session.facts()
