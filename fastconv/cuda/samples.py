"""A weight gradient for each sample of a batch: samples as groups of one large image.

Where an image's channels do not follow those of the image before it, the operand is copied first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastconv.geometry import ConvGeometry

from . import borders
from .planning import Operands, Sizes, Workspace
from .program import Step

PASS = "per_sample_gradient"  #: what the pass is called

# The algorithm and the launches of "weight_gradient" on a geometry and operands.
Make = Callable[[ConvGeometry, Operands], tuple[str, list[Step]]]


def steps(
    g: ConvGeometry, arrays: Operands, space: Workspace, make: Make
) -> tuple[str, list[Step]]:
    """The algorithm and the launches of all samples' weight gradients."""
    copies: list[Step] = []
    places: dict[str, int] = {}

    def lined_up(letter: str, images: ConvGeometry, strides: Sizes) -> Sizes:
        """Strides of an operand whose images' channels follow each other."""
        if images.padding_mode == "zeros" and strides[0] == images.C * strides[1]:
            return strides
        plain = (0,) * len(strides)
        copy = borders.padded_copy(images, plain, arrays.size, space)  # pixels contiguous
        copying = borders.pad_step(images, strides, copy, arrays.kind)
        copies.append(replace(copying, source=letter))
        places[letter] = copy.place
        return copy.strides

    none = (0,) * g.rank
    bordered = g.padding_mode != "zeros"
    images = g if bordered else replace(g, pad_before=none, pad_after=none)
    results = replace(images, C=g.K, input=g.output, pad_before=none, pad_after=none)
    x = lined_up("x", images, arrays.x)
    dy = lined_up("w", replace(results, padding_mode="zeros"), arrays.w)
    seen = g.padded if bordered else g
    groups = replace(seen, N=1, C=g.N * g.C, K=g.N * g.K, groups=g.N * g.groups)
    chosen, inner = make(groups, arrays._replace(x=x, w=dy, y=arrays.y[1:]))
    return chosen, [*copies, *borders.moved(inner, places)]
