"""Made-up records of a benchmark, in the form that `nextvit bench` writes."""

from typing import Any

import numpy as np

NETWORKS = {
    # name: variant, GMACs, million parameters, published top-1
    "runs/defects": ("nextvit_small", 5.8, 31.8, None),
    "timm:resnet101": ("timm:resnet101", 7.9, 44.6, 81.9),
    "timm:convnext_tiny": ("timm:convnext_tiny", 4.5, 28.6, 82.1),
    "nextvit_base": ("nextvit_base", 8.3, 44.8, 83.2),
    "nextvit_small": ("nextvit_small", 5.8, 31.8, 82.5),
    "timm:deit_small_patch16_224": ("timm:deit_small_patch16_224", 4.6, 22.1, 79.9),
}
RUNTIMES = {
    # backend, precision: share of the time of ONNX Runtime's fp32, GFLOP/s at most
    ("onnx", "fp32"): (1.0, 95.0),
    ("onnx", "int8"): (0.43, 380.0),
    ("openvino", "fp32"): (1.05, 97.0),
    ("openvino", "bf16"): (0.4, 700.0),
    ("openvino", "int8"): (0.3, 1300.0),
}
MACHINE = {
    "time": "2026-11-22T12:00:00+00:00",
    "cpu": "CPU <A>",
    "cores": 2,
    "memory_gib": 23.5,
    "system": "Linux 6 x86_64",
    "python": "3.11.7",
    "versions": {"nextvit": "0.1.0", "onnxruntime": "1.32.0", "openvino": "2026.4.1"},
    "command": "nextvit bench runs/defects --compare timm:resnet101",
}


def records(count: int, *, batches: tuple[int, ...] = (1, 8), seed: int = 0) -> list[dict[str, Any]]:
    """So many configurations, spread over the batches, networks and runtimes."""
    rng = np.random.default_rng(seed)
    pairs = [(model, *runtime) for runtime in RUNTIMES for model in NETWORKS]
    chosen = [(*pair, batch) for pair in pairs for batch in batches][:count]
    made = [record(*each, rng=rng) for each in sorted(chosen, key=lambda each: each[3])]
    for each in made:
        first = next(other for other in made if other["batch"] == each["batch"])
        each["ratio"] = round(each["p50_ms"] / first["p50_ms"], 3)
        each["ratio_interval_95"] = [round(each["ratio"] * 0.97, 3), round(each["ratio"] * 1.03, 3)]
        low, high = each["ratio_interval_95"]
        each["verdict"] = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
        if each is first:
            each.update(ratio=1.0, ratio_interval_95=[1.0, 1.0], verdict="first")
    return made


def record(model: str, backend: str, precision: str, batch: int, *, rng: np.random.Generator) -> dict[str, Any]:
    variant, gmacs, million, top1 = NETWORKS[model]
    share, peak = RUNTIMES[backend, precision]
    p50 = 1000 * 2 * gmacs * batch / 85 * share * rng.uniform(0.9, 1.2)
    reached = 2 * gmacs * batch / p50 * 1000
    size = million * (4 if precision == "fp32" else 1 if precision == "int8" else 2)
    return {
        "name": f"{model.removeprefix('runs/')} {backend} {precision}",
        "model": model,
        "variant": variant,
        "kind": "timm" if model.startswith("timm:") else "run",
        "backend": backend,
        "runtime": f"{backend} 1.32.0",
        "device": "cpu",
        "precision": precision,
        "threads": 1,
        "affinity": [0, 1],
        "batch": batch,
        "image_size": [224, 224],
        "runs": int(rng.integers(50, 300)),
        "least_ms": p50 * 0.93,
        "p50_ms": p50,
        "p90_ms": p50 * rng.uniform(1.02, 1.2),
        "p99_ms": p50 * rng.uniform(1.2, 3),
        "images_per_second": batch * 1000 / p50,
        "cold_start_ms": rng.uniform(200, 900),
        "peak_memory_mib": 150 + size * 2.2,
        "size_mib": size,
        "parameters": int(million * 1e6),
        "macs": int(gmacs * 1e9),
        "gflops_per_second": reached,
        "peak_gflops_per_second": peak,
        "peak_share": reached / peak,
        "bytes": int(size * 1e6 + batch * 60e6),
        "bandwidth_gb_per_second": 11.5,
        "end_to_end": {
            "p50_ms": p50 / batch + 6,
            "images": 64,
            "shares": {"read": 0.02, "decode": 0.3, "resize": 0.2, "infer": 0.45, "answer": 0.03},
        }
        if batch == 1 and backend == "onnx"
        else None,
        "score": {
            "name": "top1_score",
            "value": 97.1 - (0.3 if precision == "int8" else 0),
            "interval_95": [95.4, 98.3],
            "images": 434,
        }
        if model.startswith("runs/")
        else None,
        "published_top1": top1,
        "noise": 0.02,
        "busy": False,
        "environment": MACHINE,
    }
