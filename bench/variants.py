"""``python -m bench.variants``: padding modes and per-sample gradients beside PyTorch's.

A padding mode is timed beside our own zeros, and beside `torch.nn.functional.pad` and the
convolution of what that gives, which is what PyTorch's modules do. Per-sample weight gradients are
timed beside one grouped convolution of all samples, and beside ``vmap(grad(...))``.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import fastconv
from bench.case import LAYOUTS, Array, Case, make_case
from bench.choices import split_names, split_suites, suite_layers
from bench.peers.torch import Torch
from bench.suites import Layer
from bench.summary import time_text
from bench.timing import interleaved, ratio
from fastconv.borders import MODES

PER_SAMPLE = "per sample"
_CLOSE = 1e-4  # of the largest element, in float32: the two libraries' results
OURS = "ours"
ZEROS, BATCH = "our zeros", "our batch gradient"  #: there for comparison alone


class Entry(NamedTuple):
    """One row: what it is called, and its contestants, ours and PyTorch's first."""

    name: str
    calls: dict[str, Callable[[], Any]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--suite", "names", callback=split_suites, default="resnet50", show_default=True)
@click.option("--layers", default="^resnet50_(1|4|13)$", metavar="REGEX", show_default=True)
@click.option("--batch", type=click.IntRange(1), help="N for every layer, not its own.")
@click.option("--budget", type=float, default=0.5, show_default=True, help="Seconds a figure.")
@click.option("--layout", type=click.Choice(LAYOUTS), default="nchw", show_default=True)
@click.option(
    "--variants",
    callback=split_names((*MODES[1:], PER_SAMPLE)),
    default=f"reflect,circular,{PER_SAMPLE}",
    show_default=True,
)
def main(
    names: tuple[str, ...],
    layers: str,
    batch: int | None,
    budget: float,
    layout: str,
    variants: tuple[str, ...],
) -> None:
    """Time padding modes and per-sample weight gradients beside PyTorch, on one thread.

    Each result is compared with PyTorch's first; the exit status is 1 where two differ.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("layer", "variant", "pass", OURS, "beside", "time", "ratio"):
        table.add_column(heading, justify="left" if heading in ("layer", "beside") else "right")
    wrong = []
    with fastconv.options(threads=1), Torch().threads(1):
        for layer in (
            one for found in suite_layers(names, layers, batch).values() for one in found
        ):
            case = make_case(layer, layout)
            for entry in (one for variant in variants for one in entries(case, variant)):
                if not agree(entry):
                    wrong.append(f"{layer.name}, {entry.name}: the results differ")
                    continue
                samples = interleaved(entry.calls, budget)
                for name in list(samples)[1:]:
                    variant, _, pass_name = entry.name.partition(", ")
                    table.add_row(
                        *(layer.name, variant, pass_name, time_text(samples[OURS].median)),
                        *(name, time_text(samples[name].median)),
                        f"{ratio(samples[OURS], samples[name]):.2f}",
                    )
    console = Console()
    console.print(table)
    for line in wrong:
        console.print(line, style="red")
    sys.exit(bool(wrong))


def entries(case: Case, variant: str) -> Iterator[Entry]:
    """The rows of a layer and a padding mode, or of its per-sample gradients."""
    if variant == PER_SAMPLE:
        yield Entry(f"{PER_SAMPLE}, weight", _per_sample(case))
    elif any(case.layer.padding):
        for which, make in (("forward", _forward), ("weight", _weight), ("input", _input)):
            yield Entry(f"{variant}, {which}", make(case, variant))


def agree(entry: Entry) -> bool:
    """Whether ours and PyTorch's result are the same but for rounding."""
    results: list[Array] = [
        np.asarray(call()) for name, call in entry.calls.items() if name not in (ZEROS, BATCH)
    ]
    largest = max(float(np.abs(result).max()) for result in results)
    return all(np.allclose(results[0], other, atol=_CLOSE * largest) for other in results[1:])


def _how(layer: Layer) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}


def _modes(run: Callable[..., Any], mode: str) -> dict[str, Callable[[], Any]]:
    return {OURS: partial(run, padding_mode=mode), ZEROS: partial(run, padding_mode="zeros")}


def _torch_pad(case: Case, mode: str) -> tuple[Any, Any, Callable[[], Any], dict[str, Any]]:
    """PyTorch; the image as a tensor; a call that pads it; the other settings."""
    torch, how = Torch().torch, _how(case.layer)
    high, wide = how.pop("padding")
    x = torch.from_numpy(case.x)
    pad = partial(torch.nn.functional.pad, x, (wide, wide, high, high), mode=mode)
    return torch, x, pad, how


def _forward(case: Case, mode: str) -> dict[str, Callable[[], Any]]:
    torch, _, pad, how = _torch_pad(case, mode)
    w = torch.from_numpy(case.w)
    ours = partial(fastconv.conv2d, case.x, case.w, **_how(case.layer))
    return _modes(ours, mode) | {"torch": lambda: torch.nn.functional.conv2d(pad(), w, **how)}


def _backward(torch: Any, how: dict[str, Any], mask: list[bool]) -> Callable[..., Any]:
    rest = (None, how["stride"], (0, 0), how["dilation"], False, (0, 0), how["groups"], mask)
    return lambda dy, x, w: torch.ops.aten.convolution_backward(dy, x, w, *rest)


def _weight(case: Case, mode: str) -> dict[str, Callable[[], Any]]:
    torch, _, pad, how = _torch_pad(case, mode)
    dy, w = torch.from_numpy(case.dy), torch.from_numpy(case.w)
    backward = _backward(torch, how, [False, True, False])
    ours = partial(fastconv.conv2d_weight, case.x, case.w.shape, case.dy, **_how(case.layer))
    return _modes(ours, mode) | {"torch": lambda: backward(dy, pad(), w)[1]}


def _input(case: Case, mode: str) -> dict[str, Callable[[], Any]]:
    torch, x, _, how = _torch_pad(case, mode)
    dy, w = torch.from_numpy(case.dy), torch.from_numpy(case.w)
    image = x.clone().requires_grad_()
    (high, wide), backward = case.layer.padding, _backward(torch, how, [True, False, False])
    padded = torch.nn.functional.pad(image, (wide, wide, high, high), mode=mode)

    def theirs() -> Any:
        dx = backward(dy, padded.detach(), w)[0]
        return torch.autograd.grad(padded, image, dx, retain_graph=True)[0]

    ours = partial(fastconv.conv2d_input, case.x.shape, case.w, case.dy, **_how(case.layer))
    return _modes(ours, mode) | {"torch": theirs}


def _per_sample(case: Case) -> dict[str, Callable[[], Any]]:
    torch, how = Torch().torch, _how(case.layer)
    x, dy, w = (torch.from_numpy(np.ascontiguousarray(a)) for a in (case.x, case.dy, case.w))
    N, groups = case.layer.N, case.layer.groups
    shape = (N * case.w.shape[0], *case.w.shape[1:])
    one = {**how, "groups": N * groups}

    def grouped() -> Any:
        images, slopes = (a.reshape(1, -1, *a.shape[2:]) for a in (x, dy))
        dw = torch.nn.grad.conv2d_weight(images, shape, slopes, **one)
        return dw.reshape(N, *case.w.shape)

    def loss(weight: Any, image: Any, slope: Any) -> Any:
        return (torch.nn.functional.conv2d(image[None], weight, **how) * slope).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    arguments = case.x, case.w.shape, case.dy
    return {
        OURS: partial(fastconv.conv2d_weight, *arguments, per_sample=True, **how),
        BATCH: partial(fastconv.conv2d_weight, *arguments, **how),
        "torch, grouped": grouped,
        "torch, vmap(grad)": lambda: each(w, x, dy),
    }


if __name__ == "__main__":
    main()
