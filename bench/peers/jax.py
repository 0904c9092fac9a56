"""JAX: XLA's CPU compiler, each pass one compiled function."""

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench.case import Array, Case
from bench.peers.base import Call, Peer, Unusable

_TASKS = "/proc/self/task"  # of Linux: one folder a thread
_AXES = {"nchw": ("NCHW", "OIHW", "NCHW"), "nhwc": ("NHWC", "HWIO", "NHWC")}


class Jax(Peer):
    """lax.conv_general_dilated and its transposes, jitted; arrays in the axes' own order.

    XLA makes its pool of workers once, as large as the process's set of cores, and no setting
    bounds it afterwards (jaxlib 0.10 ignores ``xla_cpu_multi_thread_eigen`` given with a
    function). So its workers, and they alone, are kept to as many cores as threads are asked for.
    """

    name = "jax"

    def __init__(self) -> None:
        self.jax, self.cpu, self._workers = _started()

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        cores = sorted(os.sched_getaffinity(0))
        self._keep_to(cores[:count])
        try:
            yield
        finally:
            self._keep_to(cores)

    def _keep_to(self, cores: list[int]) -> None:
        for worker in self._workers:
            try:
                os.sched_setaffinity(worker, cores)
            except ProcessLookupError:  # it helped with a start, and ended
                continue

    def array(self, result: Any, case: Case, pass_name: str) -> Array:
        array = np.asarray(result)
        if case.layout == "nchw":
            return array
        return array.transpose((3, 2, 0, 1) if pass_name == "weight" else (0, 3, 1, 2))

    def _convolution(self, case: Case) -> Callable[[Any, Any], Any]:
        layer = case.layer
        return lambda x, w: self.jax.lax.conv_general_dilated(
            x,
            w,
            layer.stride,
            [(pad, pad) for pad in layer.padding],
            rhs_dilation=layer.dilation,
            dimension_numbers=_AXES[case.layout],
            feature_group_count=layer.groups,
        )

    def _call(self, case: Case, function: Callable[[Any, Any], Any], *names: str) -> Call:
        """A compiled function of two of the case's arrays, which lie on JAX's device."""
        compiled = self.jax.jit(function)
        with self.jax.enable_x64(True):  # float64 stays float64
            a, b = (self.jax.device_put(_ordered(case, name), self.cpu) for name in names)
            ready = compiled.lower(a, b).compile()
        return lambda: ready(a, b).block_until_ready()

    def forward(self, case: Case) -> Call:
        return self._call(case, self._convolution(case), "x", "w")

    def weight_gradient(self, case: Case) -> Call:
        convolution = self._convolution(case)
        return self._gradient(case, "w", lambda x: lambda w: convolution(x, w), "x")

    def input_gradient(self, case: Case) -> Call:
        convolution = self._convolution(case)
        return self._gradient(case, "x", lambda w: lambda x: convolution(x, w), "w")

    def _gradient(
        self, case: Case, name: str, linear: Callable[[Any], Callable[[Any], Any]], other: str
    ) -> Call:
        """The transpose of a function that is linear in ``name``, applied to the output's gradient.

        ``linear`` makes that function from the other operand.
        """
        operand = _ordered(case, name)
        like = self.jax.ShapeDtypeStruct(operand.shape, operand.dtype)

        def gradient(fixed: Any, dy: Any) -> Any:
            return self.jax.linear_transpose(linear(fixed), like)(dy)[0]

        return self._call(case, gradient, other, "dy")


@functools.cache
def _started() -> tuple[Any, Any, tuple[int, ...]]:
    """JAX, its CPU, and the threads that came with it when it was started here, once a process."""
    bounded = hasattr(os, "sched_setaffinity") and os.path.isdir(_TASKS)
    before = set(os.listdir(_TASKS)) if bounded else set()
    jax = importlib.import_module("jax")
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        jax.jit(lambda a: a @ a)(np.ones((64, 64), np.float32)).block_until_ready()
    workers = set(os.listdir(_TASKS)) - before if bounded else set()
    if not workers:
        raise Unusable(
            "jax: its threads cannot be told apart and bounded here: no figures beside it"
        )
    return jax, cpu, tuple(map(int, workers))


def _ordered(case: Case, name: str) -> Array:
    """An operand with its axes as they lie in memory: for NHWC (N, H, W, C), and (R, S, C, K)."""
    array: Array = getattr(case, name)
    if case.layout == "nhwc":
        array = array.transpose((2, 3, 1, 0) if name == "w" else (0, 2, 3, 1))
    return np.ascontiguousarray(array)
