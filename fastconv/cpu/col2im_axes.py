"""The axes of an input gradient seen from its source: which targets each tap takes a place to."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from fastconv.lowering import Lowered


class Axis(NamedTuple):
    """An axis: places p of the source meet target (p + e) * stride + phase by each of its taps."""

    stride: int
    targets: int
    sources: int
    taps: tuple[tuple[int, int, int], ...]  #: (index of the weight tap, e, phase)

    @property
    def least(self) -> int:
        """The least e."""
        return min(e for _, e, _ in self.taps)

    @property
    def reach(self) -> int:
        """How many more places taps reach than there are."""
        return max(e for _, e, _ in self.taps) - self.least

    @property
    def low(self) -> int:
        """The place of a plane's first element: no target, and nothing that a tap meets, before."""
        return min(0, self.least)

    @property
    def extent(self) -> int:
        """Elements of a plane."""
        met = self.sources + self.least + self.reach
        return max(met, -(-self.targets // self.stride)) - self.low


Axes: TypeAlias = tuple[Axis, Axis, Axis]  #: slices, rows and columns

_NO_AXIS = Axis(1, 1, 1, ((0, 0, 0),))


def axes_of(low: Lowered) -> Axes:
    """Slices, rows and columns: bands are cut along the first, lanes run along the last."""
    found = []
    for i, (sources, before) in enumerate(zip(low.source, low.before, strict=True)):
        parts = [part.axes[i] for part in low.parts]
        targets = max(a.start + (a.length - 1) * a.step + 1 for a in parts)
        # Where every phase has one target, all other places of any tap lie outside.
        apart = max(a.step for a in parts)
        stride = apart if max(a.length for a in parts if a.taps) > 1 else targets
        taps = {(r, before - o, a.start) for a in parts for r, o in a.taps}
        found.append(Axis(stride, targets, sources, tuple(sorted(taps))))
    missing = [_NO_AXIS] * (3 - len(found))
    first, second, third = [*found[:-1], *missing, found[-1]]
    return first, second, third
