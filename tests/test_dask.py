"""Dask arrays: the results of arrays in memory, in chunks, lazily; from one scheduler's threads."""

import pickle
from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest
from arrays import channels_last, integers, is_channels_last

import fastconv

pytest.importorskip("dask.array", reason="pip install 'fastconv[dask]'")
import dask
import dask.array as da
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv.dask as chunked
from fastconv.dask import cuts
from fastconv.geometry import forward_geometry

RNG = np.random.default_rng(6)
DIRECT: dict[str, Any] = {"algorithm": "direct"}  # few kernels for chunks of many shapes


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with dask.config.set(scheduler="sync"):
        yield


def blocks(a: np.ndarray, *chunks: Any) -> da.Array:
    return da.from_array(a, chunks=chunks)


def same(result: da.Array, expected: np.ndarray) -> bool:
    """Whether the values are the same, and the chunks, dtype and shape those that were promised."""
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert result._meta.dtype == expected.dtype
    computed = result.compute()
    for index in np.ndindex(result.numblocks):
        promised = tuple(c[i] for c, i in zip(result.chunks, index, strict=True))
        assert result.blocks[index].compute().shape == promised
    assert computed.dtype == expected.dtype
    return bool((computed == expected).all())


# Rank, input, kernel, groups, (stride, pads, dilation), chunks of the input.
CASES = {
    "same_padding": (2, (2, 3, 11, 12), (4, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 3, 4, 5)),
    "channel_chunks": (2, (2, 5, 9, 8), (4, 3), 1, (1, 2), ((1, 0), (2, 1)), (1, 1), (2, 2, 5, 3)),
    "stride_over_chunks": (
        2,
        (1, 2, 13, 9),
        (3, 2),
        1,
        (3, 5),
        ((0, 2), (1, 0)),
        (1, 1),
        (1, 2, 2, 1),
    ),
    "dilation_over_chunks": (
        2,
        (1, 2, 14, 12),
        (2, 3),
        1,
        (1, 1),
        ((0, 0), (3, 3)),
        (4, 3),
        (1, 2, 3, 2),
    ),
    "padding_beyond_kernel": (
        2,
        (1, 2, 5, 4),
        (2, 2),
        1,
        (2, 1),
        ((5, 4), (3, 6)),
        (1, 1),
        (1, 2, 2, 1),
    ),
    "groups": (2, (2, 6, 8, 7), (9, 3), 3, (2, 1), ((1, 1), (0, 1)), (1, 2), (1, 2, 3, 4)),
    "depthwise": (2, (2, 5, 9, 9), (10, 3), 5, (1, 1), ((1, 1), (1, 1)), (1, 1), (2, (3, 2), 4, 9)),
    "signals": (1, (3, 2, 29), (3, 5), 1, (2,), ((2, 3),), (3,), (2, 2, 7)),
    "volumes": (
        3,
        (1, 2, 5, 6, 4),
        (3, 3),
        1,
        (1, 2, 1),
        ((1, 1),) * 3,
        (1, 1, 1),
        (1, 2, 2, 3, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_passes_equal_the_oracle(name: str) -> None:
    rank, size, (K, taps), groups, stride, pads, dilation, chunks = CASES[name]
    kernel = (taps,) * rank
    x, bias = integers(RNG, size, "float32"), integers(RNG, (K,), "float32")
    w = integers(RNG, (K, size[1] // groups, *kernel), "float32")
    how = (stride, pads, dilation, groups)
    y = naive.forward(x, w, bias, *how).astype("float32")
    dy = integers(RNG, y.shape, "float32")
    ends = ("", "_weight", "_input")
    conv, weight, image = (getattr(chunked, f"conv{rank}d{end}") for end in ends)

    x_blocks = blocks(x, *chunks)
    # The weight in memory, or in chunks along every axis.
    for some in (w, blocks(w, *((2, 1, 2, 2, 2)[: w.ndim]))):
        y_blocks = conv(x_blocks, some, bias, *how, **DIRECT)
        assert same(y_blocks, y)
    dw = naive.weight_gradient(x, dy, kernel, stride, pads, dilation, groups).astype("float32")
    dx = naive.input_gradient(w, dy, size[2:], stride, pads, dilation, groups).astype("float32")
    # The output gradient in the output's own chunks, and in others.
    other = (1, K // groups, *(3, 2, 4)[:rank])
    for grad in (blocks(dy, *y_blocks.chunks), blocks(dy, *other)):
        assert same(weight(x_blocks, w.shape, grad, *how, **DIRECT), dw)
        assert same(image(size, some, grad, *how, **DIRECT), dx)
        given = image(size, some, grad, *how, chunks=x_blocks.chunks, **DIRECT)
        assert given.chunks == x_blocks.chunks
        assert same(given, dx)


axis_sizes = st.tuples(
    st.integers(1, 30), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4),
    st.integers(0, 9), st.integers(0, 9), st.lists(st.integers(1, 9), min_size=1, max_size=8),
)  # fmt: skip


@given(axis_sizes)
@settings(max_examples=300)
def test_reads_are_exact(drawn: tuple[Any, ...]) -> None:
    """Every range is a convolution of its own, which reads what it does in the whole one."""
    size, taps, stride, dilation, before, after, lengths = drawn
    try:
        g = forward_geometry((1, 1, size), (1, 1, taps), stride, ((before, after),), dilation, 1, 1)
    except ValueError:
        return  # the kernel is larger than the image
    chunks = [*lengths, max(size - sum(lengths), 0)]
    reach = dilation * (taps - 1) + 1
    outputs = cuts.output_ranges(g, 0, chunks)
    assert outputs[0][0] == 0
    assert outputs[-1][1] == g.output[0]
    for (_, stop), (start, _) in pairwise(outputs):
        assert stop == start
    for first, last in outputs:
        read = cuts.input_read(g, 0, (first, last))
        alone = read.stop - read.start + read.before + read.after
        assert (alone - reach) // stride + 1 == last - first
        assert read.start == read.stop or read.start - read.before == first * stride - before
    for first, last in cuts.input_ranges(g, 0, cuts.lengths(outputs)):
        read = cuts.gradient_read(g, 0, (first, last))
        assert read.before >= 0
        assert (
            last - first + read.before + read.after - reach
        ) // stride + 1 == read.stop - read.start
        assert first - read.before == read.start * stride - before
        reaching = [
            p
            for p in range(g.output[0])
            if any(first <= p * stride + t * dilation - before < last for t in range(taps))
        ]
        assert all(read.start <= p < read.stop for p in reaching)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_sums_over_chunks_in_other_dtypes(dtype: str) -> None:
    """They wrap as integers do, and of halves only the whole is rounded."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x = RNG.integers(0, 9, (2, 4, 12, 9)).astype(dtype)
    w = RNG.integers(0, 9, (3, 4, 3, 3)).astype(dtype)
    how: dict[str, Any] = {"padding": 1, **DIRECT}
    y = fastconv.conv2d(x, w, **how)
    x_blocks = blocks(x, 1, 2, 5, 9)
    assert same(chunked.conv2d(x_blocks, w, **how), y)
    dy = RNG.integers(0, 9, y.shape).astype(dtype)
    grad = blocks(dy, 1, 2, 5, 9)
    dw = fastconv.conv2d_weight(x, w.shape, dy, **how)
    assert same(chunked.conv2d_weight(x_blocks, w.shape, grad, **how), dw)
    dx = fastconv.conv2d_input(x.shape, w, dy, **how)
    assert same(chunked.conv2d_input(x.shape, w, grad, **how), dx)


def test_activation_comes_after_the_sum_over_channels() -> None:
    x, w = integers(RNG, (1, 4, 6, 6), "float32"), integers(RNG, (3, 4, 3, 3), "float32")
    bias = integers(RNG, (3,), "float32")
    expected = fastconv.conv2d(x, w, bias, activation="relu")
    assert (expected == 0).any()
    for channels in (4, 1):
        assert same(
            chunked.conv2d(blocks(x, 1, channels, 3, 6), w, bias, activation="relu"), expected
        )


def test_one_image_and_no_image() -> None:
    x, w = integers(RNG, (2, 9, 8), "float32"), integers(RNG, (3, 2, 3, 3), "float32")
    assert same(chunked.conv2d(blocks(x, 2, 4, 8), w), fastconv.conv2d(x, w))
    none, dy = np.zeros((0, 2, 9, 8), "float32"), np.zeros((0, 3, 7, 6), "float32")
    x_blocks, grad = blocks(none, 1, 2, 4, 8), blocks(dy, 1, 3, 4, 6)
    assert same(chunked.conv2d(x_blocks, w), dy)
    assert same(chunked.conv2d_weight(x_blocks, w.shape, grad), np.zeros_like(w))
    assert same(chunked.conv2d_input(none.shape, w, grad), none)


def test_chunks_follow_the_input() -> None:
    x, w = da.zeros((4, 3, 100, 90), chunks=((1, 3), 3, (30, 50, 20), 45)), np.zeros((8, 3, 5, 3))
    assert chunked.conv2d(x, w, padding="same").chunks == ((1, 3), (8,), (30, 50, 20), (45, 45))
    assert chunked.conv2d(x, w, stride=2, padding="valid").chunks == (
        (1, 3),
        (8,),
        (14, 25, 9),
        (22, 22),
    )
    parts = da.zeros(w.shape, chunks=(4, -1, -1, -1))
    assert chunked.conv2d(x, parts).chunks[1] == (4, 4)


def test_only_strips_of_neighbours_are_read() -> None:
    """A chunk's task reads its own block; what it reads of the others are strips cut from them."""
    x = da.zeros((1, 2, 40, 40), chunks=(1, 2, 10, 40), dtype="float32")
    y = chunked.conv2d(x, np.zeros((3, 2, 3, 3), "float32"), padding=1)
    graph = dict(y.dask)
    # Three borders, each crossed both ways by one row.
    strips = [key for key in graph if str(key[0]).endswith("-cut")]
    assert len(strips) == 6
    computed = dask.get(graph, strips)
    assert all(strip.shape == (1, 2, 1, 40) and strip.base is None for strip in computed)
    # Part of the result needs no more than part of the input.
    top = dict(y[:, :, :5].__dask_optimize__(y[:, :, :5].dask, y[:, :, :5].__dask_keys__()))
    assert not any(key[0] == x.name and key[3] > 1 for key in top if isinstance(key, tuple))


def test_nothing_runs_before_compute() -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    x = da.zeros((1, 2, 8, 8), chunks=4, dtype="float32").map_blocks(
        fail, meta=np.empty((0,) * 4, "f")
    )
    y = chunked.conv2d(x, np.zeros((3, 2, 3, 3), "float32"))
    assert y.dtype == np.float32
    with pytest.raises(AssertionError, match="computed"):
        y.compute()


def test_same_call_same_name() -> None:
    x, w = da.zeros((1, 2, 8, 8), chunks=4), np.ones((3, 2, 3, 3))
    assert chunked.conv2d(x, w).name == chunked.conv2d(x, w).name
    assert chunked.conv2d(x, w).name != chunked.conv2d(x, w, stride=2).name
    assert chunked.conv2d(x, w).name != chunked.conv2d(x, 2 * w).name
    plain = chunked.conv2d(x, w).name
    with fastconv.options(winograd=False):
        assert chunked.conv2d(x, w).name != plain


def test_tree_depends_on_the_chunks_alone() -> None:
    """Each sum takes at most eight, neighbours first, and the bits are those of that order."""
    x = RNG.standard_normal((20, 2, 8, 8)).astype("float32")
    dy = RNG.standard_normal((20, 3, 6, 6)).astype("float32")
    dw = chunked.conv2d_weight(blocks(x, 1, 2, 8, 8), (3, 2, 3, 3), blocks(dy, 1, 3, 6, 6))
    parts = [fastconv.conv2d_weight(x[i : i + 1], (3, 2, 3, 3), dy[i : i + 1]) for i in range(20)]
    sums = [sum(parts[i + 1 : i + 8][: 20 - i], parts[i].copy()) for i in (0, 8, 16)]
    assert (dw.compute() == sums[0] + sums[1] + sums[2]).all()


def test_layout_is_kept() -> None:
    x = channels_last(integers(RNG, (2, 8, 9, 9), "float32"))
    w = integers(RNG, (16, 8, 3, 3), "float32")
    x_blocks = blocks(x, 1, 8, 4, 9).map_blocks(channels_last)  # from_array copies to C order
    y = chunked.conv2d(x_blocks, w, padding=1)
    computed = dask.get(dict(y.dask), [(y.name, 0, 0, i, 0) for i in range(y.numblocks[2])])
    assert all(is_channels_last(block) for block in computed)
    assert same(y, fastconv.conv2d(x, w, padding=1))


def test_settings_are_those_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk runs on one thread, or on as many as the caller asked for; other settings travel."""
    seen: list[Any] = []

    def watched(*arguments: Any, out: np.ndarray, **_: Any) -> None:
        seen.append(fastconv.options_in_force())
        out[...] = 0

    from fastconv.options import current

    monkeypatch.setattr(fastconv, "options_in_force", current, raising=False)
    x, w = da.zeros((1, 1, 9, 9), chunks=9), np.zeros((1, 1, 3, 3))
    plain = chunked.conv2d(x, w)
    with fastconv.options(threads=3, winograd=False):
        set_by_caller = chunked.conv2d(x, w)
    monkeypatch.setattr("fastconv.dask.tasks.FORWARD", (watched,) * 3)
    dask.compute(plain)
    dask.compute(set_by_caller)
    assert [(s.threads, s.winograd) for s in seen] == [(1, True), (3, False)]


def test_graph_travels() -> None:
    x, w = (
        blocks(integers(RNG, (1, 2, 8, 8), "float32"), 1, 2, 4, 8),
        np.ones((3, 2, 3, 3), "float32"),
    )
    y = chunked.conv2d(x, w, padding=1)
    assert (pickle.loads(pickle.dumps(y)).compute() == y.compute()).all()


X, W = da.zeros((2, 4, 8, 8), chunks=4, dtype="float32"), np.zeros((6, 4, 3, 3), "float32")
DY = da.zeros((2, 6, 6, 6), chunks=(1, 6, 3, 6), dtype="float32")
UNKNOWN = X[X.sum(axis=(1, 2, 3)) > 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: chunked.conv2d(np.zeros((2, 4, 8, 8), "f"), W),
            TypeError,
            "input must be a dask.array.Array, got ndarray",
        ),
        (lambda: chunked.conv2d(X, [W]), TypeError, "weight must be a numpy.ndarray or"),
        (
            lambda: chunked.conv2d(X, W.astype("float64")),
            TypeError,
            "weight must have the dtype of input, float32",
        ),
        (lambda: chunked.conv2d(X > 0, W), TypeError, "input must have a floating-point dtype"),
        (
            lambda: chunked.conv2d(da.ma.masked_equal(X, 1), W),
            TypeError,
            "input must have no mask, got a MaskedArray",
        ),
        (lambda: chunked.conv2d(UNKNOWN, W), ValueError, "input must have chunks of known sizes"),
        (lambda: chunked.conv2d(X, W[:, :3]), ValueError, "input must have 3 channels"),
        (
            lambda: chunked.conv2d(X, W, np.zeros(5, "f")),
            ValueError,
            r"bias must have shape \(6,\)",
        ),
        (lambda: chunked.conv2d(X, W, stride=0), ValueError, "stride must be at least 1"),
        (lambda: chunked.conv2d(X, W, activation="tanh"), ValueError, "activation must be"),
        (lambda: chunked.conv2d(X, W, algorithm="magic"), ValueError, "algorithm must be"),
        (
            lambda: chunked.conv2d(X[:, :, :2], W),
            ValueError,
            "weight must fit into the padded input",
        ),
        (
            lambda: chunked.conv2d(X.rechunk({1: 3}), W[:, :2], groups=2),
            ValueError,
            "input must have its channels in chunks of whole groups",
        ),
        (
            lambda: chunked.conv2d_weight(X, W.shape, DY[:, :, 1:]),
            ValueError,
            "grad_output must have shape",
        ),
        (
            lambda: chunked.conv2d_weight(X, W.shape, np.zeros(DY.shape, "f")),
            TypeError,
            "grad_output must be a dask.array.Array",
        ),
        (
            lambda: chunked.conv2d_weight(X, W.shape, DY, padding="same"),
            TypeError,
            "padding must be integers",
        ),
        (
            lambda: chunked.conv2d_input(X.shape, W[:5], DY),
            ValueError,
            "grad_output must have shape",
        ),
        (
            lambda: chunked.conv2d_input(X.shape, W, DY.astype("float64")),
            TypeError,
            "grad_output must have the dtype of weight",
        ),
        (
            lambda: chunked.conv2d_input(X.shape, W, DY, chunks=((1, 2), 4, 8, 8)),
            ValueError,
            "Chunks do not add up to shape",
        ),
    ],
)
def test_errors_come_before_any_work(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
