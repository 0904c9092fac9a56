"""The worked example on tensors: its convolution, its loss, and both gradients, exact."""

import importlib
from typing import Any

import fastconv
from bench.checked import WrongResult
from bench.gpu.precisions import Precision
from bench.gpu.workload import arithmetic
from fastconv.worked_example import EXPECTED, INPUT, KERNEL, TARGET

CHECKED = ("output", "total", "loss", "kernel_gradient", "input_gradient")


def check_anchor(precision: Precision, algorithm: str, place: str) -> None:
    """Compute the worked example at ``place``; `WrongResult` at the first number that differs."""
    torch: Any = importlib.import_module("torch")
    with arithmetic(torch, precision):
        numbers = _numbers(torch, getattr(torch, precision.dtype), algorithm, place)
    for name, found in numbers.items():
        expected = torch.tensor(EXPECTED[name], dtype=torch.float64)
        if not torch.equal(found.cpu().to(torch.float64), expected):
            raise WrongResult(
                f"the worked example's {name} is {found.tolist()}, and must be {expected.tolist()}"
            )


def _numbers(torch: Any, dtype: Any, algorithm: str, place: str) -> dict[str, Any]:
    x, w = (torch.tensor([[rows]], dtype=dtype, device=place) for rows in (INPUT, KERNEL))
    y = fastconv.conv2d(x, w, algorithm=algorithm)
    total = y.sum()
    dy = torch.full_like(y, float(2 * (total - TARGET)))
    dw = fastconv.conv2d_weight(x, tuple(w.shape), dy, algorithm=algorithm)
    dx = fastconv.conv2d_input(tuple(x.shape), w, dy, algorithm=algorithm)
    steps = (y[0, 0], total, (total - TARGET) ** 2, dw[0, 0], dx[0, 0])
    return dict(zip(CHECKED, steps, strict=True))
