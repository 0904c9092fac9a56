"""One benchmark case: a layer and the very arrays that ours and every peer compute on."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.suites import Layer

Array = NDArray[Any]
PASSES = ("forward", "weight", "input")
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True, slots=True)
class Case:
    """A layer with its arrays: shapes are (N, C, H, W)'s, memory is as ``layout`` says."""

    layer: Layer
    layout: str
    x: Array
    w: Array
    dy: Array


def make_case(layer: Layer, layout: str = "nchw", seed: int = 0) -> Case:
    """Uniform reals in [-1, 1) for the three operands, images laid out as ``layout`` says."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout: got {layout!r}, needs one of {', '.join(LAYOUTS)}")
    rng = np.random.default_rng(seed)
    dtype = np.float64 if layer.dtype == "float64" else np.float32

    def draw(shape: tuple[int, ...], channels_last: bool) -> Array:
        if channels_last:
            n, c, h, w = shape
            return draw((n, h, w, c), False).transpose(0, 3, 1, 2)
        return 2 * rng.random(shape, dtype) - dtype(1)

    nhwc = layout == "nhwc"
    g = layer.geometry
    x = draw(g.input_shape, nhwc)
    w = draw(g.weight_shape, False)
    dy = draw(g.output_shape, nhwc)
    kind = dtype_of(layer)
    return Case(layer, layout, *(a.astype(kind, copy=False) for a in (x, w, dy)))


def dtype_of(layer: Layer) -> np.dtype[Any]:
    """The dtype of a layer's arrays; NumPy has bfloat16 from ml_dtypes."""
    if layer.dtype == "bfloat16":
        importlib.import_module("ml_dtypes")
    return np.dtype(layer.dtype)
