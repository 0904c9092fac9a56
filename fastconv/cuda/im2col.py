"""im2col without the columns: passes as matrix products whose operands are gathered on the fly.

Half-precision operands, and float32 under ``options(tf32=True)``, go to the tensor cores; all
others to the ordinary cores, exactly.
"""

from __future__ import annotations

from fastconv.lowering import Lowered

from . import simt_steps, tensor_steps
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
    source = tensor_steps.staged_source(low, arrays, space)
    steps = list(source.steps)
    for part in low.parts:
        steps += tensor_steps.correlate_part(low, part, arrays, space, source)
    return steps


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient: products over splits of the pixels, added up in order."""
    if _on_tensor_cores(low, arrays):
        return tensor_steps.weight_gradient(low, arrays, space)
    return simt_steps.weight_gradient(low, arrays, space)


def _on_tensor_cores(low: Lowered, arrays: Operands) -> bool:
    return bool(tensor_steps.product_kind(arrays)) and tensor_steps.fits(low, arrays)
