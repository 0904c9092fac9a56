"""``fastconv example``: the worked example step by step, beside PyTorch's numbers."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..dispatch import ALGORITHMS
from ..worked_example import INPUT, KERNEL, LEARNING_RATE, TARGET, check, run

Numbers = Mapping[str, NDArray[Any]]

_STEPS = {
    "input": "input x",
    "kernel": "kernel w",
    "output": "output y = conv2d(x, w)",
    "total": "sum of the output S",
    "loss": f"loss L = (S - {TARGET})^2",
    "total_gradient": f"dL/dS = 2 (S - {TARGET})",
    "grad_output": "dL/dy = dL/dS, everywhere",
    "kernel_gradient": "dL/dw = conv2d_weight(x, dL/dy)",
    "input_gradient": "dL/dx = conv2d_input(w, dL/dy)",
    "manual_update": f"w - {LEARNING_RATE} dL/dw, by hand",
    "sgd_step": f"w after an SGD step of {LEARNING_RATE}",
}


@click.command()
@click.option("--dtype", type=click.Choice(("float32", "float64")), default="float32")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="auto")
def example(dtype: str, algorithm: str) -> None:
    """Show the worked example step by step.

    One convolution, its loss and one training step, with numbers small enough to check by hand.
    The exit status is 1 where a number is not what it must be.
    """
    ours = run(dtype, algorithm)
    console = Console(highlight=False, width=100)
    console.print(table(asdict(ours), pytorch_example(dtype), f"{dtype}, {algorithm}"))
    check(ours)
    console.print("Every number is what it must be.")


def table(ours: Numbers, peer: Numbers | None, title: str) -> Table:
    """The steps of the worked example, PyTorch's numbers beside ours."""
    made = Table(title=f"fastconv {__version__}: the worked example, {title}")
    made.add_column("step")
    made.add_column("fastconv")
    if peer is None:
        made.add_column("PyTorch (not installed)")
    else:
        made.add_column(f"PyTorch {version('torch')}")
        made.add_column("")
    for name, label in _STEPS.items():
        cells = [label, _lines(ours[name])]
        if peer is not None:
            cells += [_lines(peer[name]), _verdict(ours[name], peer[name])]
        made.add_row(*cells)
    return made


def pytorch_example(dtype: str) -> dict[str, NDArray[Any]] | None:
    """Return the worked example as PyTorch computes it, or None where it is not installed."""
    if find_spec("torch") is None:
        return None
    torch: Any = import_module("torch")

    x = torch.tensor([[INPUT]], dtype=getattr(torch, dtype), requires_grad=True)
    model = torch.nn.Conv2d(1, 1, 2, bias=False, dtype=x.dtype)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[KERNEL]]))
    before = model.weight.detach().clone()

    y = model(x)
    y.retain_grad()
    total = y.sum()
    total.retain_grad()
    loss = torch.nn.MSELoss()(total, torch.tensor(TARGET, dtype=x.dtype))
    loss.backward()
    dw = model.weight.grad.detach().clone()
    torch.optim.SGD(model.parameters(), lr=LEARNING_RATE).step()

    numbers = {
        "input": x[0, 0],
        "kernel": before[0, 0],
        "output": y[0, 0],
        "total": total,
        "loss": loss,
        "total_gradient": total.grad,
        "grad_output": y.grad[0, 0],
        "kernel_gradient": dw[0, 0],
        "input_gradient": x.grad[0, 0],
        "manual_update": (before - LEARNING_RATE * dw)[0, 0],
        "sgd_step": model.weight[0, 0],
    }
    return {name: value.detach().numpy() for name, value in numbers.items()}


def _verdict(ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    if np.array_equal(ours, theirs):
        return "same"
    return "same to rounding" if np.allclose(ours, theirs, rtol=1e-6) else "different"


def _lines(values: NDArray[Any]) -> str:
    """A matrix or a number as text, in columns of one width."""
    words = [[f"{value:.6g}" for value in row] for row in np.atleast_2d(values)]
    width = max(len(word) for row in words for word in row)
    return "\n".join("  ".join(f"{word:>{width}}" for word in row) for row in words)
