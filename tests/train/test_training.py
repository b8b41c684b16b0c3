"""A whole training: it learns, it can be killed, it goes on as if nothing had happened."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import nextvit
from nextvit.errors import InputError
from nextvit.files.run_folder import read_json_lines
from nextvit.recipes import RECIPES, get_recipe
from nextvit.tasks.label_objective import CrossEntropy
from nextvit.tasks.network import build_network
from nextvit.tasks.reading import read_dataset
from nextvit.train.card import build_card
from nextvit.train.checkpoint import resume
from nextvit.train.distributed import World
from nextvit.train.prepare import prepare
from nextvit.train.recipe import Compute, Ema, Model, Optim, Schedule
from nextvit.train.start import train
from tests.conftest import MadeOnce, draw_dataset
from tests.train.runs import RECIPE, finished_run, run, weights


@pytest.fixture(scope="module")
def pictures(made_once: MadeOnce) -> Path:
    """Enough images of three colours to learn them: nine steps an epoch."""
    return made_once("nine-steps-of-colours", lambda folder: draw_dataset(folder, train=24))


@pytest.fixture(scope="module")
def finished(made_once: MadeOnce, pictures: Path) -> tuple[Path, dict[int, float]]:
    """One uninterrupted run of six epochs."""
    return finished_run(made_once, "trained-classifier", pictures, RECIPE)


def test_it_learns_the_colours(finished: tuple[Path, dict[int, float]]):
    out, losses = finished
    records = read_json_lines(out / "metrics.jsonl")
    assert [record["epoch"] for record in records] == list(range(1, 7))
    assert losses[54] < 0.8 * losses[1]
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["scores"]["top1_score"] >= 90
    assert evaluation["images"] == 12


def test_a_run_leaves_what_it_promises(finished: tuple[Path, dict[int, float]]):
    out, _ = finished
    assert {entry.name for entry in out.iterdir()} == {
        "recipe.yaml",
        "environment.json",
        "metrics.jsonl",
        "evaluation.json",
        "heatmaps.npz",
        "augmented.png",
        "checkpoints",
    }
    assert {entry.name for entry in (out / "checkpoints").iterdir()} == {"last", "previous", "best"}
    assert (out / "checkpoints" / "best" / "sha256.json").is_file()


@pytest.mark.training
def test_same_seed_gives_the_same_weights(finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path):
    run(pictures, tmp_path / "again")
    expected, got = weights(finished[0]), weights(tmp_path / "again")
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_resumed_run_gives_the_same_losses_and_weights_as_an_uninterrupted_one(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    out, expected = finished
    run(pictures, tmp_path / "run", stop_after=14)  # in the middle of epoch 2 of 6, without time to save
    assert run(pictures, tmp_path / "run", resume=True, stop_at=30) == {step: expected[step] for step in range(10, 31)}
    assert run(pictures, tmp_path / "run", resume=True) == {step: expected[step] for step in range(31, 55)}
    for name in ("last/model", "last/ema", "best/model"):
        again, whole = weights(tmp_path / "run", name), weights(out, name)
        assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_epochs_of_so_many_steps_resume_to_the_same_weights(pictures: Path, tmp_path: Path):
    """Four steps, of which nine are a pass: the second pass begins within the third epoch."""
    recipe = replace(RECIPE, schedule=Schedule(epochs=3, epoch_steps=4, shape="poly", warmup_steps=3))
    expected = run(pictures, tmp_path / "whole", recipe)
    assert [record["step"] for record in read_json_lines(tmp_path / "whole" / "metrics.jsonl")] == [4, 8, 12]
    run(pictures, tmp_path / "run", recipe, stop_at=6)
    assert run(pictures, tmp_path / "run", recipe, resume=True, stop_at=10).keys() == {7, 8, 9, 10}
    assert run(pictures, tmp_path / "run", recipe, resume=True) == {step: expected[step] for step in (11, 12)}
    again, whole = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    for changed, message in (
        (replace(recipe, data=replace(recipe.data, batch_size=4)), "had 9 steps in a pass, now there would be 18"),
        (
            replace(recipe, schedule=replace(recipe.schedule, epoch_steps=5)),
            "had 4 steps in an epoch, now there would be 5",
        ),
    ):
        with pytest.raises(InputError, match=message):
            run(pictures, tmp_path / "run", changed, resume=True)


def test_bf16_trains(pictures: Path, tmp_path: Path):
    recipe = replace(RECIPE, schedule=Schedule(epochs=1), compute=Compute(precision="bf16"))
    losses = run(pictures, tmp_path / "run", recipe)
    assert all(loss < 3 for loss in losses.values())


@pytest.mark.training
@pytest.mark.serial
def test_killed_at_any_moment_it_goes_on(finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path):
    """SIGKILL while it saves, and in the middle of an epoch: nothing asks for repair, and it ends with the same
    weights."""
    code = f"""
from pathlib import Path
from tests.train.runs import RECIPE, run
from nextvit.files.run_folder import is_run
out = Path({str(tmp_path / "run")!r})
run(Path({str(pictures)!r}), out, RECIPE, resume=is_run(out))
"""
    checkpoints, metrics = tmp_path / "run" / "checkpoints", tmp_path / "run" / "metrics.jsonl"

    def epochs() -> int:
        return max((record["epoch"] for record in read_json_lines(metrics)), default=0)

    for reached in (lambda: any(checkpoints.glob("last-*.tmp")), lambda: epochs() >= 3):
        process = subprocess.Popen([sys.executable, "-c", code])
        while not reached() and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        assert process.wait() != 0  # it was killed, and had not ended by itself
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert {record["epoch"] for record in read_json_lines(metrics)} == set(range(1, 7))
    again, whole = weights(tmp_path / "run"), weights(finished[0])
    assert all(torch.equal(again[name], whole[name]) for name in whole)


@pytest.mark.training
@pytest.mark.serial
@pytest.mark.parametrize("limit", [lambda largest: 1_000_000, lambda largest: largest - 1000])
def test_a_disk_that_fills_up_while_saving_keeps_the_checkpoint_before(pictures: Path, tmp_path: Path, limit):
    """With the first limit the weights cannot be written, with the second the optimizer's larger state cannot."""
    out = tmp_path / "run"
    run(pictures, out, replace(RECIPE, schedule=Schedule(epochs=1)))
    before = weights(out)
    largest = max(path.stat().st_size for path in (out / "checkpoints" / "last").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit(largest), hard))  # real writes fail, as on a full disk
    try:
        with pytest.raises(InputError, match=r"could not write .*; what was there before is untouched"):
            run(pictures, out, replace(RECIPE, schedule=Schedule(epochs=2)), resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(out).items())
    assert not list((out / "checkpoints").glob("*.tmp*"))
    run(pictures, out, replace(RECIPE, schedule=Schedule(epochs=2)), resume=True)
    assert read_json_lines(out / "metrics.jsonl")[-1]["epoch"] == 2


@pytest.mark.training
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    out, said = tmp_path / "run", []
    run(pictures, out, stop_at=25)
    path = out / "checkpoints" / "last" / "state.pt"
    path.write_bytes(path.read_bytes()[:1000])
    losses = run(pictures, out, resume=True, say=said.append)
    assert min(losses) == 19  # "previous" is of the end of epoch 2
    assert any(
        "state.pt: damaged or changed" in line and "going on from the checkpoint before" in line for line in said
    )
    again, whole = weights(out), weights(finished[0])
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_a_run_of_which_every_checkpoint_is_damaged_is_refused_by_name(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(pictures, out, replace(RECIPE, schedule=Schedule(epochs=1)))
    path = out / "checkpoints" / "last" / "state.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"no checkpoint is left to resume from: .*state\.pt: damaged or changed"):
        run(pictures, out, resume=True)


def test_leftovers_of_killed_writers_are_swept(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(pictures, out, stop_at=3)
    (out / "checkpoints" / "last.tmp").mkdir()
    (out / "recipe.yaml.tmp").write_text("half")
    run(pictures, out, resume=True, stop_at=5)
    assert not list(out.rglob("*.tmp"))


def test_unreadable_images_are_borne_up_to_a_share(colours: Path, tmp_path: Path):
    (colours / "train" / "red" / "0.png").write_bytes(b"no image")
    bearing = replace(RECIPE, data=replace(RECIPE.data, max_unreadable=0.1), schedule=Schedule(epochs=1))
    run(colours, tmp_path / "bears", bearing)
    [message] = json.loads((tmp_path / "bears" / "evaluation.json").read_text())["unreadable_training"]
    assert "0.png" in message
    with pytest.raises(InputError, match=r"1 of 24 training images cannot be read, more than .* 0.02 .*0\.png"):
        run(colours, tmp_path / "refuses", RECIPE)


def test_a_loss_that_is_no_number_stops_the_run(pictures: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"NaN or infinite in 5 steps in a row, in epoch 1; lower --optim\.lr"):
        run(pictures, tmp_path / "run", replace(RECIPE, optim=Optim(lr=1e30, clip_norm=0)))


def test_a_refused_start_leaves_no_run_behind(pictures: Path, tmp_path: Path):
    with pytest.raises(InputError, match="device 'toaster' is not available"):
        run(pictures, tmp_path / "run", replace(RECIPE, compute=Compute(device="toaster")))
    with pytest.raises(InputError, match="the loss was NaN or infinite"):
        run(pictures, tmp_path / "run", replace(RECIPE, optim=Optim(lr=1e30, clip_norm=0)))
    assert not (tmp_path / "run").exists()


def test_a_refused_resume_changes_nothing(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(pictures, out, replace(RECIPE, schedule=Schedule(epochs=1)))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (tmp_path / "other").mkdir()
    for split in ("train", "val"):
        for name in ("blue", "green", "red"):
            target = tmp_path / "other" / split / name.replace("red", "aaa")
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(pictures / split / name)
    for dataset, recipe, message in (
        (pictures, replace(RECIPE, model=Model(name="nextvit_tiny")), "cannot be resumed with other variant"),
        (pictures, replace(RECIPE, data=replace(RECIPE.data, image_size=64)), "cannot be resumed with other input"),
        (
            pictures,
            replace(RECIPE, data=replace(RECIPE.data, batch_size=4)),
            "had 9 steps in an epoch, now there would be 18",
        ),
        (tmp_path / "other", RECIPE, "cannot be resumed with other classes"),
    ):
        with pytest.raises(InputError, match=message):
            run(dataset, out, recipe, resume=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_resumed_run_takes_new_settings_of_the_optimizer(pictures: Path, tmp_path: Path):
    dataset = read_dataset(pictures)
    card = build_card(dataset, RECIPE)
    run(pictures, tmp_path / "run", replace(RECIPE, schedule=Schedule(epochs=1)))
    changed = replace(RECIPE, optim=Optim(weight_decay=0.9, betas=(0.5, 0.6)))
    training = prepare(dataset, card, build_network(card), changed, torch.device("cpu"), World())
    resume(tmp_path / "run" / "checkpoints" / "last", training, changed.optim)
    assert training.progress.epoch == 1
    for group in training.optimizer.param_groups:
        assert (group["weight_decay"], tuple(group["betas"])) == (0.9 if group["decays"] else 0.0, (0.5, 0.6))


def test_a_changed_byte_in_the_best_checkpoint_is_refused(pictures: Path, tmp_path: Path):
    out = tmp_path / "run"
    run(pictures, out, replace(RECIPE, schedule=Schedule(epochs=1)))
    path = out / "checkpoints" / "best" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged or changed"):
        nextvit.load(out)


def test_an_output_folder_is_never_overwritten(finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path):
    with pytest.raises(InputError, match="already holds a run; go on with --resume"):
        run(pictures, finished[0])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        run(pictures, tmp_path / "photos")
    with pytest.raises(InputError, match="no run to resume"):
        run(pictures, tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_training_goes_on_from_another_runs_weights(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    recipe = replace(
        RECIPE,
        model=Model(name="nextvit_nano", weights=str(finished[0])),
        optim=replace(RECIPE.optim, lr=1e-9),  # what is learnt in this epoch must not decide
        schedule=Schedule(epochs=1),
    )
    said: list[str] = []
    train(pictures, recipe, run=tmp_path / "run", watch=lambda tick: None, say=said.append)
    assert any("tensors loaded from nextvit layout" in line for line in said)
    assert read_json_lines(tmp_path / "run" / "metrics.jsonl")[0]["val_top1_score"] >= 90


def test_a_bad_batch_is_skipped_and_its_files_are_recorded(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The loss of the third step is no number, for whatever reason; the training goes on."""
    losses, calls, said = CrossEntropy.losses, [], []

    def spoilt(self: CrossEntropy, *given: torch.Tensor) -> dict[str, torch.Tensor]:
        calls.append(given)
        return {name: loss * (float("nan") if len(calls) == 3 else 1) for name, loss in losses(self, *given).items()}

    monkeypatch.setattr(CrossEntropy, "losses", spoilt)
    run(pictures, tmp_path / "run", replace(RECIPE, schedule=Schedule(epochs=1)), say=said.append)
    [event] = read_json_lines(tmp_path / "run" / "events.jsonl")
    assert (event["epoch"], event["step"], len(event["files"])) == (1, 3, 8)
    assert all(Path(file).is_file() for file in event["files"])
    assert any("step 3 was skipped: its loss is NaN or infinite" in line for line in said)
    [record] = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert record["step"] == 9 and record["train_loss"] < 3
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_training_ends_early_when_nothing_gets_better(pictures: Path, tmp_path: Path):
    """With next to no learning the first epoch, whose average is nearest to the start, or another early one stays
    best."""
    recipe = replace(RECIPE, optim=Optim(lr=1e-12), schedule=Schedule(epochs=6, patience=2), ema=Ema(decay=0.0))
    run(pictures, tmp_path / "run", recipe)
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    best = max(record["epoch"] for record in records if record["is_best"])
    assert len(records) == min(6, best + 2)


OF_OTHER_TASKS = (
    "distill",
    "finetune_detection",
    "finetune_segmentation",
    "coco_1x",
    "coco_3x",
    "ade20k_fpn_80k",
    "ade20k_upernet_160k",
)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in OF_OTHER_TASKS])
def test_every_recipe_takes_a_step(name: str, finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path):
    """Shrunk to a tiny network, image and batch; all else as it is."""
    recipe = get_recipe(name)
    if recipe.model.weights == "given":
        with pytest.raises(InputError, match="this recipe goes on from weights; pass a run"):
            run(pictures, tmp_path / "run", recipe)
        recipe = replace(recipe, model=replace(recipe.model, weights=str(finished[0])))
    small = replace(
        recipe,
        model=replace(recipe.model, name="nextvit_nano"),
        data=replace(recipe.data, image_size=32, batch_size=24, workers=0),
        schedule=replace(recipe.schedule, epochs=1),
    )
    losses = run(pictures, tmp_path / "run", small)
    assert losses[3] < 3


def test_a_dataset_with_errors_is_refused_unless_told_otherwise(colours: Path, tmp_path: Path):
    (colours / "val" / "red" / "leak.png").write_bytes((colours / "train" / "red" / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"1 error in the data, first: .*leak\.png.* --data\.allow-errors"):
        run(colours, tmp_path / "run", replace(RECIPE, schedule=Schedule(epochs=1)))
    assert not (tmp_path / "run").exists()
    allowed = replace(RECIPE, schedule=Schedule(epochs=1), data=replace(RECIPE.data, allow_errors=True))
    run(colours, tmp_path / "run", allowed)


@pytest.mark.training
@pytest.mark.serial
def test_a_killed_campaign_leaves_no_unusable_state_and_always_the_same_end():
    """The script that does this hundreds of times, benchmarks/kill.py, three times."""
    # In a process of its own: it forks, which autograd refuses once another test has started its threads.
    code = f"""
import json
from benchmarks.kill import run_campaign
print(json.dumps(run_campaign(kills=3, seed={int(time.time())})))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    happened = json.loads(done.stdout.splitlines()[-1])
    assert happened["kills"] == 3 and happened["failures"] == 0
    assert happened["unusable_states"] == 0, happened["faults"]
    assert happened["finished_runs"] >= 1 and happened["runs_that_differ"] == 0


@pytest.mark.training
@pytest.mark.serial
def test_sigterm_to_the_whole_group_saves_and_exits_cleanly(pictures: Path, tmp_path: Path):
    """As batch systems, torchrun and `timeout` send it: to the workers, too, who would take the step along."""
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "nextvit",
        "train",
        str(pictures),
        "--out",
        str(out),
        "--model",
        "nextvit_nano",
        "--image-size",
        "32",
        "--batch-size",
        "8",
        "--epochs",
        "50",
        "--data.workers",
        "2",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (out / "checkpoints" / "last").is_dir():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "stopped and saved, go on with" in errors and "Traceback" not in errors
    saved = torch.load(out / "checkpoints" / "last" / "state.pt", weights_only=True)["progress"]
    assert saved["step"] >= 9 * saved["epoch"] >= 9


def test_a_start_that_was_killed_at_its_first_file_can_start_again(pictures: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml.tmp").write_text("half")
    run(pictures, tmp_path / "run", replace(RECIPE, schedule=Schedule(epochs=1)))
    assert (tmp_path / "run" / "evaluation.json").is_file()


def test_a_resumed_run_learns_at_the_rates_that_it_is_told(pictures: Path, tmp_path: Path):
    dataset = read_dataset(pictures)
    card = build_card(dataset, RECIPE)
    slower = replace(RECIPE, schedule=Schedule(epochs=1), optim=Optim(layer_decay=0.9))
    run(pictures, tmp_path / "run", slower)
    changed = replace(slower, optim=Optim(layer_decay=0.5))
    training = prepare(dataset, card, build_network(card), changed, torch.device("cpu"), World())
    expected = [group["lr_scale"] for group in training.optimizer.param_groups]
    resume(tmp_path / "run" / "checkpoints" / "last", training, changed.optim)
    assert [group["lr_scale"] for group in training.optimizer.param_groups] == expected
    assert min(expected) < 0.5**5


@pytest.mark.slow
def test_a_compiled_training_learns_and_resumes(pictures: Path, tmp_path: Path):
    """Its checkpoints are those of an uncompiled one: the names of the weights do not change."""
    compiled = replace(RECIPE, compute=Compute(compile=True), schedule=Schedule(epochs=2))
    run(pictures, tmp_path / "run", compiled, stop_at=12)
    losses = run(pictures, tmp_path / "run", replace(compiled, compute=Compute()), resume=True)
    assert min(losses) == 13 and losses[18] < 1.0
    assert not any("_orig_mod" in name for name in weights(tmp_path / "run"))


def test_a_resume_with_fewer_epochs_than_are_done_says_so_and_keeps_the_record(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    out, said = tmp_path / "run", list[str]()
    shutil.copytree(finished[0], out)
    shorter = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=2))
    assert run(pictures, out, shorter, resume=True, say=said.append) == {}
    assert said[0].startswith("all 2 epochs of schedule.epochs are done (6 in this run), so none is left to train")
    assert yaml.safe_load((out / "recipe.yaml").read_text())["schedule"]["epochs"] == 6
