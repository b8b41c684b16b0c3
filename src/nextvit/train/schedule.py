"""The learning rate as a function of the step."""

import math


def lr_at(step: int, *, steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """Linear from peak / warmup_steps to `peak`, then half a cosine that ends at `final` with the last step."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
