"""Every verb, as a user types it: what it prints, and with which code it ends."""

import re
import shutil
from pathlib import Path

import pytest

from nextvit.cli import main as command_line
from nextvit.errors import InputError
from nextvit.files.run_folder import read_json_lines
from nextvit.loading import load
from tests.cli.commands import BRIEF, FAST
from tests.conftest import draw_dataset


def test_train_ends_with_the_score_and_the_report(pictures: Path, tmp_path: Path, call):
    done = call("train", pictures, "--out", tmp_path / "run", *FAST, "--epochs", 1, "--json")
    assert done.code == 0
    assert done.document["verb"] == "train"
    assert done.document["images"] == 12
    assert Path(done.document["report"]).is_file()
    assert re.search(r"epoch +1/1 +loss .* images/s +waiting .* left", done.err)


def test_report_is_one_self_contained_page(run_folder: Path):
    page = (run_folder / "report.html").read_text()
    for part in ("Training", "One image of each class", "Confusion", "Classes", "Exports", "onnx fp32", "recipe.yaml"):
        assert part in page
    assert page.count("<svg") >= 2
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"|<!DOCTYPE[^>]*>', "", page)


def test_settings_come_from_flags_then_the_file_then_the_recipe(pictures: Path, tmp_path: Path, call):
    import yaml

    (tmp_path / "mine.yaml").write_text("optim: {lr: 0.003, weight_decay: 0.2}\nschedule: {epochs: 1}\n")
    done = call(
        "train", pictures, "--out", tmp_path / "run", *FAST, "--config", tmp_path / "mine.yaml", "--recipe", "smoke"
    )
    assert done.code == 0
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (recipe["optim"]["lr"], recipe["optim"]["weight_decay"]) == (2e-3, 0.2)
    assert recipe["schedule"]["epochs"] == 1
    assert recipe["augment"]["flip"] == 0.0  # of the recipe smoke
    assert recipe["dataset"] == str(pictures.resolve())


def test_resume_takes_the_runs_own_recipe_and_new_flags(pictures: Path, tmp_path: Path, call):
    out = tmp_path / "run"
    assert call("train", pictures, "--out", out, *FAST, "--epochs", 1).code == 0
    assert call("train", pictures, "--out", out, "--resume", "--epochs", 2).code == 0
    assert [record["epoch"] for record in read_json_lines(out / "metrics.jsonl")] == [1, 2]


def test_a_runs_recipe_repeats_it(run_folder: Path, pictures: Path, tmp_path: Path, call):
    done = call("train", pictures, "--out", tmp_path / "again", "--config", run_folder / "recipe.yaml", "--epochs", 1)
    assert done.code == 0
    first, again = (read_json_lines(folder / "metrics.jsonl")[0] for folder in (run_folder, tmp_path / "again"))
    assert first["step"] == again["step"]


def test_eval_gives_the_same_evaluation_to_run_checkpoint_and_bundle(
    run_folder: Path, bundle: Path, pictures: Path, call
):
    checkpoint = run_folder / "checkpoints" / "best" / "model.safetensors"
    scores = [call("eval", model, pictures, "--json").document["scores"] for model in (run_folder, checkpoint, bundle)]
    assert scores[0]["top1_score"] >= 90
    assert scores[0] == scores[1]
    assert scores[2] == pytest.approx(scores[0], abs=1e-4)
    assert "top-1" in call("eval", run_folder, pictures, "--split", "train").out


def test_predict_writes_images_and_lines(bundle: Path, pictures: Path, tmp_path: Path, call):
    done = call("predict", bundle, pictures / "val" / "red", "--out", tmp_path / "answers", "--json")
    assert done.code == 0
    assert [each["top"][0]["label"] for each in done.document["predictions"]] == ["red"] * 4
    assert read_json_lines(tmp_path / "answers" / "predictions.jsonl") == done.document["predictions"]
    assert len(list((tmp_path / "answers").glob("*.jpg"))) == 4


def test_predict_does_what_it_can_and_ends_with_1_for_the_rest(bundle: Path, pictures: Path, tmp_path: Path, call):
    shutil.copy(pictures / "val" / "red" / "0.png", tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    done = call("predict", bundle, tmp_path / "bad.png", tmp_path / "good.png")
    assert done.code == 1
    assert "could not be read" in done.err and "bad.png" in done.err
    assert "good.png" in done.out and "red" in done.out


def test_export_reports_the_proof(run_folder: Path, tmp_path: Path, call):
    done = call("export", run_folder, "--out", tmp_path / "b.nextvit", "--max-drop", 0, "--json")
    assert done.code == 0
    proven = done.document["verification"]
    assert proven["agreement"] == 1.0
    assert proven["before"]["score"] == proven["after"]["score"]


@pytest.mark.backend
def test_export_takes_any_folder_of_images_for_the_proof(run_folder: Path, pictures: Path, tmp_path: Path, call):
    checkpoint = run_folder / "checkpoints" / "best" / "model.safetensors"
    done = call("export", checkpoint, "--data", pictures / "val" / "red", "--out", tmp_path / "b.nextvit", "--json")
    assert done.document["verification"]["images"] == 4


def test_verify_again_against_the_run_and_the_data(bundle: Path, run_folder: Path, pictures: Path, call):
    done = call("verify", bundle, "--against", run_folder, "--data", pictures, "--json")
    assert done.code == 0
    assert done.document["golden"]["images"] == 4
    assert done.document["against"]["agreement"] == 1.0
    assert done.document["exam"]["score"] >= 90
    assert "golden examples met" in (shown := call("verify", bundle).out)
    assert "not checked" not in shown
    assert done.document["differs"] == {}
    done = call("verify", run_folder)
    assert done.code == 2 and f"is a run; its bundles are in {run_folder / 'exports'}" in done.err


def test_a_signature_that_is_not_checked_is_told(bundle: Path, tmp_path: Path, call):
    signed = Path(shutil.copytree(bundle, tmp_path / "signed.nextvit"))
    (signed / "manifest.sig").write_bytes(bytes(64))
    assert re.search(r"signed +not checked, pass --key", call("verify", signed).out)
    assert call("verify", signed, "--json").document["signed"]


def test_a_run_predicts_at_another_size_too(run_folder: Path, pictures: Path):
    predictor = load(run_folder, image_size=(96, 64))
    assert predictor.card.input.image_size == (96, 64)
    assert predictor(sorted((pictures / "val" / "red").iterdir())[:1])[0].label
    with pytest.raises(InputError, match="takes sides of 33 to 4096 px, got height 16, width 64"):
        load(run_folder, image_size=(16, 64))
    assert predictor.session.facts()["precision"] == "fp32"


def test_info_tells_what_a_bundle_takes_and_scores(bundle: Path, call):
    document = call("info", bundle, "--json").document
    assert (document["image sizes"], document["signed"]) == ("this one", "no")
    assert re.fullmatch(r"\d+\.\d MB", document["files"])
    assert re.fullmatch(r"\d+\.\d\d %", document["top-1"])
    assert re.fullmatch(r"-?\d+\.\d\d points", document["drop against PyTorch"])


def test_verify_against_another_run_says_no(bundle: Path, pictures: Path, tmp_path: Path, call):
    call("train", pictures, "--out", tmp_path / "other", *FAST, "--epochs", 1, "--compute.seed", 5)
    done = call("verify", bundle, "--against", tmp_path / "other")
    assert done.code == 1
    assert f"differs from {tmp_path / 'other'} on 12 images: largest error" in done.err


@pytest.mark.backend
@pytest.mark.serial
def test_bench_scores_profiles_and_writes_its_page(run_folder: Path, pictures: Path, tmp_path: Path, call):
    page, lines = tmp_path / "bench.html", tmp_path / "bench.jsonl"
    done = call(
        *("bench", run_folder, "--threads", 1, "--runs", 2, "--seconds", 0, "--data", pictures),
        *("--profile", "--page", page, "--save", lines),
    )
    assert done.code == 0, done.err
    assert "matrix products" in done.out and "of limit" in done.out and "first prediction after" in done.out
    records = read_json_lines(lines)
    assert [each["backend"] for each in records] == ["torch", "onnx"]
    for each in records:
        assert each["score"]["images"] == 12 and each["score"]["name"] == "top1_score"
        assert sum(each["end_to_end"]["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert 0 < each["peak_share"] < 2
    assert records[0]["score"]["value"] == records[1]["score"]["value"]
    assert "<svg" in page.read_text(encoding="utf-8")


@pytest.mark.serial
def test_bench_fails_by_a_condition_and_compares_with_a_baseline(run_folder: Path, tmp_path: Path, call):
    lines = tmp_path / "before.jsonl"
    assert call("bench", run_folder, "--runtimes", "onnx", *BRIEF, "--save", lines).code == 0
    done = call("bench", run_folder, "--runtimes", "onnx", *BRIEF, "--baseline", lines, "--fail-if", "p50>+100000%")
    assert done.code == 0, done.err
    done = call("bench", run_folder, "--runtimes", "onnx", *BRIEF, "--fail-if", "p50>0.0001ms")
    assert done.code == 1
    assert "p50" in done.err and done.err.count("\n") <= 3
    done = call("bench", run_folder, "--runtimes", "onnx", *BRIEF, "--fail-if", "p50>0.0001ms", "--json")
    assert done.code == 1
    assert done.document["failed"]
    assert call("bench", run_folder, *BRIEF, "--baseline", lines).code == 2


def test_bench_says_what_was_not_exported(run_folder: Path, call):
    done = call("bench", run_folder, "--runtimes", "onnx", "--precisions", "fp32,int8", *BRIEF)
    assert done.code == 0
    assert f"not exported; nextvit export {run_folder} --to onnx --precision int8" in done.out


@pytest.mark.serial
def test_bench_compares_pytorch_with_the_bundle(run_folder: Path, call):
    done = call("bench", run_folder, "--batch", "1,2", *BRIEF, "--threads", 1, "--json")
    assert [(each["backend"], each["batch"]) for each in done.document["results"]] == [
        ("torch", 1), ("onnx", 1), ("torch", 2), ("onnx", 2),
    ]  # fmt: skip
    assert done.document["results"][0]["ratio"] == 1.0
    assert all(each["threads"] == 1 for each in done.document["results"])
    assert "Latency" in (run_folder / "report.html").read_text()


def test_models_of_the_same_name_are_told_apart(run_folder: Path, tmp_path: Path, call):
    shutil.copytree(run_folder, tmp_path / "run")
    done = call("bench", run_folder, tmp_path / "run", "--runtimes", "torch", *BRIEF, "--json")
    assert [each["name"] for each in done.document["results"]] == [
        f"run (PyTorch) {run_folder}",
        f"run (PyTorch) {tmp_path / 'run'}",
    ]


def test_names_that_look_like_markup_or_formulas_are_shown_as_they_are(tmp_path: Path, call):
    draw_dataset(tmp_path / "odd", train=8)
    for split in ("train", "val"):
        (tmp_path / "odd" / split / "red").rename(tmp_path / "odd" / split / "[b]$10_$20")
    assert "[b]$10_$20" in call("check", tmp_path / "odd").out
    done = call("train", tmp_path / "odd", "--out", tmp_path / "run", *FAST, "--epochs", 1)
    assert done.code == 0
    assert "[b]$10_$20" in (tmp_path / "run" / "report.html").read_text()


def test_models_lists_variants_and_weights(call):
    document = call("models", "--json").document
    assert document["models"]["nextvit_small"]["parameters"] == 31_763_368
    assert len(document["weights"]) == 12
    assert "31.76 M" in call("models").out


def test_info_knows_runs_checkpoints_and_bundles(run_folder: Path, bundle: Path, call):
    assert call("info", run_folder, "--json").document["epochs done"] == 5
    assert (
        call("info", run_folder / "checkpoints" / "best" / "model.safetensors", "--json").document["what"]
        == "checkpoint"
    )
    assert call("info", bundle, "--json").document["classes"] == ["blue", "green", "red"]


def test_check_ends_with_0_or_1(pictures: Path, tmp_path: Path, call):
    assert call("check", pictures).code == 0
    shutil.copytree(pictures, tmp_path / "bad")
    (tmp_path / "bad" / "train" / "red" / "0.png").write_bytes(b"")
    done = call("check", tmp_path / "bad", "--json")
    assert done.code == 1
    [finding] = done.document["findings"]
    assert (finding["severity"], finding["kind"]) == ("error", "unreadable")
    assert finding["files"] == [str(tmp_path / "bad" / "train" / "red" / "0.png")]
    assert done.document["classes"]["red"] == {"train": 24, "val": 4}


def test_check_lists_faults_of_the_structure_beside_the_others(pictures: Path, tmp_path: Path, call):
    shutil.copytree(pictures, tmp_path / "bad")
    (tmp_path / "bad" / "train" / "yellow").mkdir()
    (tmp_path / "bad" / "train" / "red" / "0.png").write_bytes(b"")
    done = call("check", tmp_path / "bad")
    assert done.code == 1
    assert "yellow: class without images" in done.out and "train/red/0.png" in done.out
    assert "2 errors, 0 warnings, 0 notes" in done.out


def test_check_shows_a_few_findings_of_a_kind_and_the_document_all(pictures: Path, tmp_path: Path, call):
    shutil.copytree(pictures, tmp_path / "bad")
    for index in range(9):
        (tmp_path / "bad" / "train" / "red" / f"{index}.png").write_bytes(b"")
    done = call("check", tmp_path / "bad")
    assert done.out.count("unreadable") == 3 and "... and 6 more" in done.out
    assert call("check", tmp_path / "bad", "--json").document["errors"] == 9


def test_check_writes_nothing_but_the_page_it_was_asked_for(pictures: Path, tmp_path: Path, call):
    shutil.copytree(pictures, tmp_path / "photos")
    before = sorted(tmp_path.rglob("*"))
    assert call("check", tmp_path / "photos").code == 0
    assert sorted(tmp_path.rglob("*")) == before
    done = call("check", tmp_path / "photos", "--report", tmp_path / "check.html")
    assert f"the images of each finding: {tmp_path / 'check.html'}" in done.out
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "check.html"])


def test_shards_take_the_datasets_place(run_folder: Path, pictures: Path, tmp_path: Path, call):
    shards = tmp_path / "shards"
    document = call("shard", pictures, "--out", shards, "--json").document
    assert document["splits"]["train"] == {
        "images": 72, "shards": 1, "bytes": (shards / "train-000000.tar").stat().st_size,
    }  # fmt: skip
    assert call("check", shards).code == 0
    by_tree, by_shards = (call("eval", run_folder, data, "--json").document for data in (pictures, shards))
    assert by_tree["scores"] == by_shards["scores"]
    shown = by_shards["details"]["examples"][0]
    [answer] = call("predict", run_folder, shown["path"], "--json").document["predictions"]
    assert answer["top"][0]["probability"] == pytest.approx(shown["probability"], abs=1e-5)


def test_a_run_on_shards_is_the_run_on_the_files_and_its_report_shows_images(
    run_folder: Path, pictures: Path, tmp_path: Path, call
):
    shards, run = tmp_path / "shards", tmp_path / "run"
    assert call("shard", pictures, "--out", shards).code == 0
    assert call("train", shards, "--out", run, *FAST, "--epochs", 1).code == 0
    by_files, by_shards = (read_json_lines(folder / "metrics.jsonl")[0] for folder in (run_folder, run))
    assert by_shards["step"] == by_files["step"]
    assert (run / "report.html").read_text().count("data:image") >= 3


@pytest.mark.parametrize("verb", command_line.VERBS)
def test_every_help_has_an_example(verb: str, call):
    done = call(verb, "--help")
    assert done.code == 0
    assert f"Example: nextvit {verb}" in done.out


def test_version(call):
    import nextvit

    assert call("--version").out.strip() == nextvit.__version__
