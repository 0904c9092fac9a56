"""What a run measures, in the order in which it does: what matters most comes first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from bench.gpu.precisions import PRECISIONS, Precision
from bench.suites import MEMORY_BUDGET, Layer, read_suite, shrunk

SUITES = ("resnet50", "mobilenet_v1_dw", "deepbench_train", "everyday")
DEFAULT_SUITES = SUITES[:3]
BATCH = {"resnet50": 64, "mobilenet_v1_dw": 64}  # the other tables name their own
SMOKE_LAYER = {"resnet50": 3, "mobilenet_v1_dw": 1, "deepbench_train": 30, "everyday": 1}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Job:
    """One figure to take."""

    suite: str
    layer: Layer
    precision: Precision
    pass_name: str


def select(
    suites: Sequence[str],
    precisions: Sequence[str],
    passes: Sequence[str],
    pattern: str = "",
    memory: int = MEMORY_BUDGET,
    smoke: bool = False,
) -> tuple[Job, ...]:
    """List the jobs in their order: suite by suite, the layers of each spread out.

    A run that the budget cuts has then measured a fair sample of its last suite, and each of
    its layers whole: a layer's arrays and reference are made once for all that is done with it.
    """
    return tuple(
        Job(suite, layer, PRECISIONS[precision], pass_name)
        for suite in sorted(suites, key=SUITES.index)
        for layer in spread(_layers(suite, memory, smoke))
        if re.search(pattern, layer.name)
        for precision in precisions
        for pass_name in passes
    )


def _layers(suite: str, memory: int, smoke: bool) -> tuple[Layer, ...]:
    layers = read_suite(suite, BATCH.get(suite), memory)
    if smoke:
        small = shrunk(layers[SMOKE_LAYER[suite]])
        return (replace(small, name=f"{small.name}_small", note=""),)
    return layers


def spread(items: Sequence[Item]) -> tuple[Item, ...]:
    """Reorder ``items`` so that every beginning is drawn evenly from the whole.

    >>> spread("abcdefgh")
    ('a', 'e', 'c', 'g', 'b', 'f', 'd', 'h')
    """
    bits = max(len(items) - 1, 0).bit_length()
    order = sorted(range(len(items)), key=lambda i: f"{i:0{bits}b}"[::-1])
    return tuple(items[i] for i in order)
