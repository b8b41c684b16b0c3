"""One operator as a runtime executed it, and the kinds of operators."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Shape = Sequence[int]

GROUPED, LINEAR, PRODUCT, ATTENTION = "grouped convolution", "linear layer", "product", "attention"
SOFTMAX, LAYOUT, CONVERSION, ELEMENTWISE, POOLING, OTHER = (
    *("softmax", "layout", "conversion"),
    *("elementwise", "pooling", "other"),
)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One executed operator; a runtime may have fused it from several operators of the file."""

    name: str
    """The runtime's name for it: that of one of the operators of the file from which it was made."""
    module: str
    """The module of the network from which it comes; "" if the file does not say."""
    kind: str
    """One of this file's constants, or "convolution 3x3" and the like."""
    kernel: str
    """The kernel that computed it, as the runtime reports it."""
    precision: str
    """The precision of the arithmetic: "fp32", "bf16", "fp16" or "int8"."""
    ms: float
    macs: int
    bytes: int
    """Bytes read and written, weights included."""
    share: float = 0.0
    """Fraction of the total time of all operators."""
    least_ms: float = 0.0
    """The least time that the machine needs for it; see `limit.Limits.least_ms`."""

    @property
    def of_limit(self) -> float:
        """The least time over the measured one: 1 is at the machine's limit."""
        return self.least_ms / self.ms if self.ms else 0.0

    @property
    def gain_ms(self) -> float:
        """Milliseconds that it would save at the limit."""
        return max(0.0, self.ms - self.least_ms)


def repeat_for(run: Callable[[], object], *, seconds: float, min_runs: int = 10, max_runs: int = 100) -> int:
    """Run for at least that long, within these numbers of runs. Returns the number of runs."""
    started = time.perf_counter()
    for count in range(max_runs):
        if count >= min_runs and time.perf_counter() - started >= seconds:
            return count
        run()
    return max_runs


def module_name(name: str) -> str:
    """The module of the network that an operator belongs to: in our files its name is "module:operator"."""
    return name.rpartition(":")[0]


def convolution_kind(weight: Shape, groups: int) -> str:
    """The kind of a convolution by the shape of its weights, whose last two axes are those of the kernel."""
    if groups > 1:
        return GROUPED
    height, width = weight[-2:]
    return f"convolution {height}x{width}"


def convolution_macs(output: Shape, weight: Shape, out_channels: int) -> int:
    """Multiply-accumulates of a convolution in any layout: each output value sums over the weights of one channel."""
    return math.prod(output) * math.prod(weight) // out_channels


def product_macs(left: Shape, right: Shape, output: Shape) -> int:
    """Multiply-accumulates of a product of (..., M, K) and (..., K, N).

    Either may be transposed, and the second may have only two axes.
    """
    batches = math.prod(output[:-2]) if len(right) > 2 else 1
    inner = math.isqrt(math.prod(left) * math.prod(right) // (math.prod(output) * batches))
    return math.prod(output) * inner


def attention_macs(query: Shape, key: Shape, output: Shape, *, tokens: int) -> int:
    """Multiply-accumulates of both products of a fused attention: (..., T, C) by (..., S, C), then by (..., S, C')."""
    keys = math.prod(key) * tokens // math.prod(query)
    return (math.prod(query) + math.prod(output)) * keys
