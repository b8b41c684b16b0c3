"""Bytes of an ONNX file and a BuildPlan -> bytes of a TensorRT engine. Needs neither torch nor onnx."""

from dataclasses import dataclass
from typing import Any

from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.tensorrt_library import load_tensorrt, logged_errors, make_error_logger

OPT_BATCH, MAX_BATCH = 8, 32
"""The batch that kernels are optimised for (that of the paper's measurement), and the largest that the engine takes."""
MIN_SIDE_PX, MAX_SIDE_FACTOR = 33, 2
"""For dynamic sizes: the shortest side, and the longest as a multiple of the card's."""
WORKSPACE_BYTES = 2 << 30
MIN_MAJOR_VERSION = 10
"""First major version whose documentation covers the calls used here."""

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that an engine depends on, except its ONNX file, the GPU and the TensorRT version."""

    min_shape: Shape
    opt_shape: Shape
    max_shape: Shape
    """Shapes (N, H, W, 3) of the input in the one optimisation profile."""
    network_flags: tuple[str, ...] = ("STRONGLY_TYPED",)
    """Names of `NetworkDefinitionCreationFlag`. Strongly typed: every tensor has the type that the ONNX file states, so
    that precision is a property of the file. From TensorRT 11 on networks always are, and the flag is not passed."""
    cleared_flags: tuple[str, ...] = ()
    """Names of `BuilderFlag` to clear, which are set by default."""
    workspace_bytes: int = WORKSPACE_BYTES


def build_plan(image_size: tuple[int, int], precision: Precision, *, dynamic_size: bool) -> BuildPlan:
    """Make the plan for a network that takes images of this height and width.

    It requests neither version compatibility (such engines contain host code, which a runtime must be configured to
    trust) nor hardware compatibility (slower kernels): an engine is rebuilt from its ONNX file instead.
    """
    height, width = image_size
    low = (min(MIN_SIDE_PX, height), min(MIN_SIDE_PX, width)) if dynamic_size else image_size
    high = (MAX_SIDE_FACTOR * height, MAX_SIDE_FACTOR * width) if dynamic_size else image_size
    return BuildPlan(
        min_shape=(1, *low, 3),
        opt_shape=(OPT_BATCH, height, width, 3),
        max_shape=(MAX_BATCH, *high, 3),
        cleared_flags=("TF32",) if precision == "fp32" else (),  # it rounds to 10 bits, and fp32 promises 1e-4
    )


def build_engine(onnx_file: bytes, plan: BuildPlan) -> bytes:
    """Build the serialised engine for the current GPU. This takes minutes, because kernels are timed.

    Raises:
        MissingDependency: TensorRT is not installed.
        InputError: TensorRT is too old, finds no GPU, or cannot parse or build the network; the message has its errors.
    """
    trt = load_tensorrt()
    if (major := int(trt.__version__.partition(".")[0])) < MIN_MAJOR_VERSION:
        raise InputError(f"TensorRT {trt.__version__} is too old; version {MIN_MAJOR_VERSION} or newer is needed")
    logger = make_error_logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # raised by the binding when there is no GPU
        raise InputError(f"TensorRT {trt.__version__} cannot start: {logged_errors(logger)}") from None
    flags = 0
    if major < 11:
        for name in plan.network_flags:
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file):
        raise InputError(f"TensorRT {trt.__version__} cannot parse the network: {'; '.join(parser_errors(parser))}")
    config = build_config(trt, builder, plan)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError(f"TensorRT {trt.__version__} cannot build the engine: {logged_errors(logger)}")
    return bytes(engine)


def build_config(trt: Any, builder: Any, plan: BuildPlan) -> Any:
    """Convert the plan to TensorRT's builder configuration."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_bytes)
    for name in plan.cleared_flags:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT_NAME, plan.min_shape, plan.opt_shape, plan.max_shape)
    if config.add_optimization_profile(profile) < 0:
        raise InputError(f"TensorRT refuses the profile {plan.min_shape} to {plan.max_shape}")
    return config


def parser_errors(parser: Any) -> list[str]:
    """The parser's errors, each with its node."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    return [f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]
