"""card.html from a manifest."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nextvit.bundle.manifest import Manifest, read_manifest
from nextvit.report.bundle_card import bundle_card
from tests.report.verification import VERIFICATION
from tests.runtime.conftest import write_colour_bundle


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    written = read_manifest(write_colour_bundle(tmp_path / "colours.nextvit"))
    return replace(written, verification=VERIFICATION)


def titles(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def test_facts_are_said_in_words(manifest: Manifest):
    text = bundle_card(manifest)
    assert "onnxruntime 1.32.0, device cpu; operators: 652 CPUExecutionProvider; threads: 1" in text
    assert "standard deviation of PyTorch&#x27;s logits" in text
    assert "drop that is allowed" in text and "0.50 points" in text
    assert titles(text) == ["Proof", "Facts", "Files", "Everything"]
    [digest] = [value for name, value in manifest.sha256.items() if name == "model.onnx"]
    assert f"<td>{digest[:16]}…</td>" in text and f"<td>{digest}" not in text
    assert "What next" not in text and "Core ML" not in text and "could not be read" not in text


def test_what_int8_was_calibrated_on_and_what_could_not_be_read(manifest: Manifest):
    more = {
        "calibration": {"images": 300, "source": "signs, train"},
        "unreadable": {"images": 12, "first": ["a.jpg: cut", "b.jpg: empty"]},
    }
    text = bundle_card(replace(manifest, precision="int8", verification={**VERIFICATION, **more}))
    assert "300 images: signs, train" in text
    assert "12 images could not be read, the first of them: a.jpg: cut; b.jpg: empty" in text


def test_a_refused_page_says_what_next_and_lists_no_files(manifest: Manifest):
    text = bundle_card(replace(manifest, sha256={}), failures=["the score fell"])
    assert "not proven" in text and "the score fell" in text and "--max-drop" in text and "docs/export.md" in text
    assert "Files" not in titles(text)


def test_errors_without_an_end_do_not_stop_the_page(manifest: Manifest):
    endless = {
        "max_error": float("inf"),
        "layers": [{"layer": "stem.0", "error": "inf", "mean_error": "nan", "share": "nan"}],
        "sensitivity": [
            {"group": "stem", "mean_error": "nan", "agreement": 0.1},
            {"group": "head", "mean_error": 0.1, "agreement": 0.9},
        ],
    }
    text = bundle_card(replace(manifest, verification={**VERIFICATION, **endless}), failures=["endless"])
    assert "width:100.0%" in text and "<td>inf</td>" in text and "it can be negative" in text


def test_layers_that_could_not_be_watched_have_a_reason(manifest: Manifest):
    text = bundle_card(replace(manifest, verification={**VERIFICATION, "layers_note": "cannot be watched"}))
    assert "Layer by layer" in titles(text) and "cannot be watched" in text


def test_a_core_ml_file_that_core_ml_never_ran_says_so(manifest: Manifest):
    program = {
        "input": "RGB image of 48x32 px",
        "bytes": 4472962,
        "operators": {"conv": 51, "add": 24},
        "off_neural_engine": [],
        "slow_on_neural_engine": [{"rule": "moves data", "operators": {"transpose": 20}, "first": "transpose_37"}],
    }
    runtime = {"backend": "coreml", "runtime": "re-executed in torch, not Core ML", "device": "cpu"}
    coreml = replace(
        manifest,
        backend="coreml",
        precision="w6",
        outputs={"logits": "(N, classes) float32: one value"},
        verification={**VERIFICATION, "runtime": runtime, "program": program},
    )
    text = bundle_card(coreml)
    assert "by hand, coreml w6 (6-bit weights from a palette)" in text
    assert text.index("Core ML itself has not run") < text.index("<h2>Proof")
    assert "input &quot;images&quot;</td><td>RGB image of 48x32 px" in text and "(1, classes) float32" in text
    assert "4.47 MB" in text and "51 conv, 24 add" in text and "nothing that the rules name" in text
    assert "moves data: 20 transpose (first: transpose_37)" in text

    unseen = {name: value for name, value in coreml.verification.items() if name != "program"}
    assert "RGB image, 48x32 px" in bundle_card(replace(coreml, verification=unseen))
    proven = {**unseen, "runtime": {**runtime, "runtime": "Core ML, macOS 26"}}
    assert "has not run" not in bundle_card(replace(coreml, verification=proven))


def test_a_detectors_proof_is_one_of_objects(manifest: Manifest):
    from tests.models.detectors import detector_card, random_detector

    ap = {"metric": "box_ap_score", "score": 41.0, "interval_95": [38.0, 44.0]}
    kept = (
        "images",
        "source",
        "runtime",
        "environment",
        "max_drop",
        "drop",
        "drop_interval_95",
        "max_error",
        "mean_error",
    )
    proven = {name: VERIFICATION[name] for name in kept} | {
        "objects": 4711,
        "agreement": 0.9996,
        "mask_iou": 0.99991,
        "before": ap,
        "after": ap,
        "further": {"mask_ap_score": {"before": 37.5, "after": 37.4}},
    }
    card = detector_card(random_detector())
    text = bundle_card(replace(manifest, card=card, verification=proven, inputs={"images": "a", "sizes": "height"}))
    assert "detection of 3 classes, at most 96x64 px, either way up" in text
    for words in ("4711", "99.96%", "same objects", "largest difference of scores", "0.99991", "box AP"):
        assert words in text
    assert "mask AP, PyTorch" in text and "37.40 %" in text and "of at most 20 objects, of scores above 0.05" in text
    assert "input &quot;sizes&quot;</td><td>height" in text
    assert "spread" not in text and "cosine" not in text
    boxes_alone = {**proven, "mask_iou": None}
    assert "IoU of masks" not in bundle_card(replace(manifest, card=card, verification=boxes_alone))
