"""im2col without the columns: passes as matrix products whose operands are gathered on the fly.

Half-precision operands, and float32 under ``options(tf32=True)``, go to the tensor cores, by
Hopper's own products where there are any; all others to the ordinary cores, exactly.
"""

from __future__ import annotations

from fastconv.lowering import Lowered

from . import hopper_steps, simt_steps, tensor_steps
from .planning import Operands, Workspace
from .program import Step


def correlate(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Forward, or input gradient: a product for each part."""
    if not _on_tensor_cores(low, arrays):
        return [
            step
            for part in low.parts
            for step in simt_steps.correlate_part(low, part, arrays, space)
        ]
    module = hopper_steps if arrays.capability == tensor_steps.HOPPER else tensor_steps
    source = tensor_steps.staged_source(low, arrays, space)
    steps = list(source.steps)
    for part in low.parts:
        steps += module.correlate_part(low, part, arrays, space, source)
    return steps


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient: products over splits of the pixels, added up in order."""
    if not _on_tensor_cores(low, arrays, gradient=True):
        return simt_steps.weight_gradient(low, arrays, space)
    # Hopper's products turn 16-bit operands alone.
    turned = arrays.capability == tensor_steps.HOPPER and arrays.kind in ("f16", "bf16")
    module = hopper_steps if turned else tensor_steps
    return module.weight_gradient(low, arrays, space)


def _on_tensor_cores(low: Lowered, arrays: Operands, *, gradient: bool = False) -> bool:
    wanted = bool(tensor_steps.product_kind(arrays))
    return wanted and tensor_steps.fits(low, arrays, gradient=gradient)
