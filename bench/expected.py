"""What a result must be, at a cost that suits layers of tens of GFLOP.

A small layer is held against the whole float64 reference. Of a large one the reference computes,
in place of all channels of the result, a few of them and one random signed sum of them all. The
few give the error; the sum covers every element, since a wrong one changes it (Freivalds, 1977).
"""

from dataclasses import dataclass, replace

import numpy as np

from bench.case import Array, Case
from bench.reference import reference, relative_error

WHOLE_FLOPS = 200_000_000  # up to so many the whole reference takes a few hundredths of a second
FEW = 7  # channels of each group that are compared one by one


@dataclass(frozen=True, slots=True)
class Expected:
    """The float64 result of a pass, or combinations of its channels."""

    shape: tuple[int, ...]
    axis: int  # of the result's channels
    mixes: Array | None  # (groups, combinations, channels of a group); None: all channels
    values: Array

    def error(self, result: Array) -> float:
        """max|err| / max|ref|; infinite where the shape differs or a NaN shows."""
        if result.shape != self.shape:
            return float("inf")
        if self.mixes is None:
            return relative_error(result, self.values)
        mixed = _mixed(result, self.axis, self.mixes)
        wanted = self.values.reshape(mixed.shape)
        pairs = ((mixed[..., :-1, :], wanted[..., :-1, :]), (mixed[..., -1, :], wanted[..., -1, :]))
        return max(relative_error(given, right) for given, right in pairs)


def expect(case: Case, pass_name: str, whole_flops: int = WHOLE_FLOPS) -> Expected:
    """What the pass must give: all of it, or beyond ``whole_flops`` combinations of channels."""
    layer, g = case.layer, case.layer.geometry
    shape = {"forward": g.output_shape, "weight": g.weight_shape, "input": g.input_shape}[pass_name]
    axis = 0 if pass_name == "weight" else 1
    channels = (layer.C if pass_name == "input" else layer.K) // layer.groups
    if g.flops <= whole_flops or channels <= 2 * FEW:
        return Expected(shape, axis, None, reference(case, pass_name))
    mixes = _mixes(layer.groups, channels)
    count = layer.groups * mixes.shape[1]
    if pass_name == "forward":
        w = _mixed(case.w, 0, mixes).reshape(count, *case.w.shape[1:])
        mixed = replace(case, layer=replace(layer, K=count), w=w)
    elif pass_name == "weight":
        dy = _mixed(case.dy, 1, mixes).reshape(layer.N, count, *g.output)
        mixed = replace(case, layer=replace(layer, K=count), dy=dy)
    else:
        K, kernel = layer.K, case.w.shape[2:]
        rows = case.w.reshape(layer.groups, K // layer.groups, channels, -1).astype(np.float64)
        w = (mixes[:, None] @ rows).reshape(K, mixes.shape[1], *kernel)
        mixed = replace(case, layer=replace(layer, C=count), w=w)
    return Expected(shape, axis, mixes, reference(mixed, pass_name))


def _mixes(groups: int, channels: int) -> Array:
    """For each group a few channels, the first and the last among them, and a signed sum of all."""
    rng = np.random.default_rng(channels)
    mixes = np.zeros((groups, FEW + 1, channels))
    for of_group in mixes:
        inner = 1 + rng.choice(channels - 2, FEW - 2, replace=False)
        of_group[np.arange(FEW), [0, *inner, channels - 1]] = 1
        of_group[FEW] = rng.choice((-1.0, 1.0), channels)
    return mixes


def _mixed(array: Array, axis: int, mixes: Array) -> Array:
    """The combinations of ``array``'s channels: (leading axis, groups, combinations, the rest)."""
    groups, count, channels = mixes.shape
    images = array if axis == 1 else array[None]
    mixed = np.empty((len(images), groups, count, images[0, 0].size))
    with np.errstate(invalid="ignore"):  # an infinity becomes NaN, which is an error
        for image, target in zip(images, mixed, strict=True):  # one in float64 at a time
            np.matmul(mixes, image.astype(np.float64).reshape(groups, channels, -1), out=target)
    return mixed
