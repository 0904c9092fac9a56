"""The oracle of padding modes: NumPy pads the image, plain loops do the rest."""

from dataclasses import replace

import by_taps
import numpy as np
from arrays import Array
from cases import Case

#: what NumPy's `pad` calls PyTorch's padding modes
NUMPY_NAMES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "zeros": "constant"}
MODES = tuple(NUMPY_NAMES)


def padded(case: Case, x: Array, mode: str) -> Array:
    """The image with its borders."""
    return np.pad(x, ((0, 0), (0, 0), *case.pads), mode=NUMPY_NAMES[mode])  # type: ignore[call-overload]


def without_padding(case: Case) -> Case:
    """The case of the padded image."""
    size = tuple(n + sum(pad) for n, pad in zip(case.input, case.pads, strict=True))
    return replace(case, input=size, pads=((0, 0),) * case.rank)


def folded(case: Case, dx: Array, mode: str) -> Array:
    """The padded image's gradient, each element added where its place shows the image."""
    places = [
        np.pad(np.arange(1, n + 1), pad, mode=NUMPY_NAMES[mode])  # type: ignore[call-overload]
        for n, pad in zip(case.input, case.pads, strict=True)
    ]
    # Place 0 is zeros' own: nobody's gradient.
    total = np.zeros((*dx.shape[:2], *(n + 1 for n in case.input)))
    np.add.at(total, (slice(None), slice(None), *np.ix_(*places)), dx)
    return total[:, :, *(slice(1, None) for _ in places)]


def oracle(case: Case, which: str, mode: str, a: Array, b: Array, bias: Array | None) -> Array:
    """A pass by plain loops in float64, as `cases.oracle`; or "per_sample_gradient"."""
    plain = without_padding(case)
    if which == "input_gradient":
        return folded(case, by_taps.input_gradient(a, b, plain.input, *plain.how), mode)
    x = padded(case, a, mode)
    if which == "forward":
        return by_taps.forward(x, b, bias, *plain.how)
    if which == "weight_gradient":
        return by_taps.weight_gradient(x, b, case.kernel, *plain.how)
    samples = [slice(n, n + 1) for n in range(case.n)]
    return np.stack(
        [by_taps.weight_gradient(x[n], b[n], case.kernel, *plain.how) for n in samples]
    ).reshape(case.n, *case.weight_shape)
