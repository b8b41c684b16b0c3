"""Images with several labels, the whole way on the command line."""

import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nextvit.cli import main as command_line
from nextvit.files.run_folder import read_json_lines
from tests.cli.commands import FAST
from tests.conftest import MadeOnce, draw_dataset

SIDE_PX = 40


def draw_shapes(folder: Path, *, train: int = 96, val: int = 32) -> Path:
    """Noise with a red square, a blue disc, both, or neither, and the list of what is where."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["path,labels,split"]
    for number in range(train + val):
        picture = Image.fromarray(generator.integers(90, 160, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8))
        draw, labels = ImageDraw.Draw(picture), []
        for name, is_there in (("red square", number & 1), ("blue disc", number & 2)):
            if is_there:
                left, top = generator.integers(0, SIDE_PX - 18, 2).tolist()
                box = (left, top, left + 17, top + 17)
                if name == "red square":
                    draw.rectangle(box, fill=(220, 40, 30))
                else:
                    draw.ellipse(box, fill=(30, 60, 220))
                labels.append(name)
        picture.save(folder / "images" / f"{number:03d}.png")
        lines.append(f"images/{number:03d}.png,{'|'.join(labels)},{'train' if number < train else 'val'}")
    (folder / "shapes.csv").write_text("\n".join(lines))
    return folder / "shapes.csv"


@pytest.fixture(scope="module")
def trained(made_once: MadeOnce) -> Path:
    """Images, a short run on them with an exported bundle, and what training said."""

    def make(folder: Path) -> None:
        shapes, out = draw_shapes(folder / "shapes"), folder / "run"
        with (folder / "said.txt").open("w") as file, redirect_stderr(file), redirect_stdout(file):
            train = [
                "train",
                str(shapes),
                "--out",
                str(out),
                *map(str, FAST),
                "--compute.threads",
                "1",
                "--epochs",
                "5",
            ]
            assert command_line.run(train) == 0
        assert command_line.run(["export", str(out), "--max-drop", "0"]) == 0

    return made_once("trained-on-several-labels", make)


@pytest.fixture(scope="module")
def shapes(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, to which a test adds images."""
    return Path(shutil.copytree(trained / "shapes", tmp_path_factory.mktemp("own") / "shapes")) / "shapes.csv"


@pytest.fixture(scope="module")
def run_folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, into which verbs may write."""
    return Path(shutil.copytree(trained / "run", tmp_path_factory.mktemp("cli") / "run"))


@pytest.fixture(scope="module")
def bundle(run_folder: Path) -> Path:
    return run_folder / "exports" / "run-onnx-fp32.nextvit"


def test_eval_gives_the_same_evaluation_to_run_and_bundle(run_folder: Path, bundle: Path, shapes: Path, call):
    of_run, of_bundle = (call("eval", model, shapes, "--json").document for model in (run_folder, bundle))
    assert of_run["scores"]["mean_ap_score"] >= 90
    assert of_run["scores"]["micro_f1_score"] >= 75
    low, high = of_run["interval_95"]
    assert low <= of_run["scores"]["mean_ap_score"] <= high
    assert of_bundle["scores"] == pytest.approx(of_run["scores"], abs=1e-4)
    shown = call("eval", bundle, shapes).out
    assert re.search(r"blue disc +\d+\.\d\d %\nred square +\d+\.\d\d %\nmean AP \d+\.\d\d %  micro F1", shown)
    assert "average precision" in shown and "(mean AP 95 %:" in shown


def test_train_tells_the_mean_ap_of_each_epoch(trained: Path, run_folder: Path):
    said = (trained / "said.txt").read_text()
    assert re.search(r"epoch +1/5 +loss .* mean AP +\d", said)
    assert "best checkpoint: mean AP" in said
    assert "val_mean_ap_score" in read_json_lines(run_folder / "metrics.jsonl")[0]


def test_predict_gives_sets_of_labels(bundle: Path, shapes: Path, tmp_path: Path, call):
    evaluation = call("eval", bundle, shapes, "--json").document
    pictures = sorted((shapes.parent / "images").iterdir())[96:]
    done = call("predict", bundle, *pictures, "--out", tmp_path / "answers", "--json")
    assert done.code == 0
    answered = [{guess["label"] for guess in each["present"]} for each in done.document["predictions"]]
    true = [{name for name, bit in (("red square", 1), ("blue disc", 2)) if number & bit} for number in range(96, 128)]
    right = [one == other for one, other in zip(answered, true, strict=True)]
    assert 100 * np.mean(right) == evaluation["scores"]["exact_match_score"]
    for each in done.document["predictions"]:
        assert len(each["present"]) + len(each["absent"]) == 2
        assert all(guess["probability"] >= 0.5 for guess in each["present"])
        assert all(guess["probability"] < 0.5 for guess in each["absent"])
    assert read_json_lines(tmp_path / "answers" / "predictions.jsonl") == done.document["predictions"]
    assert len(list((tmp_path / "answers").glob("*.jpg"))) == 32
    shown = call("predict", bundle, *pictures).out
    assert "none" in shown and re.search("(red square, blue disc|blue disc, red square)", shown)


def test_export_and_verify_prove_every_decision(run_folder: Path, bundle: Path, shapes: Path, call):
    done = call("verify", bundle, "--against", run_folder, "--data", shapes, "--json")
    assert done.code == 0
    assert done.document["against"]["agreement"] == 1.0
    assert done.document["against"]["images"] == 32
    assert done.document["exam"]["metric"] == "mean_ap_score"
    assert "mean AP" in call("verify", bundle, "--data", shapes).out


def test_info_and_bench_take_runs_and_bundles(run_folder: Path, bundle: Path, call):
    facts = call("info", run_folder, "--json").document
    assert facts["task"] == "multilabel" and re.fullmatch(r"\d+\.\d\d %", facts["best mean AP"])
    assert call("info", bundle, "--json").document["task"] == "multilabel"
    done = call("bench", bundle, "--runs", 2, "--seconds", 0, "--quick", "--json")
    assert done.code == 0


def test_report_shows_average_precision_and_no_confusion(run_folder: Path):
    page = (run_folder / "report.html").read_text()
    for part in ("mean AP on 32 images", "Validation mean AP, %", "average precision", "recall", "Exports"):
        assert part in page
    assert "Confusion" not in page and "top-1" not in page


def test_check_counts_each_label(shapes: Path, call):
    done = call("check", shapes)
    assert done.code == 0
    assert re.search(r"blue disc +48 +16\nred square +48 +16\n", done.out)


def test_a_dataset_of_another_task_is_refused(bundle: Path, tmp_path: Path, call):
    done = call("eval", bundle, draw_dataset(tmp_path / "colours", train=1, val=1))
    assert done.code == 2
    assert "the model was trained for multilabel" in done.err


def test_balancing_is_refused_and_leaves_nothing(shapes: Path, tmp_path: Path, call):
    done = call("train", shapes, "--out", tmp_path / "run", *FAST, "--data.balance", "on")
    assert done.code == 2
    assert "data.balance needs one class for each image" in done.err
    assert not (tmp_path / "run").exists()


def test_the_same_image_with_other_labels_is_found(shapes: Path, call):
    lines = shapes.read_text().splitlines()
    (shapes.parent / "images" / "copy.png").write_bytes((shapes.parent / "images" / "003.png").read_bytes())
    (shapes.parent / "copied.csv").write_text("\n".join([*lines, "images/copy.png,red square,train"]))
    done = call("check", shapes.parent / "copied.csv")
    assert done.code == 1
    assert "duplicate_across_classes  images/003.png, images/copy.png" in done.out
