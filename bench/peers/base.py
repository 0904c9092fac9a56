"""What a contestant is: three passes, each a callable of no arguments on a case's own arrays.

What a peer's user would do once (wrapping arrays as tensors, laying out weights, building a model)
is done before that callable is made; what each call needs (padding, flipping, the output's
allocation) is done inside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from bench.case import LAYOUTS, Array, Case
from bench.suites import Layer

Call = Callable[[], Any]
SLOW_LIMIT = 2_000_000_000  # flops: scipy's correlate2d takes about a second for them


class Unusable(Exception):
    """An installed library that would not be a fair peer here; the message says why."""


class Peer(ABC):
    """Three passes, each made ready by the method of its name."""

    name: str
    layouts: tuple[str, ...] = LAYOUTS  # of the memory of the arrays that it takes
    dtypes: tuple[str, ...] = ("float32", "float64")

    def prepare(self, case: Case, pass_name: str) -> Call:
        """The callable to time for one of ``forward``, ``weight``, ``input``."""
        makers = {
            "forward": self.forward,
            "weight": self.weight_gradient,
            "input": self.input_gradient,
        }
        return makers[pass_name](case)

    def available(self, layer: Layer, pass_name: str) -> bool:
        """Whether this peer can run the pass within a sane time and memory."""
        return True

    def takes(self, case: Case, pass_name: str) -> bool:
        """Whether this peer can be timed on the case."""
        known = case.layout in self.layouts and case.layer.dtype in self.dtypes
        return known and self.available(case.layer, pass_name)

    def release(self) -> None:  # noqa: B027  # most have nothing that can be freed
        """Free what is kept between calls, as far as the library lets go of it."""

    def array(self, result: Any, case: Case, pass_name: str) -> Array:
        """What a call returned as an array of (N, C, H, W)'s or (K, C, R, S)'s shape."""
        return np.asarray(result)

    @abstractmethod
    def threads(self, count: int) -> AbstractContextManager[Any]:
        """A context in which this peer's calls use ``count`` threads.

        The callables are made inside it, too.
        """

    @abstractmethod
    def forward(self, case: Case) -> Call: ...

    @abstractmethod
    def weight_gradient(self, case: Case) -> Call: ...

    @abstractmethod
    def input_gradient(self, case: Case) -> Call: ...


def conv_arguments(
    layer: Layer,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
    """Stride, padding, dilation and groups, in the order of every conv2d's signature."""
    return layer.stride, layer.padding, layer.dilation, layer.groups
