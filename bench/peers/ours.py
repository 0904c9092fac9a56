"""fastconv's public functions, as one contestant among the others."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

import fastconv
from bench.case import Case
from bench.peers.base import Call, Peer, conv_arguments
from bench.suites import DTYPES
from fastconv import host
from fastconv._dtypes import element_of
from fastconv._results import new
from fastconv.cpu import elements
from fastconv.cpu.elements import Arrays
from fastconv.explain import Explanation

DIRECTIONS = {
    "forward": "forward",
    "weight": "weight_gradient",
    "input": "input_gradient",
}


class Ours(Peer):
    """fastconv's public functions with one algorithm."""

    dtypes = DTYPES

    def __init__(self, algorithm: str = "auto", name: str = "fastconv") -> None:
        self.name = name
        self.algorithm = algorithm

    def takes(self, case: Case, pass_name: str) -> bool:
        return self.algorithm == "auto" or self.algorithm in algorithms(case, pass_name)

    def explained(self, case: Case, pass_name: str) -> Explanation:
        """What runs: the algorithm asked for or chosen by ``auto``, its flops and bytes."""
        g = case.layer.geometry
        return fastconv.explain(
            g.input_shape,
            g.weight_shape,
            g.stride,
            tuple(zip(g.pad_before, g.pad_after, strict=True)),
            g.dilation,
            g.groups,
            direction=DIRECTIONS[pass_name],
            dtype=case.x.dtype,
            layout=case.layout.upper(),
            algorithm=self.algorithm,
        )

    def threads(self, count: int) -> AbstractContextManager[Any]:
        return fastconv.options(threads=count)

    def release(self) -> None:
        fastconv.clear_cache()

    def forward(self, case: Case) -> Call:
        x, w, rest = case.x, case.w, conv_arguments(case.layer)
        algorithm = self.algorithm
        return lambda: fastconv.conv2d(x, w, None, *rest, algorithm=algorithm)

    def weight_gradient(self, case: Case) -> Call:
        x, dy, rest = case.x, case.dy, conv_arguments(case.layer)
        size, algorithm = case.layer.geometry.weight_shape, self.algorithm
        return lambda: fastconv.conv2d_weight(x, size, dy, *rest, algorithm=algorithm)

    def input_gradient(self, case: Case) -> Call:
        w, dy, rest = case.w, case.dy, conv_arguments(case.layer)
        size, algorithm = case.layer.geometry.input_shape, self.algorithm
        return lambda: fastconv.conv2d_input(size, w, dy, *rest, algorithm=algorithm)


def algorithms(case: Case, pass_name: str) -> tuple[str, ...]:
    """The algorithms that can do the pass on the case's own arrays."""
    g, x, w, dy = case.layer.geometry, case.x, case.w, case.dy
    source, weights = {"forward": (x, w), "weight": (x, dy), "input": (dy, w)}[pass_name]
    if pass_name == "weight":
        target = np.empty(g.weight_shape, x.dtype)
    else:
        target = new(host.result_shape(DIRECTIONS[pass_name], g), source)
    arrays = Arrays(element_of(x.dtype), source.strides, weights.strides, target.strides)
    return elements.candidates(DIRECTIONS[pass_name], g, arrays, winograd=True)
