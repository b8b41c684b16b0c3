"""One operator as a runtime executed it, and what kinds of them there are."""

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
    """What one executed operator did; a runtime makes one of several of the file."""

    name: str
    """As the runtime calls it: after one of the operators of the file that it was made of."""
    module: str
    """The module of the network that the file says it comes from; "" where it does not."""
    kind: str
    """One of this file's constants, or "convolution 3x3" and the like."""
    kernel: str
    """What computed it, as the runtime tells."""
    precision: str
    """What it computed in: "fp32", "bf16", "fp16" or "int8"."""
    ms: float
    macs: int
    bytes: int
    """What it read and wrote, weights included."""
    share: float = 0.0
    """Of the sum over all operators."""
    least_ms: float = 0.0
    """The time below which the machine cannot do that; see `limit.Limits.least_ms`."""

    @property
    def of_limit(self) -> float:
        """How near it is to the machine's limit: 1 is at it."""
        return self.least_ms / self.ms if self.ms else 0.0

    @property
    def gain_ms(self) -> float:
        """What it would save at the limit."""
        return max(0.0, self.ms - self.least_ms)


def repeat_for(run: Callable[[], object], *, seconds: float, min_runs: int = 10, max_runs: int = 100) -> int:
    """Run for that long, within these numbers of runs; returns how many there were."""
    started = time.perf_counter()
    for count in range(max_runs):
        if count >= min_runs and time.perf_counter() - started >= seconds:
            return count
        run()
    return max_runs


def module_name(name: str) -> str:
    """The module of the network that an operator stands in: in our files it is called "module:operator"."""
    return name.rpartition(":")[0]


def convolution_kind(weight: Shape, groups: int) -> str:
    """The kind of a convolution by the shape of its weights, of which the last two axes are the window's."""
    if groups > 1:
        return GROUPED
    height, width = weight[-2:]
    return f"convolution {height}x{width}"


def convolution_macs(output: Shape, weight: Shape, out_channels: int) -> int:
    """Every value of the output is a sum over the weights of one output channel, whatever the layout."""
    return math.prod(output) * math.prod(weight) // out_channels


def product_macs(left: Shape, right: Shape, output: Shape) -> int:
    """Of a product of two arrays (..., M, K) and (..., K, N), whichever of them is transposed, or of which the second
    has two axes alone."""
    batches = math.prod(output[:-2]) if len(right) > 2 else 1
    inner = math.isqrt(math.prod(left) * math.prod(right) // (math.prod(output) * batches))
    return math.prod(output) * inner


def attention_macs(query: Shape, key: Shape, output: Shape, *, tokens: int) -> int:
    """Of both products of attention, where that is one operator: (..., T, C) by (..., S, C), then by (..., S, C')."""
    keys = math.prod(key) * tokens // math.prod(query)
    return (math.prod(query) + math.prod(output)) * keys
