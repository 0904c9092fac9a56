"""The worked example: one convolution, its loss and its training step, every number known.

The numbers are small enough to be checked by hand, and all but the last two are integers that even
8 bits hold, so each backend, algorithm and dtype must give them exactly. Tests compare every step
with `EXPECTED`, and a benchmark runs `check` before it times a kernel.

Algorithms for 3x3 kernels alone run the same example grown: the kernel gets a row and a column of
zeros, the input as much padding, and no number changes but by rounding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._arguments import one_of
from ._arrays import checked_dtype
from .dispatch import ALGORITHMS
from .functional import conv2d
from .grad_input import conv2d_input
from .grad_weight import conv2d_weight

Array = NDArray[Any]

INPUT = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
KERNEL = ((3, 2), (1, 5))
TARGET = 230
LEARNING_RATE = 0.01

EXPECTED: dict[str, Any] = {
    "input": INPUT,
    "kernel": KERNEL,
    "output": ((36, 47), (69, 80)),
    "total": 232,
    "loss": 4,
    "total_gradient": 4,
    "grad_output": ((4, 4), (4, 4)),
    "kernel_gradient": ((48, 64), (96, 112)),
    "input_gradient": ((12, 20, 8), (16, 44, 28), (4, 24, 20)),
    "manual_update": ((2.52, 1.36), (0.04, 3.88)),
    "sgd_step": ((2.52, 1.36), (0.04, 3.88)),
}

_GROWN = ("winograd",)  # algorithms that cannot run a 2x2 kernel
_INPUT_GRADIENTS = ("col2im",)  # algorithms of that pass alone: the rest is auto's
_COARSE = {"winograd": 16, "fft": 16}  # those that round, and by how many eps of the largest number

# 0.01 is no binary number: the updates are right to one rounding of a number as large as w.
_ROUNDED = ("manual_update", "sgd_step")


class AnchorError(AssertionError):
    """A number of the worked example is not what it must be."""


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """Every number of the worked example, in the order in which it is computed.

    Attributes
    ----------
    input, kernel : ndarray, shapes (3, 3) and (2, 2)
        What the convolution reads.
    output : ndarray, shape (2, 2)
        The convolution.
    total, loss : ndarray, shape ()
        The sum S of the output, and (S - 230)**2.
    total_gradient : ndarray, shape ()
        The loss's derivative by S, 2 * (S - 230).
    grad_output : ndarray, shape (2, 2)
        The loss's derivative by each output.
    kernel_gradient, input_gradient : ndarray, shapes (2, 2) and (3, 3)
        The loss's derivatives by the kernel and by the input.
    manual_update, sgd_step : ndarray, shape (2, 2)
        The kernel after one step of gradient descent, written out and by `sgd_step`.
    algorithm : str
        What computed the convolutions.
    """

    input: Array
    kernel: Array
    output: Array
    total: Array
    loss: Array
    total_gradient: Array
    grad_output: Array
    kernel_gradient: Array
    input_gradient: Array
    manual_update: Array
    sgd_step: Array
    algorithm: str


def run(dtype: DTypeLike = np.float32, algorithm: str = "auto") -> WorkedExample:
    """Compute the worked example step by step.

    Parameters
    ----------
    dtype : dtype
        Any that `fastconv.conv2d` takes; an integer kernel steps in float64.
    algorithm : str
        Passed on to each convolution, or to the one that it can do.

    Returns
    -------
    WorkedExample
        Every intermediate result.

    Examples
    --------
    >>> from fastconv.worked_example import run
    >>> example = run()
    >>> example.output
    array([[36., 47.],
           [69., 80.]], dtype=float32)
    >>> example.kernel_gradient
    array([[ 48.,  64.],
           [ 96., 112.]], dtype=float32)
    """
    algorithm = one_of(algorithm, "algorithm", ALGORITHMS)
    kind = checked_dtype(dtype)
    x = np.array(INPUT, kind)
    w = np.array(KERNEL, kind)
    more = ((0, 1),) * 2 if algorithm in _GROWN else ((0, 0),) * 2
    image, kernels = x[None, None], np.pad(w, more)[None, None]
    others = "auto" if algorithm in _INPUT_GRADIENTS else algorithm

    y = conv2d(image, kernels, padding=more, algorithm=others)
    total = y.sum()
    loss = (total - TARGET) ** 2

    total_gradient = 2 * (total - TARGET)
    dy = np.full_like(y, total_gradient)
    dw = conv2d_weight(image, kernels.shape, dy, padding=more, algorithm=others)[0, 0, :2, :2]
    dx = conv2d_input(image.shape, kernels, dy, padding=more, algorithm=algorithm)[0, 0]

    stepped = w.astype(np.float64 if w.dtype.kind in "iu" else w.dtype)
    sgd_step(stepped, dw, LEARNING_RATE)
    return WorkedExample(
        input=x,
        kernel=w,
        output=y[0, 0],
        total=np.asarray(total),
        loss=np.asarray(loss),
        total_gradient=np.asarray(total_gradient),
        grad_output=dy[0, 0],
        kernel_gradient=dw,
        input_gradient=dx,
        manual_update=(w - LEARNING_RATE * dw).astype(stepped.dtype),
        sgd_step=stepped,
        algorithm=algorithm,
    )


def sgd_step(parameter: Array, gradient: Array, learning_rate: float) -> None:
    """Take one step of gradient descent, in place, as an optimiser does."""
    parameter -= (learning_rate * gradient).astype(parameter.dtype)


def _eps(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number."""
    if np.issubdtype(dtype, np.integer):
        return 0.0
    return 2.0**-7 if dtype.name == "bfloat16" else float(np.finfo(dtype).eps)


def check(example: WorkedExample) -> None:
    """Raise `AnchorError` at the first number that is not what it must be.

    Parameters
    ----------
    example : WorkedExample
        What `run` returned.

    Raises
    ------
    AnchorError
        Naming the number, what it is and what it must be.

    Examples
    --------
    >>> from fastconv.worked_example import check, run
    >>> check(run("float64", algorithm="direct"))
    """
    if not isinstance(example, WorkedExample):
        raise TypeError(f"example must be what `run` returns, got {type(example).__name__}")
    coarse = _COARSE.get(example.algorithm, 0)
    for name, value in EXPECTED.items():
        found: Array = getattr(example, name)
        expected = np.array(value, found.dtype)
        eps = _eps(found.dtype)
        allowed = eps * np.abs(KERNEL) if name in _ROUNDED else 0
        allowed = allowed + coarse * eps * np.abs(expected).max()
        # Written so that a NaN fails.
        if found.shape != expected.shape or not np.all(np.abs(found - expected) <= allowed):
            raise AnchorError(
                f"the worked example's {name} is {found.tolist()} in {found.dtype}, "
                f"and must be {expected.tolist()}"
            )
