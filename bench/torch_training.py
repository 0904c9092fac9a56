"""``python -m bench.torch_training``: one training step of a ResNet-18, with and without fastconv.

The same network, the same images and the same optimiser, once in plain PyTorch and once under
`fastconv.torch.accelerate`; the steps take turns. Output and gradients are compared
before anything is timed.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.case import LAYOUTS
from bench.choices import split_counts, split_names
from bench.summary import machine_lines
from bench.timing import FEW_ROUNDS, interleaved, ratio

CONTESTANTS = ("fastconv", "torch")
TOLERANCE = 5e-2  # rounding gives 1e-5, a ReLU that it turns 1e-2, a wrong kernel 1
CORNER = 64  # pixels


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--batch", callback=split_counts, default="8,16", show_default=True)
@click.option("--size", type=click.IntRange(32), default=224, show_default=True)
@click.option(
    "--layout",
    "layouts",
    callback=split_names(LAYOUTS),
    default=",".join(LAYOUTS),
    show_default=True,
)
@click.option("--threads", callback=split_counts, default="1", show_default=True)
@click.option("--width", type=click.IntRange(1), default=64, show_default=True)
@click.option("--budget", type=float, default=8.0, show_default=True, help="Seconds a figure.")
@click.option("--smoke", is_flag=True, help="A small network, values checked, nothing timed.")
def main(
    batch: tuple[int, ...],
    size: int,
    layouts: tuple[str, ...],
    threads: tuple[int, ...],
    width: int,
    budget: float,
    smoke: bool,
) -> None:
    """Time one training step of a ResNet-18 in PyTorch, plain and under accelerate().

    The exit status is 1 where output or gradients differ by more than rounding.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    if smoke:
        batch, size, threads, width = (2,), 64, (1,), 64
    else:
        console.print(*machine_lines(machine.describe(("float32",), threads)), sep="\n")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("batch", "layout", "thr.", "fastconv", "torch", "ratio", "forward"):
        table.add_column(heading, justify="right" if heading != "layout" else "left")
    wrong = []
    for images in batch:
        for layout in layouts:
            for count in threads:
                with pytorch_threads(count):
                    training = Training(images, size, layout, width)
                    error = training.error()
                    if error > TOLERANCE:
                        wrong.append(f"batch {images}, {layout}: results differ by {error:.1e}")
                    elif not smoke:
                        table.add_row(str(images), layout, str(count), *figures(training, budget))
    if not smoke:
        console.print(table)
    for sentence in wrong:
        console.print(f"[bold red]not timed[/]: {sentence}", highlight=False)
    sys.exit(1 if wrong else 0)


@contextmanager
def pytorch_threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch, and with them for fastconv."""
    torch = importlib.import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Training:
    """A network, its data and its optimiser; a step of it, with fastconv or without."""

    def __init__(self, images: int, size: int, layout: str, width: int) -> None:
        torch = self.torch = importlib.import_module("torch")
        accelerate = importlib.import_module("fastconv.torch").accelerate
        self.context: dict[str, Callable[[], AbstractContextManager[Any]]] = {
            "fastconv": accelerate,
            "torch": nullcontext,
        }
        torch.manual_seed(0)
        memory = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        resnet18 = importlib.import_module("bench.resnet18").resnet18
        self.model = resnet18(width).to(memory_format=memory)
        self.x = torch.randn(images, 3, size, size).contiguous(memory_format=memory)
        self.target = torch.randint(0, 1000, (images,))
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=1e-6, momentum=0.9)

    def output(self, contestant: str, x: Any) -> Any:
        """The forward pass."""
        with self.context[contestant]():
            return self.model(x)

    def loss(self, contestant: str, x: Any) -> Any:
        """The forward pass, and its loss."""
        return self.torch.nn.functional.cross_entropy(self.output(contestant, x), self.target)

    def step(self, contestant: str) -> None:
        """One step of training."""
        self.optimiser.zero_grad()
        self.loss(contestant, self.x).backward()
        self.optimiser.step()

    def results(self, contestant: str) -> list[Any]:
        """The output, and the gradients for a corner of the images.

        A number may lie so near a ReLU's zero that rounding turns its sign, the more likely the
        larger the images are. A few gradients then differ by more than rounding.
        """
        loss = self.loss(contestant, self.x[..., :CORNER, :CORNER])
        gradients = self.torch.autograd.grad(loss, list(self.model.parameters()))
        return [self.output(contestant, self.x).detach(), *gradients]

    def error(self) -> float:
        """The largest difference of two results, as a norm beside theirs."""
        pairs = zip(*map(self.results, CONTESTANTS), strict=True)
        return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def figures(training: Training, budget: float) -> list[str]:
    """A step's times, their ratio, and that of the forward pass alone."""
    steps = {name: partial(training.step, name) for name in CONTESTANTS}
    passes = {name: partial(training.output, name, training.x) for name in CONTESTANTS}
    found = interleaved(steps, budget, FEW_ROUNDS)
    ours, theirs = (found[name] for name in CONTESTANTS)
    forward = interleaved(passes, budget / 2, FEW_ROUNDS)
    alone = ratio(*(forward[name] for name in CONTESTANTS))
    times = [f"{sample.median * 1e3:.0f} ms" for sample in (ours, theirs)]
    return [*times, f"{ratio(ours, theirs):.2f}", f"{alone:.2f}"]


if __name__ == "__main__":
    main()
