"""A test of this machine: each check computes what is known, or what plain NumPy makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from . import functional, grad_input, grad_weight, worked_example
from .dispatch import ALGORITHMS
from .geometry import ConvGeometry, forward_geometry
from .machine import machine_info
from .options import options

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DTYPES = ("float32", "float64")
CONV = (functional.conv1d, functional.conv2d, functional.conv3d)
WEIGHT = (grad_weight.conv1d_weight, grad_weight.conv2d_weight, grad_weight.conv3d_weight)
INPUT = (grad_input.conv1d_input, grad_input.conv2d_input, grad_input.conv3d_input)
COARSE = 64  # eps of the sum of all products' magnitudes: far beyond what any algorithm rounds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found.

    Attributes
    ----------
    cases : int
        Results that were compared.
    wrong : tuple of str
        Those that differ, in words.
    skipped : str
        Why nothing could be checked, if so.
    """

    cases: int
    wrong: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing that was compared is wrong."""
        return not self.wrong

    @property
    def told(self) -> str:
        """The outcome in words."""
        return self.skipped or ("right" if self.right else "WRONG: " + "; ".join(self.wrong))


@dataclass(frozen=True)
class Problem:
    """A convolution of small integers, whose results every dtype holds exactly."""

    g: ConvGeometry
    x: Array
    w: Array
    dy: Array

    def results(self, algorithm: str = "auto") -> dict[str, Array]:
        """The three passes."""
        g = self.g
        rank = g.rank - 1
        how = g.stride, self.pads, g.dilation, g.groups
        x, w, dy = self.x, self.w, self.dy
        return {
            "forward": CONV[rank](x, w, None, *how, algorithm=algorithm),
            "weight gradient": WEIGHT[rank](x, w.shape, dy, *how, algorithm=algorithm),
            "input gradient": INPUT[rank](x.shape, w, dy, *how, algorithm=algorithm),
        }

    def expected(self) -> dict[str, Array]:
        """The three passes as plain NumPy adds them up, one kernel position after the other."""
        g = self.g
        x, w, dy = (a.astype(np.float64) for a in (self.x, self.w, self.dy))
        images = np.pad(x, ((0, 0), (0, 0), *self.pads))
        sums = np.zeros_like(images)
        kernels: Array = w.reshape(g.groups, g.K // g.groups, g.C // g.groups, *g.kernel)
        dw = np.zeros_like(kernels)
        grads = dy.reshape(g.N, g.groups, g.K // g.groups, -1)
        y = np.zeros_like(grads)
        tap: Any
        for tap in product(*map(range, g.kernel)):
            seen: Any = tuple(
                slice(t * d, t * d + (p - 1) * s + 1, s)
                for t, d, p, s in zip(tap, g.dilation, g.output, g.stride, strict=True)
            )
            window: Array = images[:, :, *seen].reshape(g.N, g.groups, g.C // g.groups, -1)
            weights = kernels[:, :, :, *tap]
            y += np.einsum("ngcp,gkc->ngkp", window, weights)
            dw[:, :, :, *tap] = np.einsum("ngkp,ngcp->gkc", grads, window)
            spread = np.einsum("ngkp,gkc->ngcp", grads, weights)
            sums[:, :, *seen] += spread.reshape(g.N, g.C, *g.output)
        inner = (
            slice(first, first + size) for first, size in zip(g.pad_before, g.input, strict=True)
        )
        return {
            "forward": y.reshape(g.output_shape),
            "weight gradient": dw.reshape(g.weight_shape),
            "input gradient": sums[:, :, *inner],
        }

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and after each axis."""
        return tuple(zip(self.g.pad_before, self.g.pad_after, strict=True))

    def __str__(self) -> str:
        g = self.g
        return (
            f"{g.input_shape} * {g.weight_shape}, stride {g.stride}, padding {self.pads}, "
            f"dilation {g.dilation}, groups {g.groups}, {self.x.dtype}"
        )


def checks(seconds: float, seed: int = 0) -> Mapping[str, Callable[[], Outcome]]:
    """The checks by name, in order; random convolutions take so many seconds."""
    return {
        "worked example, each algorithm": anchors,
        "random convolutions": partial(random_convolutions, seconds, seed),
        "numbers of threads": thread_counts,
        "calls from several threads": concurrent_calls,
        "after a fork": forked,
        "worked example, GPU": device_anchor,
    }


def anchors() -> Outcome:
    """The worked example by every algorithm that can be had."""
    cases, wrong = 0, []
    for algorithm, dtype in product(ALGORITHMS, DTYPES):
        try:
            example = worked_example.run(dtype, algorithm)
        except ValueError:  # not for such a kernel, or its library is missing
            continue
        cases += 1
        try:
            worked_example.check(example)
        except worked_example.AnchorError as error:
            wrong.append(f"{algorithm}: {error}")
    return Outcome(cases, tuple(wrong))


def random_convolutions(seconds: float, seed: int) -> Outcome:
    """Random sizes in all passes: exact by exact algorithms, to rounding by the others."""
    end = time.monotonic() + seconds
    cases, wrong = 0, []
    for problem in problems(seed):
        expected = problem.expected()
        bound = COARSE * np.finfo(problem.x.dtype).eps * _magnitude(problem)
        for coarse in (False, True):
            with options(winograd=coarse):
                results = problem.results()
            for name, result in results.items():
                cases += 1
                # Written so that a NaN fails.
                if not np.abs(result - expected[name]).max() <= (bound if coarse else 0):
                    wrong.append(f"{name} of {problem}")
        if time.monotonic() >= end:
            break
    return Outcome(cases, tuple(wrong))


def thread_counts() -> Outcome:
    """One thread and all of them must give the same bits."""
    wrong = []
    results = []
    for threads in (1, machine_info().threads):
        with options(threads=threads):
            results.append(_large().results())
    for name, alone in results[0].items():
        if not np.array_equal(alone, results[1][name]):
            wrong.append(f"{name} on {machine_info().threads} threads")
    return Outcome(len(results[0]), tuple(wrong))


def concurrent_calls() -> Outcome:
    """Calls from several Python threads at once must give the same bits as one after the other."""
    problem, calls = _large(), 8
    alone = problem.results()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: problem.results(), range(calls)))
    wrong = {
        name
        for results in together
        for name in alone
        if not np.array_equal(results[name], alone[name])
    }
    return Outcome(calls * len(alone), tuple(sorted(wrong)))


def forked() -> Outcome:
    """A forked child, whose parent's threads are gone, must compute the same."""
    if not hasattr(os, "fork"):
        return Outcome(0, skipped="this system has no fork")
    problem = _large()
    alone = problem.results()
    child = os.fork()
    if not child:
        right = False
        try:
            mine = problem.results()
            right = all(np.array_equal(mine[name], alone[name]) for name in alone)
        finally:
            os._exit(0 if right else 1)  # nothing of the parent's is the child's to clean up
    _, status = os.waitpid(child, 0)
    return Outcome(len(alone), ("in the child",) if status else ())


def device_anchor() -> Outcome:
    """The worked example's forward pass on the GPU, if there is one that Numba can use."""
    name = machine_info().gpu
    if name is None:
        return Outcome(0, skipped="no GPU")
    try:
        from numba import cuda

        device = [cuda.to_device(np.array([[a]], np.float32)) for a in _ANCHOR]
    except Exception as error:  # whatever a missing or mismatched driver raises
        return Outcome(0, skipped=f"{name} cannot be used: {error}")
    y = functional.conv2d(*device).copy_to_host()
    dw = grad_weight.conv2d_weight(device[0], (1, 1, 2, 2), cuda.to_device(np.full_like(y, 4)))
    wrong = []
    if y[0, 0].tolist() != [list(row) for row in worked_example.EXPECTED["output"]]:
        wrong.append("forward")
    gradient = [list(row) for row in worked_example.EXPECTED["kernel_gradient"]]
    if dw.copy_to_host()[0, 0].tolist() != gradient:
        wrong.append("weight gradient")
    return Outcome(2, tuple(wrong))


_ANCHOR = worked_example.INPUT, worked_example.KERNEL


def problems(seed: int) -> Iterator[Problem]:
    """Random convolutions without end, the same ones for the same seed."""
    rng = np.random.default_rng(seed)

    def some(least: int, most: int, count: int) -> tuple[int, ...]:
        return tuple(int(i) for i in rng.integers(least, most + 1, count))

    while True:
        rank = int(rng.choice((1, 2, 2, 2, 3)))
        groups = int(rng.choice((1, 1, 1, 2, 7)))
        C, K = (groups * int(i) for i in rng.integers(1, 40 // groups + 1, 2))
        kernel, dilation = some(1, 4, rank), some(1, 2, rank)
        pads = tuple((i, i) for i in some(0, 2, rank))
        size = tuple(
            d * (r - 1) + 1 + extra
            for r, d, extra in zip(kernel, dilation, some(0, 20 // rank, rank), strict=True)
        )
        shapes = (int(rng.integers(1, 4)), C, *size), (K, C // groups, *kernel)
        g = forward_geometry(
            *shapes, some(1, 3, rank), pads, dilation, groups, rank, ("input", "weight")
        )
        yield _filled(g, rng)


def _large() -> Problem:
    """A problem that is worth several threads."""
    shapes = (4, 32, 40, 40), (48, 32, 3, 3)
    g = forward_geometry(*shapes, 1, 1, 1, 1, 2, ("input", "weight"))
    return _filled(g, np.random.default_rng(0))


def _filled(g: ConvGeometry, rng: np.random.Generator) -> Problem:
    """Small integers in a random dtype and layout."""
    dtype, last = rng.choice(DTYPES), bool(rng.integers(2))

    def integers(shape: tuple[int, ...]) -> Array:
        values = rng.integers(-3, 4, shape).astype(dtype)
        if last:
            values = np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1, -1)), -1, 1)
        return values

    w = rng.integers(-3, 4, g.weight_shape).astype(dtype)
    return Problem(g, integers(g.input_shape), w, integers(g.output_shape))


def _magnitude(problem: Problem) -> float:
    """A bound on the sum of the magnitudes of the products behind any one result."""
    g = problem.g
    terms = max(problem.w[0].size, problem.w.size // g.C, problem.dy[:, 0].size)
    return 9.0 * terms
