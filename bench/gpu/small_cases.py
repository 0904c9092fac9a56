"""Every kernel of ours on tiny layers, exact: what compute-sanitizer watches.

Run as ``python -m bench.gpu.small_cases``, with ``--few`` for a 3x3 and a depthwise layer by the
algorithms that are chosen for them. All but fastconv's own kernels runs on the host, so
that a tool that slows kernels down a thousandfold has no others to watch.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.case import PASSES, Case, make_case
from bench.gpu import device
from bench.gpu.precisions import PRECISIONS, Precision
from bench.gpu.workload import arithmetic, converted, first_line, mapped, our_call
from bench.reference import reference
from bench.suites import Layer, read_suite, shrunk

LAYERS = {"resnet50": (0, 3, 5), "mobilenet_v1_dw": (1,), "deepbench_train": (30,)}
FEW_LAYERS = {"resnet50": (3,), "mobilenet_v1_dw": (1,)}
PIXELS = 9


def small_layers(chosen: Mapping[str, Sequence[int]] = LAYERS) -> tuple[Layer, ...]:
    """A stem, a 3x3, a strided 1x1, a depthwise and a 5x5 layer, with tails in every dimension."""
    return tuple(
        replace(small, H=min(small.H, small.R + PIXELS), W=min(small.W, small.S + PIXELS - 2))
        for suite, numbers in chosen.items()
        for small in (shrunk(read_suite(suite)[number]) for number in numbers)
    )


def integer_case(layer: Layer) -> Case:
    """Integers from -2 to 2 as arrays of the host."""
    case = make_case(layer)
    x, w, dy = (np.rint(2 * array) for array in (case.x, case.w, case.dy))
    return replace(case, x=x, w=w, dy=dy)


def mismatches(
    place: str,
    precisions: Sequence[Precision],
    algorithms: Sequence[str],
    layers: Sequence[Layer] | None = None,
) -> Iterator[tuple[str, str]]:
    """Each case's name with what is wrong with it: an empty word where nothing is."""
    torch: Any = importlib.import_module("torch")
    for layer in layers or small_layers():
        case = integer_case(layer)
        tensors = mapped(case, "nchw", torch.from_numpy)
        expected = {name: torch.from_numpy(reference(case, name)) for name in PASSES}
        for precision in precisions:
            host = converted(torch, tensors, precision)
            there = mapped(host, host.layout, lambda tensor: tensor.to(place))
            for algorithm in algorithms:
                for pass_name in PASSES:
                    name = f"{layer.name} {precision.name} {algorithm} {pass_name}"
                    with arithmetic(torch, precision):
                        yield name, _mismatch(there, pass_name, algorithm, expected[pass_name])


def _mismatch(case: Case, pass_name: str, algorithm: str, expected: Any) -> str:
    try:
        found = our_call(case, pass_name, algorithm)().cpu()
    except ValueError:  # an algorithm that refuses this case has no kernel to watch
        return ""
    except Exception as error:  # the other cases are still to be watched
        return first_line(error)
    wrong = int((found != expected.to(found.dtype)).sum())
    return f"{wrong} of {found.numel()} elements are not exact" if wrong else ""


def main(few: bool = False) -> int:
    """Print each wrong case and how many there were; the exit status."""
    try:
        found = device.find_device()
    except device.NoDevice as error:
        print(error, file=sys.stderr)
        return 2
    algorithms = ("auto",) if few else found.algorithms()
    layers = small_layers(FEW_LAYERS if few else LAYERS)
    outcomes = list(mismatches(device.PLACE, tuple(PRECISIONS.values()), algorithms, layers))
    wrong = [f"{name}: {what}" for name, what in outcomes if what]
    print(*wrong, f"{len(outcomes) - len(wrong)} right, {len(wrong)} wrong", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(few="--few" in sys.argv[1:]))
