"""``python -m fastconv``: the worked example beside PyTorch's, and facts about this machine."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .dispatch import ALGORITHMS
from .machine import Machine, machine_info
from .worked_example import INPUT, KERNEL, LEARNING_RATE, TARGET, check, run

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
_COLUMN = 34


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the worked example and the machine's description."""
    parser = argparse.ArgumentParser(
        prog="python -m fastconv",
        description="Show the worked example, step by step, and what was found on this machine.",
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="auto")
    chosen = parser.parse_args(arguments)

    example = run(chosen.dtype, chosen.algorithm)
    peer = pytorch_example(chosen.dtype)
    print(f"fastconv {__version__}: the worked example, {chosen.dtype}, {chosen.algorithm}\n")
    print(table(asdict(example), peer))
    check(example)
    print("\nEvery number is what it must be.\n\nThis machine")
    print(describe(machine_info()))


def table(ours: Numbers, peer: Numbers | None) -> str:
    """Return the steps of the worked example as lines, PyTorch's numbers beside ours."""
    title = f"PyTorch {version('torch')}" if peer is not None else "PyTorch (not installed)"
    lines = [f"{'step':{_COLUMN}}{'fastconv':18}{title}"]
    lines.append("-" * len(lines[0]))
    for name, label in _STEPS.items():
        left = _rows(ours[name])
        right = _rows(peer[name]) if peer is not None else [""] * len(left)
        verdict = _verdict(ours[name], peer[name]) if peer is not None else ""
        for i, (mine, theirs) in enumerate(zip(left, right, strict=True)):
            head, tail = (label, verdict) if i == 0 else ("", "")
            lines.append(f"{head:{_COLUMN}}{mine:18}{theirs:18}{tail}".rstrip())
    return "\n".join(lines)


def describe(machine: Machine) -> str:
    """Return the facts about a machine, one a line."""
    facts = {
        "processor": f"{machine.processor} ({machine.target})",
        "features": " ".join(machine.features) or "none that matter here",
        "vector width": f"{machine.vector_bits} bits, {machine.vector_bits // 32} float32",
        "threads": f"{machine.threads} ({machine.threading_layer})",
        "GPU": machine.gpu or "none",
        "kernel cache": machine.cache_folder,
    }
    return "\n".join(f"  {name:14}{value}" for name, value in facts.items())


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


def _rows(values: NDArray[Any]) -> list[str]:
    """Return a matrix or a number as lines, in columns of one width."""
    words = [[f"{value:.6g}" for value in row] for row in np.atleast_2d(values)]
    width = max(len(word) for row in words for word in row)
    return ["  ".join(f"{word:>{width}}" for word in row) for row in words]


if __name__ == "__main__":
    main()
