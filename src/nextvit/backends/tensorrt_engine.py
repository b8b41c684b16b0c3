"""An ONNX file -> a TensorRT engine, by a plan that is data. Needs neither torch nor onnx."""

from dataclasses import dataclass
from typing import Any

from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.tensorrt_library import collecting_logger, load_tensorrt, reasons

USUAL_BATCH, LARGEST_BATCH = 8, 32
"""What kernels are chosen for (the batch of the paper's measurement), and what the engine takes at once."""
SMALLEST_SIDE_PX, LARGEST_SIDE = 33, 2
"""For engines of any size: the shortest side, and the longest, in multiples of the usual one."""
WORKSPACE_BYTES = 2 << 30
OLDEST = 10
"""First major version whose documents say what is used here."""

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that an engine depends on, but for its ONNX file, the GPU and the version."""

    smallest: Shape
    usual: Shape
    largest: Shape
    """Of the one optimisation profile: shapes (N, H, W, 3) of the input."""
    network_flags: tuple[str, ...] = ("STRONGLY_TYPED",)
    """Names of `NetworkDefinitionCreationFlag`. Strongly typed: every tensor has the type that the ONNX file states, so
    that precision is a property of the file. Of TensorRT 11 on it always is, and the flag is not passed."""
    cleared: tuple[str, ...] = ()
    """Names of `BuilderFlag` that are on unless cleared."""
    workspace_bytes: int = WORKSPACE_BYTES


def build_plan(image_size: tuple[int, int], precision: Precision, *, dynamic_size: bool) -> BuildPlan:
    """The plan for a network of images (height, width).

    Neither version compatibility (such engines carry host code, which a runtime must be told to trust) nor hardware
    compatibility (slower kernels) is asked for: an engine is rebuilt from its ONNX file instead.
    """
    height, width = image_size
    low = (min(SMALLEST_SIDE_PX, height), min(SMALLEST_SIDE_PX, width)) if dynamic_size else image_size
    high = (LARGEST_SIDE * height, LARGEST_SIDE * width) if dynamic_size else image_size
    return BuildPlan(
        smallest=(1, *low, 3),
        usual=(USUAL_BATCH, height, width, 3),
        largest=(LARGEST_BATCH, *high, 3),
        cleared=("TF32",) if precision == "fp32" else (),  # it rounds to 10 bits, and fp32 promises 1e-4
    )


def build_engine(onnx_file: bytes, plan: BuildPlan) -> bytes:
    """The serialised engine for the current GPU. Takes minutes: kernels are timed.

    Raises:
        MissingDependency: TensorRT is not installed.
        InputError: it is too old, finds no GPU, or cannot parse or build the network; with all that it complains of.
    """
    trt = load_tensorrt()
    if (major := int(trt.__version__.partition(".")[0])) < OLDEST:
        raise InputError(f"TensorRT {trt.__version__} is too old; version {OLDEST} or newer is needed")
    logger = collecting_logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # what the binding raises when there is no GPU
        raise InputError(f"TensorRT {trt.__version__} cannot start: {reasons(logger)}") from None
    flags = 0
    if major < 11:
        for name in plan.network_flags:
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file):
        raise InputError(f"TensorRT {trt.__version__} cannot parse the network: {'; '.join(complaints(parser))}")
    config = configured(trt, builder, plan)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError(f"TensorRT {trt.__version__} cannot build the engine: {reasons(logger)}")
    return bytes(engine)


def configured(trt: Any, builder: Any, plan: BuildPlan) -> Any:
    """The plan as TensorRT's own object."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_bytes)
    for name in plan.cleared:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT_NAME, plan.smallest, plan.usual, plan.largest)
    if config.add_optimization_profile(profile) < 0:
        raise InputError(f"TensorRT refuses the profile {plan.smallest} to {plan.largest}")
    return config


def complaints(parser: Any) -> list[str]:
    """All that the parser found, each with its node."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    return [f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]
