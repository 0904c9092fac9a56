"""Padding modes: every pass against a padded copy, plain loops and PyTorch; what is refused."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from arrays import LAYOUTS, VIEWS, Arena, Array, channels_last
from bordered import MODES, NUMPY_NAMES, oracle, padded, without_padding
from cases import PASSES, Case, compute, operands, result_shape, simple

import fastconv
from fastconv import borders
from fastconv.cpu import elements
from fastconv.geometry import forward_geometry

SHOWING = tuple(mode for mode in MODES if mode != "zeros")

CASES = {
    "one axis": Case(3, 4, 6, 2, (7,), (3,), (2,), ((3, 2),), (1,), bias=True),
    "two axes": Case(3, 5, 4, 1, (7, 5), (3, 2), (1, 1), ((2, 1), (0, 4)), (1, 2), bias=True),
    "strided": Case(2, 4, 6, 2, (6, 9), (3, 3), (2, 1), ((1, 1), (2, 2)), (1, 1)),
    "three axes": Case(
        *(2, 3, 4, 1, (3, 4, 5), (2, 3, 2), (1, 2, 1), ((2, 0), (1, 1), (0, 2)), (1, 1, 2))
    ),
    "one row": Case(2, 2, 3, 1, (1, 8), (1, 3), (1, 1), ((0, 0), (1, 1)), (1, 1)),
    "many channels": Case(2, 19, 18, 1, (5, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
}
TWO_AXES = CASES["two axes"]


@pytest.mark.parametrize("mode", SHOWING)
def test_what_each_padded_place_shows(mode: str) -> None:
    for size in range(1, 6):
        most = size - 1 if mode == "reflect" else size
        for before in range(most + 1):
            for after in range(most + 1):
                expected = np.pad(np.arange(size), (before, after), mode=NUMPY_NAMES[mode])  # type: ignore[call-overload]
                np.testing.assert_array_equal(borders.shown(mode, size, before, after), expected)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("mode", SHOWING)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_pass(arena: Arena, case: Case, mode: str, which: str) -> None:
    a, b, *bias = operands(case, which)
    expected = oracle(case, which, mode, a, b, bias[0] if bias else None)
    dtype = "float64" if case.rank == 3 else "float32"
    for layout in LAYOUTS:
        # A new result follows its source; ``out`` may lie as it likes.
        last = layout if which != "weight_gradient" else "channels_first"
        given = [arena.place(a, dtype, layout), arena.place(b, dtype, layout)]
        if which != "weight_gradient":  # one operand is a weight
            given[which == "forward"] = arena.place((a, b)[which == "forward"], dtype)
        out = arena.output(result_shape(case, which), dtype, last)
        rest = [arena.place(array, dtype) for array in bias]
        for keywords in ({"out": out}, {}):
            result = compute(
                case, which, *given, *rest, algorithm="direct", padding_mode=mode, **keywords
            )
            np.testing.assert_array_equal(result, expected)
    arena.check()


@pytest.mark.parametrize(
    ("dtype", "which"),
    [
        *(("float16", which) for which in PASSES),
        ("complex64", "weight_gradient"),
        ("int32", "input_gradient"),
    ],
)
def test_other_types(which: str, dtype: str) -> None:
    """Halves are folded in float32 and rounded once; small integers are exact all along."""
    a, b, *bias = operands(TWO_AXES, which)
    for mode in SHOWING:
        expected = oracle(TWO_AXES, which, mode, a, b, bias[0] if bias else None)
        given = [array.astype(dtype) for array in (a, b, *bias)]
        result = compute(TWO_AXES, which, *given, algorithm="direct", padding_mode=mode)
        np.testing.assert_array_equal(result, expected.astype(dtype))


@pytest.mark.parametrize("which", PASSES)
def test_bfloat16_pairs(which: str) -> None:
    """Where zeros would go through an instruction for pairs: the same numbers."""
    case = simple(2, 32, 32, (6, 5), (3, 3), pad=1)
    given = [array % 3 - 1 for array in operands(case, which)]
    bits = [(a.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for a in given]
    expected = oracle(case, which, "reflect", *given, None)
    with fastconv.options(bfloat16_bits=True):
        result = compute(case, which, *bits, algorithm="direct", padding_mode="reflect")
    wide = (result.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(wide, expected, rtol=2**-8)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", ["reversed", "cropped", "transposed", "unaligned"])
def test_views(which: str, name: str) -> None:
    given = operands(TWO_AXES, which)[:2]
    expected = oracle(TWO_AXES, which, "circular", *given, None)
    views = [VIEWS[name](array.astype(np.float32)) for array in given]
    out = VIEWS[name if name != "unaligned" else "cropped"](np.zeros(expected.shape, np.float32))
    for keywords in ({}, {"out": out}):
        result = compute(TWO_AXES, which, *views, padding_mode="circular", **keywords)
        np.testing.assert_array_equal(result, expected)


ALGORITHMS: dict[str, tuple[Case, float]] = {
    "winograd": (simple(2, 8, 9, (9, 10), (3, 3), pad=1), 1e-4),
    "depthwise": (simple(2, 19, 19, (9, 10), (3, 3), pad=1, groups=19), 0),
    "fft": (simple(2, 1, 2, (17, 19), (11, 11), pad=5), 1e-4),
}


@pytest.mark.parametrize(
    ("algorithm", "which"),
    [
        pair
        for pair in product(ALGORITHMS, PASSES)
        if pair != ("winograd", "weight_gradient")  # whose kernels take long to compile
    ],
)
def test_algorithms(which: str, algorithm: str) -> None:
    """Each algorithm that can do the padded image's convolution."""
    if algorithm == "fft":
        pytest.importorskip("scipy")
    case, error = ALGORITHMS[algorithm]
    given = operands(case, which)
    for mode in SHOWING:
        expected = oracle(case, which, mode, *given, None)
        arrays = [array.astype(np.float32) for array in given]
        try:
            result = compute(case, which, *arrays, algorithm=algorithm, padding_mode=mode)
        except ValueError as refused:
            assert "must be one of" in str(refused)  # noqa: PT017 - which passes it can do varies
            continue
        np.testing.assert_allclose(result, expected, atol=error * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("which", PASSES)
def test_a_batch_in_rounds_and_threads(which: str, layout: Callable[[Array], Array]) -> None:
    """Images of 0.5 MB go a few at a time, and the last round goes back to end with the batch."""
    case = Case(5, 2, 3, 1, (150, 160), (2, 2), (1, 1), ((1, 2), (3, 0)), (1, 1), bias=True)
    given = [array.astype(np.float32) for array in operands(case, which)]
    for i in {"forward": [0], "weight_gradient": [0, 1], "input_gradient": [1]}[which]:
        given[i] = layout(given[i])
    results = []
    for threads in (1, 2, 3):
        with fastconv.options(threads=threads):
            made = compute(case, which, *given, algorithm="direct", padding_mode="reflect")
            results.append(made)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    plain = without_padding(case)
    if which == "input_gradient":
        rows = compute(plain, which, *given, algorithm="direct")
        index = [
            borders.shown("reflect", n, *p) for n, p in zip(case.input, case.pads, strict=True)
        ]
        expected = np.zeros(case.input_shape, np.float32)
        np.add.at(expected, (slice(None), slice(None), *np.ix_(*index)), rows)
    else:
        given[0] = padded(case, given[0], "reflect")
        expected = compute(plain, which, *given, algorithm="direct")
    np.testing.assert_array_equal(results[0], expected)


def test_modes_do_not_stand_for_each_other() -> None:
    x, w, bias = (a.astype(np.float32) for a in operands(TWO_AXES, "forward"))
    expected = {mode: oracle(TWO_AXES, "forward", mode, x, w, bias) for mode in MODES}
    for _ in range(3):
        for mode in MODES:
            # Strings that are equal and not the same object, as a configuration file gives them.
            for name in (mode, "".join(mode)):
                result = compute(TWO_AXES, "forward", x, w, bias, padding_mode=name)
                np.testing.assert_array_equal(result, expected[mode], err_msg=mode)


def test_one_image_same_padding_and_an_activation() -> None:
    x, w = np.arange(-6.0, 6.0).reshape(1, 3, 4), np.ones((1, 1, 2, 2))
    wrapped = np.pad(x, ((0, 0), (0, 1), (0, 1)), mode="wrap")
    sums = wrapped[:, 1:, 1:] + wrapped[:, 1:, :-1] + wrapped[:, :-1, 1:] + wrapped[:, :-1, :-1]
    how: dict[str, Any] = {"padding": "same", "padding_mode": "circular"}
    np.testing.assert_array_equal(fastconv.conv2d(x, w, **how), sums)
    rectified = fastconv.conv2d(x, w, activation="relu", **how)
    np.testing.assert_array_equal(rectified, np.maximum(sums, 0))


def test_an_empty_batch() -> None:
    x, w = np.ones((0, 2, 4, 4)), np.ones((3, 2, 3, 3))
    for mode in SHOWING:
        how: dict[str, Any] = {"padding": 1, "padding_mode": mode}
        y = fastconv.conv2d(x, w, **how)
        assert y.shape == (0, 3, 4, 4)
        assert fastconv.conv2d_input(x.shape, w, y, **how).shape == x.shape
        assert not fastconv.conv2d_weight(x, w.shape, y, **how).any()


def test_without_padding_every_mode_is_the_same_plan() -> None:
    for mode in SHOWING:
        plan = fastconv.explain((2, 3, 8, 8), (4, 3, 3, 3), padding_mode=mode)
        assert plan == fastconv.explain((2, 3, 8, 8), (4, 3, 3, 3))


def test_explain_tells_of_borders() -> None:
    sizes = (40, 16, 60, 60), (16, 16, 3, 3)
    names = {}
    for direction in PASSES:
        plan = fastconv.explain(*sizes, padding=1, padding_mode="reflect", direction=direction)
        names[direction] = [stage.name for stage in plan.stages]
        assert plan.workspace > 0
    assert names["forward"].count("borders.pad_rows") == 1
    assert names["weight_gradient"][0] == "borders.pad_rows"
    assert names["input_gradient"][-1] == "borders.fold_rows"
    zeros = fastconv.explain(*sizes, padding=1)
    # Rounds of few images: the copy that they share is small.
    assert fastconv.explain(*sizes, padding=1, padding_mode="reflect").workspace < (
        zeros.workspace + 4e6
    )


@pytest.mark.parametrize("which", PASSES)
def test_the_timed_choice_is_among_those_of_the_padded_image(which: str) -> None:
    sizes: Any = ((2, 3, 9, 10), (4, 3, 3, 3), 1, 1, 1, 1, 2)
    for kind in ("float32", "float16"):
        strides = [(1080, 360, 40, 4), (108, 36, 12, 4), (1440, 360, 40, 4)]
        arrays = elements.Arrays(kind, *map(tuple, strides))
        g = forward_geometry(*sizes, padding_mode="reflect")
        names = elements.candidates(which, g, arrays, True)
        assert names == elements.candidates(which, g.padded, arrays, True)
        assert {"direct", "im2col"} <= set(names)


X, W = np.ones((1, 2, 4, 3)), np.ones((2, 2, 3, 3))
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"padding_mode": "mirror"}, ValueError, "padding_mode must be one of 'zeros', 'reflect', "),
    ({"padding_mode": None}, TypeError, r"padding_mode must be one of .*, got None \(NoneType\)"),
    (
        {"padding_mode": "reflect", "padding": (1, 3)},
        ValueError,
        r"padding must be at most 2 at each end of an axis of 3 pixels for "
        r"padding_mode='reflect', got \(3, 3\) for input of spatial sizes \(4, 3\)",
    ),
    (
        {"padding_mode": "circular", "padding": ((0, 0), (4, 0))},
        ValueError,
        r"padding must be at most 3 .* padding_mode='circular', got \(4, 0\)",
    ),
]


@pytest.mark.parametrize(("settings", "error", "message"), REFUSED)
def test_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastconv.conv2d(X, W, **settings)


def test_transposed_convolutions_pad_with_zeros_alone() -> None:
    fastconv.conv_transpose2d(X, W, padding_mode="zeros")
    message = "padding_mode must be 'zeros' for a transposed convolution, got 'reflect'"
    with pytest.raises(ValueError, match=message):
        fastconv.conv_transpose2d(X, W, padding_mode="reflect")
    dy, mask = np.ones((1, 2, 6, 5)), (True, True, True)
    with pytest.raises(ValueError, match=message):
        fastconv.convolution_backward(
            *(dy, X, W, None, (1, 1), (0, 0), (1, 1), True, (0, 0), 1, mask),
            padding_mode="reflect",
        )


def test_every_gradient_at_once() -> None:
    case = replace(TWO_AXES, bias=False)
    x, w = operands(case, "forward")
    dy = operands(case, "weight_gradient")[1]
    how = case.stride, case.pads, case.dilation
    dx, dw, db = fastconv.convolution_backward(
        *(dy, x, w, None, *how, False, (0, 0), case.groups, (True, True, True)),
        padding_mode="circular",
    )
    assert dx is not None
    assert dw is not None
    np.testing.assert_array_equal(dx, oracle(case, "input_gradient", "circular", w, dy, None))
    np.testing.assert_array_equal(dw, oracle(case, "weight_gradient", "circular", x, dy, None))
    np.testing.assert_array_equal(db, dy.sum((0, 2, 3)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", [1, 2])
def test_pytorch_modules_agree(rank: int, mode: str) -> None:
    torch = pytest.importorskip("torch")
    case = simple(2, 4, 6, (5, 6, 4)[:rank], (3,) * rank, pad=2, groups=2, stride=2, bias=True)
    x, w, bias = operands(case, "forward")
    module = getattr(torch.nn, f"Conv{rank}d")(
        *(4, 6, 3, 2, 2), groups=2, padding_mode=mode, dtype=torch.float64
    )
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(w))
        module.bias.copy_(torch.from_numpy(bias))
    image = torch.from_numpy(x).requires_grad_()
    y = module(image)
    dy = operands(case, "weight_gradient")[1]
    y.backward(torch.from_numpy(dy))
    ours = compute(case, "forward", x, w, bias, padding_mode=mode)
    np.testing.assert_array_equal(ours, y.detach().numpy())
    dw = compute(case, "weight_gradient", x, dy, padding_mode=mode)
    np.testing.assert_array_equal(dw, module.weight.grad.numpy())
    dx = compute(case, "input_gradient", w, dy, padding_mode=mode)
    np.testing.assert_array_equal(dx, image.grad.numpy())


@pytest.mark.parametrize("mode", ["reflect", "circular"])
def test_pytorch_refuses_the_same_paddings(mode: str) -> None:
    torch = pytest.importorskip("torch")
    x, w = np.ones((1, 1, 4, 4)), np.ones((1, 1, 1, 1))
    for pad in range(7):
        module = torch.nn.Conv2d(1, 1, 1, padding=pad, padding_mode=mode, dtype=torch.float64)
        try:
            shape = tuple(module(torch.from_numpy(x)).shape)
        except RuntimeError:
            with pytest.raises(ValueError, match="padding must be at most"):
                fastconv.conv2d(x, w, padding=pad, padding_mode=mode)
        else:
            assert fastconv.conv2d(x, w, padding=pad, padding_mode=mode).shape == shape
