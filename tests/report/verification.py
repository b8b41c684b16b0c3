"""What a proof left in a manifest."""

from typing import Any

SCORE = {"metric": "top1_score", "score": 98.0, "interval_95": [96.0, 99.0]}


VERIFICATION: dict[str, Any] = {
    "images": 434,
    "source": "signs, val",
    "agreement": 1.0,
    "max_error": 0.012,
    "mean_error": 0.001,
    "cosine": 0.9999,
    "before": SCORE,
    "after": {**SCORE, "score": 97.7},
    "drop": 0.3,
    "drop_interval_95": [0.0, 0.9],
    "max_drop": 0.5,
    "runtime": {
        "backend": "onnx",
        "runtime": "onnxruntime 1.32.0",
        "device": "cpu",
        "operators": {"CPUExecutionProvider": 652},
        "threads": 1,
    },
    "environment": {"cpu": "EPYC", "cores": 2, "system": "Linux", "versions": {}, "time": "now", "command": "c"},
}
