"""The public functions: forms of their arguments, shapes, ``out``, and values by the oracle."""

import asyncio
import threading
from typing import Any

import naive
import numpy as np
import pytest
from arrays import DTYPES, Array, channels_last, integers, is_channels_last

import fastconv
from fastconv.options import current as settings_here

RANKS = (1, 2, 3)
# Per axis; the first `rank` of each are used.
SIZE, KERNEL, STRIDE, DILATION = (6, 5, 7), (3, 2, 3), (2, 1, 2), (1, 2, 1)
PADS = ((1, 1), (2, 2), (0, 0))
UNEVEN = ((1, 0), (0, 2), (2, 1))


def public(form: str, rank: int) -> Any:
    return getattr(fastconv, form.format(rank))


def operands(rank: int, dtype: str = "float64") -> tuple[Array, Array, Array]:
    """Two images of 4 channels, 6 kernels in 2 groups, and a bias."""
    rng = np.random.default_rng(rank)
    x = integers(rng, (2, 4, *SIZE[:rank]), dtype)
    return x, integers(rng, (6, 2, *KERNEL[:rank]), dtype), integers(rng, (6,), dtype)


def settings(rank: int, pads: tuple[tuple[int, int], ...] = PADS) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups in the order of `conv2d` and of the oracle."""
    return STRIDE[:rank], pads[:rank], DILATION[:rank], 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pads", [PADS, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("rank", RANKS)
def test_conv(rank: int, pads: Any, dtype: str) -> None:
    x, w, b = operands(rank, dtype)
    expected = naive.forward(x, w, b, *settings(rank, pads))
    y = public("conv{}d", rank)(x, w, b, *settings(rank, pads))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("pads", [PADS, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("rank", RANKS)
def test_gradients(rank: int, pads: Any) -> None:
    x, w, _ = operands(rank)
    arguments = settings(rank, pads)
    dy = integers(np.random.default_rng(0), naive.forward(x, w, None, *arguments).shape)
    dw = public("conv{}d_weight", rank)(x, w.shape, dy, *arguments)
    np.testing.assert_array_equal(dw, naive.weight_gradient(x, dy, w.shape[2:], *arguments))
    dx = public("conv{}d_input", rank)(list(x.shape), w, dy, *arguments)
    np.testing.assert_array_equal(dx, naive.input_gradient(w, dy, x.shape[2:], *arguments))


def transposed_by_oracle(x: Array, w: Array, bias: Array, extra: tuple[int, ...]) -> Array:
    """The input gradient at the size that the definition of a transposed convolution gives."""
    rank = x.ndim - 2
    axes = zip(x.shape[2:], w.shape[2:], *settings(rank)[:3], extra, strict=True)
    size = tuple((n - 1) * s + d * (k - 1) + 1 + e - sum(p) for n, k, s, p, d, e in axes)
    result = naive.input_gradient(w, x, size, *settings(rank))
    return result + bias.reshape(-1, *[1] * rank)


@pytest.mark.parametrize("rank", RANKS)
def test_conv_transpose(rank: int) -> None:
    x, w, _ = operands(rank)
    bias, w = np.arange(6.0), w.reshape(4, 3, *KERNEL[:rank])
    stride, pads, dilation, groups = settings(rank)
    extra = (1, 0, 1)[:rank]
    y = public("conv_transpose{}d", rank)(x, w, bias, stride, pads, extra, groups, dilation)
    np.testing.assert_array_equal(y, transposed_by_oracle(x, w, bias, extra))


def test_output_padding_beyond_the_stride_leaves_the_bias() -> None:
    x, w, bias = np.ones((1, 1, 2)), np.ones((1, 1, 2)), np.array([5.0])
    y = fastconv.conv_transpose1d(x, w, bias, stride=1, output_padding=2, dilation=3)
    np.testing.assert_array_equal(y, [[[6.0, 6.0, 5.0, 6.0, 6.0, 5.0, 5.0]]])


@pytest.mark.parametrize("rank", RANKS)
def test_one_image_is_a_batch_without_its_axis(rank: int) -> None:
    x, w, b = operands(rank)
    one = x[0]
    conv, transpose = public("conv{}d", rank), public("conv_transpose{}d", rank)
    np.testing.assert_array_equal(conv(one, w, b, groups=2), conv(x, w, b, groups=2)[0])
    w = w.reshape(4, 3, *KERNEL[:rank])
    np.testing.assert_array_equal(transpose(one, w, b, groups=2), transpose(x, w, b, groups=2)[0])


@pytest.mark.parametrize("rank", RANKS)
def test_defaults(rank: int) -> None:
    x, w = operands(rank)[0][:, :2], operands(rank)[1]
    ones, none = (1,) * rank, ((0, 0),) * rank
    y = public("conv{}d", rank)(x, w)
    np.testing.assert_array_equal(y, naive.forward(x, w, None, ones, none, ones, 1))


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [
        (1, ((1, 1), (1, 1))),
        ((2,), ((2, 2), (2, 2))),
        ([1, 0], ((1, 1), (0, 0))),
        (((1, 0), (0, 3)), ((1, 0), (0, 3))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (1, 2))),
    ],
)
def test_padding_forms(padding: Any, pairs: Any) -> None:
    rng = np.random.default_rng(0)
    x, w = integers(rng, (1, 1, 6, 6)), integers(rng, (2, 1, 3, 4))
    expected = naive.forward(x, w, None, (1, 1), pairs, (1, 1), 1)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, padding=padding), expected)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_every_algorithm_is_taken_everywhere(algorithm: str) -> None:
    x, w, b = operands(2)
    chosen: dict[str, Any] = {"groups": 2, "algorithm": algorithm}
    y = fastconv.conv2d(x, w, b, **chosen)
    np.testing.assert_array_equal(y, fastconv.conv2d(x, w, b, groups=2))
    dw = fastconv.conv2d_weight(x, w.shape, y, **chosen)
    np.testing.assert_array_equal(dw, fastconv.conv2d_weight(x, w.shape, y, groups=2))
    dx = fastconv.conv2d_input(x.shape, w, y, **chosen)
    np.testing.assert_array_equal(dx, fastconv.conv2d_input(x.shape, w, y, groups=2))
    np.testing.assert_array_equal(
        dx, fastconv.conv_transpose2d(y, w, groups=2, algorithm=algorithm)
    )


# out


def test_out_is_filled_and_returned() -> None:
    x, w, b = operands(2)
    expected = fastconv.conv2d(x, w, b, groups=2)
    for out in (np.full(expected.shape, np.nan), channels_last(np.full(expected.shape, np.nan))):
        assert fastconv.conv2d(x, w, b, groups=2, out=out) is out
        np.testing.assert_array_equal(out, expected)
    one = np.full(expected.shape[1:], np.nan)
    assert fastconv.conv2d(x[1], w, b, groups=2, out=one) is one
    np.testing.assert_array_equal(one, expected[1])


def test_out_of_the_other_functions() -> None:
    x, w, _ = operands(2)
    dy = fastconv.conv2d(x, w, groups=2)
    results = [
        (fastconv.conv2d_weight, (x, w.shape, dy), w.shape),
        (fastconv.conv2d_input, (x.shape, w, dy), x.shape),
        (fastconv.conv_transpose2d, (dy, w), x.shape),
        (fastconv.conv_transpose2d, (dy[0], w), x.shape[1:]),
    ]
    for function, arguments, shape in results:
        out = np.full(shape, np.nan)
        assert function(*arguments, groups=2, out=out) is out
        np.testing.assert_array_equal(out, function(*arguments, groups=2))


def test_out_may_be_another_part_of_the_inputs_buffer() -> None:
    buffer = np.arange(2 * 5 * 4.0).reshape(2, 5, 4)
    x, out = buffer[:, :3], buffer[:, 3:]
    w = integers(np.random.default_rng(0), (2, 3, 1))
    expected = fastconv.conv1d(x.copy(), w)
    fastconv.conv1d(x, w, out=out)
    np.testing.assert_array_equal(buffer[:, 3:], expected)


def test_out_counts_as_overlapping_where_it_is_too_hard_to_tell() -> None:
    buffer = np.zeros(200_000)
    shape, strides = (6,) * 5, tuple(8 * n for n in (8861, 6558, 7261, 2819, 3522))
    x = np.lib.stride_tricks.as_strided(buffer, shape, strides)
    out = np.lib.stride_tricks.as_strided(buffer[2578:], shape, strides)
    with pytest.raises(ValueError, match="out must not share memory with input"):
        fastconv.conv3d(x, np.ones((6, 6, 1, 1, 1)), out=out)


# memory


def test_channels_last_input_gives_channels_last_output() -> None:
    x, w, b = operands(2)
    x, w = x[:, :2], w[:, :2]
    y = fastconv.conv2d(channels_last(x), w, b)
    assert is_channels_last(y)
    np.testing.assert_array_equal(y, fastconv.conv2d(x, w, b))
    assert fastconv.conv2d(x, w, b).flags.c_contiguous


def test_memmap_and_unaligned_operands(tmp_path: Any) -> None:
    x, w, b = operands(1)
    expected = fastconv.conv1d(x, w, b, groups=2)
    mapped = np.memmap(tmp_path / "x", x.dtype, "w+", shape=x.shape)
    mapped[...] = x
    y = fastconv.conv1d(mapped, w, b, groups=2)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, expected)
    shifted = np.zeros(w.nbytes + 1, np.uint8)[1:].view(w.dtype).reshape(w.shape)
    shifted[...] = w
    np.testing.assert_array_equal(fastconv.conv1d(x, shifted, b, groups=2), expected)


def test_operands_stay_as_they_are() -> None:
    x, w, b = operands(2)
    copies = x.copy(), w.copy(), b.copy()
    for array in (x, w, b):
        array.flags.writeable = False
    fastconv.conv2d(x, w, b, groups=2, padding=1)
    for array, copy in zip((x, w, b), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_empty_batch() -> None:
    _, w, b = operands(2)
    x = np.empty((0, 4, 6, 5))
    y = fastconv.conv2d(x, w, b, groups=2)
    assert y.shape == (0, 6, 4, 4)
    dw = fastconv.conv2d_weight(x, w.shape, y, groups=2)
    np.testing.assert_array_equal(dw, np.zeros(w.shape))
    assert fastconv.conv2d_input(x.shape, w, y, groups=2).shape == x.shape
    assert fastconv.conv_transpose2d(y, w, groups=2).shape == x.shape
    assert fastconv.unfold(x, 2).shape == (0, 16, 20)
    assert fastconv.fold(np.empty((0, 16, 20)), (6, 5), 2).shape == x.shape


# convolution_backward


def backward(
    mask: tuple[bool, bool, bool], transposed: bool, **changes: Any
) -> tuple[tuple[Array | None, ...], tuple[Array, Array, Array]]:
    """Return what `convolution_backward` gives, and dy, x and w."""
    x, w, _ = operands(2)
    if transposed:
        w = w.reshape(4, 3, 3, 2)
    forward = fastconv.conv_transpose2d if transposed else fastconv.conv2d
    rng = np.random.default_rng(1)
    dy = integers(rng, forward(x, w, stride=2, padding=(1, 0), groups=2).shape)
    arguments: dict[str, Any] = {
        "bias_sizes": (6,),
        "stride": [2],
        "padding": [1, 0],
        "dilation": (1, 1),
        "transposed": transposed,
        "output_padding": (0,),
        "groups": 2,
        "output_mask": mask,
        **changes,
    }
    return fastconv.convolution_backward(dy, x, w, **arguments), (dy, x, w)


def test_backward_of_a_convolution() -> None:
    (dx, dw, db), (dy, x, w) = backward((True, True, True), transposed=False)
    arguments = ((2, 2), ((1, 1), (0, 0)), (1, 1), 2)
    np.testing.assert_array_equal(dx, naive.input_gradient(w, dy, x.shape[2:], *arguments))
    np.testing.assert_array_equal(dw, naive.weight_gradient(x, dy, w.shape[2:], *arguments))
    np.testing.assert_array_equal(db, dy.sum(axis=(0, 2, 3)))


def test_backward_of_a_transposed_convolution() -> None:
    (dx, dw, db), (dy, x, w) = backward((True, True, True), transposed=True)
    arguments = ((2, 2), ((1, 1), (0, 0)), (1, 1), 2)
    np.testing.assert_array_equal(dx, naive.forward(dy, w, None, *arguments))
    np.testing.assert_array_equal(dw, naive.weight_gradient(dy, x, w.shape[2:], *arguments))
    np.testing.assert_array_equal(db, dy.sum(axis=(0, 2, 3)))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mask", list(np.ndindex(2, 2, 2)))
def test_backward_computes_what_the_mask_asks_for(
    mask: tuple[int, int, int], transposed: bool
) -> None:
    every, _ = backward((True, True, True), transposed)
    asked, _ = backward(mask, transposed)
    for wanted, result, full in zip(mask, asked, every, strict=True):
        if wanted:
            np.testing.assert_array_equal(result, full)
        else:
            assert result is None


def test_backward_ignores_the_bias_sizes() -> None:
    (_, _, without), _ = backward((False, False, True), False, bias_sizes=None)
    (_, _, wrong), _ = backward((False, False, True), False, bias_sizes=[0])
    np.testing.assert_array_equal(without, wrong)


def test_bias_gradient_keeps_small_terms() -> None:
    dy = np.full((1, 1, 2**12, 2**12), 1e-3, np.float32)
    dy[..., 0, 0] = 2.0**14
    x, w = np.broadcast_to(np.float32(0), dy.shape), np.ones((1, 1, 1, 1), np.float32)
    ones, mask = (1, 1), (False, False, True)
    db = fastconv.convolution_backward(dy, x, w, None, ones, (0,), ones, False, (0,), 1, mask)[2]
    assert db is not None
    assert db.dtype == np.float32
    np.testing.assert_allclose(db, [dy.astype(np.float64).sum()], rtol=1e-7)


# unfold and fold


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding", "stride"),
    [
        ((2, 3), 1, 0, 1),
        (3, (1, 2), (1, 2), (2, 1)),
        ((1, 1), 1, ((0, 3), (2, 0)), 3),
        ((5, 2), 2, 4, (1, 3)),
        ((9, 2), 1, (1, 0), 1),
        (2, 5, 9, 4),
    ],
)
def test_unfold_and_fold(kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
    rng = np.random.default_rng(0)
    x = integers(rng, (2, 3, 7, 6), "float32")
    columns = fastconv.unfold(x, kernel, dilation, padding, stride)
    rows, taps = columns.shape[1], columns.shape[1] // 3
    taps_shape = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    one_hot = np.tile(np.eye(taps, dtype=x.dtype), (3, 1)).reshape(rows, 1, *taps_shape)
    pixels = fastconv.conv2d(x, one_hot, None, stride, padding, dilation, groups=3)
    np.testing.assert_array_equal(columns, pixels.reshape(2, rows, -1))
    assert columns.flags.c_contiguous

    weights = integers(rng, columns.shape, "float32")
    images = fastconv.fold(weights, (7, 6), kernel, dilation, padding, stride)
    assert images.shape == x.shape
    assert images.dtype == columns.dtype == np.float32
    assert np.vdot(images, x) == np.vdot(weights, columns)
    np.testing.assert_array_equal(
        fastconv.fold(weights[1], (7, 6), kernel, dilation, padding, stride), images[1]
    )
    np.testing.assert_array_equal(
        fastconv.unfold(x[1], kernel, dilation, padding, stride), columns[1]
    )


def test_unfold_and_fold_read_any_strides() -> None:
    x = integers(np.random.default_rng(0), (3, 2, 6, 8))
    view = x[::-1, :, ::-2].transpose(0, 1, 3, 2)
    columns = fastconv.unfold(view, 2)
    np.testing.assert_array_equal(columns, fastconv.unfold(view.copy(), 2))
    strided = np.asfortranarray(columns)[:, :, ::1]
    np.testing.assert_array_equal(
        fastconv.fold(strided, view.shape[2:], 2), fastconv.fold(columns, view.shape[2:], 2)
    )


# options


def test_options_nest_and_end() -> None:
    before = current()
    with fastconv.options(threads=2):
        assert current() == (2, True)
        with fastconv.options(winograd=False):
            assert current() == (2, False)
            with fastconv.options(threads=1, winograd=True):
                assert current() == (1, True)
            assert current() == (2, False)
        assert current() == (2, True)
    assert current() == before == (None, True)


def test_options_end_with_an_exception() -> None:
    with pytest.raises(KeyError), fastconv.options(threads=1):
        raise KeyError
    assert current() == (None, True)


def test_options_belong_to_their_thread() -> None:
    thread = threading.Thread(target=fastconv.options(threads=3).__enter__)
    thread.start()
    thread.join()
    assert current() == (None, True)


def test_options_belong_to_their_task() -> None:
    async def task(threads: int) -> tuple[int | None, bool]:
        with fastconv.options(threads=threads):
            await asyncio.sleep(0)
            return current()

    async def both() -> list[tuple[int | None, bool]]:
        return await asyncio.gather(task(1), task(2))

    assert asyncio.run(both()) == [(1, True), (2, True)]


def current() -> tuple[int | None, bool]:
    held = settings_here()
    return held.threads, held.winograd
