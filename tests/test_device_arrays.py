"""Device arrays in the public functions: results, layouts, refusals, calls seen before.

The device is host memory and its kernels are the oracle; see fake_device.py.
"""

from typing import Any

import naive
import numpy as np
import pytest
from arrays import channels_last, integers, is_channels_last
from fake_device import FULL, SETTINGS, Array, Device, Plain, device, operands, plain

import fastconv

__all__ = ["device"]  # a fixture


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_each_pass(device: Device, dtype: str) -> None:
    x, w, b = operands(dtype)
    y = naive.forward(x, w, b, *FULL)
    dx, dw, db = plain(x, w, b)
    result = fastconv.conv2d(dx, dw, db, **SETTINGS)
    np.testing.assert_array_equal(result.values, y)
    assert result.values.dtype == dtype

    dy = integers(np.random.default_rng(1), y.shape, dtype)
    gradient = fastconv.conv2d_weight(dx, w.shape, Plain(dy), **SETTINGS)
    np.testing.assert_array_equal(gradient.values, naive.weight_gradient(x, dy, (3, 2), *FULL))
    gradient = fastconv.conv2d_input(x.shape, dw, Plain(dy), **SETTINGS)
    np.testing.assert_array_equal(gradient.values, naive.input_gradient(w, dy, (6, 5), *FULL))
    assert [run.pass_name for run in device.runs] == [
        "forward",
        "weight_gradient",
        "input_gradient",
    ]
    assert {run.algorithm for run in device.runs} == {"auto"}
    assert device.runs[0].operands.x == (120, 30, 5, 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("given_out", [False, True])
def test_every_function_in_every_rank(device: Device, rank: int, given_out: bool) -> None:
    """Each gives what it gives for NumPy's arrays, in an ``out`` and on a stream, too."""
    rng = np.random.default_rng(rank)
    spatial, taps = (6, 5, 4)[:rank], (3, 2, 2)[:rank]
    x, w, bias, v, c = (
        integers(rng, shape, "float32")
        for shape in ((2, 4, *spatial), (6, 2, *taps), (6,), (4, 3, *taps), (6,))
    )
    how: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
    dy = getattr(fastconv, f"conv{rank}d")(x, w, **how)
    calls: dict[str, tuple[Any, ...]] = {
        f"conv{rank}d": (x, w, bias),
        f"conv_transpose{rank}d": (x, v, c),
        f"conv{rank}d_weight": (x, w.shape, dy),
        f"conv{rank}d_input": (x.shape, w, dy),
    }
    for name, arguments in calls.items():
        function = getattr(fastconv, name)
        expected = function(*arguments, **how)
        there = [Plain(a) if isinstance(a, np.ndarray) else a for a in arguments]
        for _ in range(2):
            more: dict[str, Any] = {"stream": 9} if given_out else {}
            if given_out:
                more["out"] = Plain(np.full(expected.shape, np.nan, "f4"))
            result = function(*there, **how, **more)
            np.testing.assert_array_equal(result.values, expected)
            assert not given_out or result is more["out"]
        assert device.runs[-1].stream == (9 if given_out else 0)
    settings = (None, (2,) * rank, (1,) * rank, (1,) * rank, False, (0,) * rank, 2, (1, 1, 1))
    expected = fastconv.convolution_backward(dy, x, w, *settings)
    results = fastconv.convolution_backward(*plain(dy, x, w), *settings, stream=9)
    for result, host in zip(results, expected, strict=True):
        assert result is not None
        np.testing.assert_array_equal(result.values, host)


def test_one_image_and_transposed(device: Device) -> None:
    x, w, _ = operands()
    w = w.reshape(4, 3, 3, 2)
    bias = np.arange(6, dtype=np.float32)
    for image in (x, x[1]):
        expected = fastconv.conv_transpose2d(image, w, bias, stride=2, groups=2)
        result = fastconv.conv_transpose2d(*plain(image, w, bias), stride=2, groups=2)
        np.testing.assert_array_equal(result.values, expected)


def test_layout_follows_the_source(device: Device) -> None:
    x, w, b = operands()
    last = fastconv.conv2d(*plain(channels_last(x), w, b), **SETTINGS)
    assert is_channels_last(last.values)
    np.testing.assert_array_equal(last.values, naive.forward(x, w, b, *FULL))
    dy = channels_last(np.ones_like(last.values))
    assert is_channels_last(fastconv.conv2d_input(x.shape, *plain(w, dy), **SETTINGS).values)
    weight = fastconv.conv2d_weight(*plain(channels_last(x)), w.shape, Plain(dy), **SETTINGS)
    assert weight.values.flags.c_contiguous
    one = fastconv.conv2d(*plain(channels_last(x)[0], w, b), **SETTINGS)
    assert one.values.strides[0] == 4
    np.testing.assert_array_equal(one.values, last.values[0])


def test_backward(device: Device) -> None:
    x, w, b = operands()
    dy = integers(np.random.default_rng(1), naive.forward(x, w, b, *FULL).shape, "float32")
    rest = (None, (2,), (1,), (1,), False, (0,), 2)
    expected = fastconv.convolution_backward(dy, x, w, *rest, (True, True, True))
    for mask in ((1, 1, 1), (0, 1, 0), (1, 0, 1), (0, 1, 0)):
        results = fastconv.convolution_backward(*plain(dy, x, w), *rest, mask)
        for wanted, result, host in zip(mask, results, expected, strict=True):
            assert (result is not None) == bool(wanted)
            if result is not None:
                np.testing.assert_array_equal(result.values, host)
    assert device.plans == 3


def test_backward_of_a_transposed_convolution(device: Device) -> None:
    x, w, _ = operands()
    w = w.reshape(4, 3, 3, 2)
    dy = integers(np.random.default_rng(1), (2, 6, 13, 10), "float32")
    rest = (None, (2,), (0,), (1,), True, (0,), 2, (True, True, True))
    expected = fastconv.convolution_backward(dy, x, w, *rest)
    results = fastconv.convolution_backward(*plain(dy, x, w), *rest)
    for result, host in zip(results, expected, strict=True):
        assert result is not None
        np.testing.assert_array_equal(result.values, host)


def test_unfold_and_fold(device: Device) -> None:
    x = operands()[0]
    for image in (x, x[1], x[:, ::-1, :, ::2]):
        columns = fastconv.unfold(Plain(image), (2, 1), 1, ((1, 0), (0, 2)), 2)
        expected = fastconv.unfold(image, (2, 1), 1, ((1, 0), (0, 2)), 2)
        np.testing.assert_array_equal(columns.values, expected)
        size = image.shape[-2:]
        for given in (expected, np.asfortranarray(expected)):
            images = fastconv.fold(Plain(given), size, (2, 1), 1, ((1, 0), (0, 2)), 2)
            host = fastconv.fold(given, size, (2, 1), 1, ((1, 0), (0, 2)), 2)
            np.testing.assert_array_equal(images.values, host)


@pytest.mark.parametrize("step", [2, -1, 0])
def test_a_bias_of_any_stride(device: Device, step: int) -> None:
    x, w, _ = operands()
    memory = np.arange(12, dtype=np.float32)
    bias = (
        np.lib.stride_tricks.as_strided(memory[6:], (6,), (4 * step,)) if step <= 0 else memory[::2]
    )
    for _ in range(2):
        result = fastconv.conv2d(*plain(x, w, bias), **SETTINGS)
        np.testing.assert_array_equal(result.values, naive.forward(x, w, bias, *FULL))


def test_empty_batch(device: Device) -> None:
    _, w, _ = operands()
    x, y = np.empty((0, 4, 6, 5), np.float32), np.empty((0, 6, 3, 3), np.float32)
    assert fastconv.conv2d(*plain(x, w), **SETTINGS).values.shape == (0, 6, 3, 3)
    assert fastconv.conv2d_input(x.shape, *plain(w, y), **SETTINGS).values.shape == x.shape
    assert fastconv.unfold(Plain(x), 2).values.shape == (0, 16, 20)
    assert (
        fastconv.fold(Plain(np.empty((0, 16, 20), np.float32)), (6, 5), 2).values.shape == x.shape
    )
    memory = np.full(2000, np.nan, np.float32)
    out = np.lib.stride_tricks.as_strided(memory, w.shape, (16, 8, 192, 960))
    for weight in (
        fastconv.conv2d_weight(Plain(x), w.shape, Plain(y), **SETTINGS).values,
        fastconv.conv2d_weight(Plain(x), w.shape, Plain(y), out=Plain(out), **SETTINGS).values,
    ):
        np.testing.assert_array_equal(weight, np.zeros(w.shape))
    assert np.count_nonzero(~np.isnan(memory)) == w.size
    nothing = fastconv.convolution_backward(
        *plain(y, x, w), None, (2,), (1,), (1,), False, (0,), 2, (False, False, True)
    )
    assert nothing[2] is not None
    np.testing.assert_array_equal(nothing[2].values, np.zeros(6))
    assert not device.runs


def test_out(device: Device) -> None:
    x, w, b = operands()
    expected = naive.forward(x, w, b, *FULL)
    for image, result in ((x, expected), (x[1], expected[1])):
        for _ in range(2):
            out = Plain(np.full(result.shape, np.nan, np.float32))
            assert fastconv.conv2d(*plain(image, w, b), out=out, **SETTINGS) is out
            np.testing.assert_array_equal(out.values, result)
    last = Plain(channels_last(np.full(expected.shape, np.nan, np.float32)))
    fastconv.conv2d(*plain(x, w, b), out=last, **SETTINGS)
    np.testing.assert_array_equal(last.values, expected)


def test_out_may_be_another_part_of_the_inputs_buffer(device: Device) -> None:
    buffer = np.zeros((2, 5, 4), np.float32)
    x, out = buffer[:, :3], buffer[:, 3:]
    x[...] = 1
    fastconv.conv1d(*plain(x, np.ones((2, 3, 1), np.float32)), out=Plain(out))
    np.testing.assert_array_equal(out, np.full((2, 2, 4), 3))


# a call seen before


def test_a_second_call_makes_no_plan(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, b = operands()
    first = fastconv.conv2d(*plain(x, w, b), **SETTINGS)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("geometry was derived again")

    monkeypatch.setattr("fastconv.operations.forward_geometry", never)
    x[...] += 1
    second = fastconv.conv2d(*plain(x, w, b), **SETTINGS)
    np.testing.assert_array_equal(second.values, naive.forward(x, w, b, *FULL))
    assert second.values is not first.values
    with pytest.raises(AssertionError, match="again"):
        fastconv.conv2d(*plain(x, w), **SETTINGS)
    with pytest.raises(AssertionError, match="again"):
        fastconv.conv2d(*plain(x, w, b), **{**SETTINGS, "stride": True})
    fastconv.clear_cache()
    with pytest.raises(AssertionError, match="again"):
        fastconv.conv2d(*plain(x, w, b), **SETTINGS)


def test_more_calls_than_are_remembered(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv.cuda import call

    monkeypatch.setattr(call, "_KEPT", 2)
    x, w, b = operands()
    for stride in (1, 2, 3, 1, 2, 3):
        result = fastconv.conv2d(*plain(x, w, b), **{**SETTINGS, "stride": stride})
        expected = naive.forward(x, w, b, (stride, stride), *FULL[1:])
        np.testing.assert_array_equal(result.values, expected)
        assert len(call._known) <= 2


def test_gradients_of_samples_lie_one_after_the_other(device: Device) -> None:
    x, dy = np.ones((2, 3, 5, 5), np.float32), np.ones((2, 4, 3, 3), np.float32)
    apart = np.zeros((2, 8, 3, 3, 3), np.float32)[:, :4]
    with pytest.raises(ValueError, match="out must have its samples one after the other"):
        fastconv.conv2d_weight(
            *plain(x), (4, 3, 3, 3), *plain(dy), per_sample=True, out=Plain(apart)
        )
    assert not device.runs


def test_out_is_checked_again(device: Device) -> None:
    w = np.ones((3, 3, 1, 1), np.float32)
    x, out = np.ones((1, 3, 4, 4), np.float32), np.ones((1, 3, 4, 4), np.float32)
    fastconv.conv2d(*plain(x, w), out=Plain(out))
    with pytest.raises(ValueError, match="out must not share memory with input"):
        fastconv.conv2d(*plain(x, w), out=Plain(x))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable, got a read-only array"):
        fastconv.conv2d(*plain(x, w), out=Plain(out))


def test_plans_know_whether_vectors_can_be_read(device: Device) -> None:
    w = np.ones((1, 1, 1), np.float32)
    memory = np.zeros(16, np.float32)
    start = -memory.ctypes.data // 4 % 4
    x = memory[start : start + 12].reshape(1, 1, 12)
    for first in (0, 1, 4, 0):
        fastconv.conv1d(*plain(x[..., first : first + 8], w))
    fastconv.conv1d(*plain(x[..., :2], w), out=Plain(x[..., 3:5]))
    assert [run.operands.aligned for run in device.runs] == [True, False, True, True, False]


def test_tf32_is_asked_for_float32_alone(device: Device) -> None:
    x, w, _ = operands()
    fastconv.conv2d(*plain(x, w), **SETTINGS)
    with fastconv.options(tf32=True):
        fastconv.conv2d(*plain(x, w), **SETTINGS)
        fastconv.conv2d(*plain(*operands("float64")[:2]), **SETTINGS)
    fastconv.conv2d(*plain(x, w), **SETTINGS)
    assert [run.operands.tf32 for run in device.runs] == [False, True, False, False]
    with pytest.raises(TypeError, match="tf32 must be True or False, got 'yes'"):
        fastconv.options(tf32="yes")  # type: ignore[arg-type]


# arrays that do not belong together


def test_host_and_device_mixed(device: Device) -> None:
    x, w, b = operands()
    with pytest.raises(
        TypeError, match=r"weight must be in a CUDA .* as input is, got numpy.ndarr"
    ):
        fastconv.conv2d(Plain(x), w, **SETTINGS)
    with pytest.raises(
        TypeError, match=r"input must be in a CUDA .* as weight is, got numpy.ndarr"
    ):
        fastconv.conv2d(x, Plain(w), **SETTINGS)
    with pytest.raises(TypeError, match="bias must be in a CUDA device's memory as input is"):
        fastconv.conv2d(*plain(x, w), b, **SETTINGS)
    with pytest.raises(TypeError, match="out must be in a CUDA device's memory as input is"):
        fastconv.conv2d(*plain(x, w), out=np.empty((2, 6, 3, 3), np.float32), **SETTINGS)
    with pytest.raises(TypeError, match=r"input must be .* as out is, got numpy.ndarray"):
        fastconv.conv2d(x, w, out=Plain(x), **SETTINGS)
    with pytest.raises(TypeError, match=r"weight must be .* as input is, got NoneType"):
        fastconv.conv2d(Plain(x), None, **SETTINGS)


def test_two_devices(device: Device) -> None:
    x, w, _ = plain(*operands())
    device.ordinals[w.values.ctypes.data] = 1
    with pytest.raises(
        ValueError, match="weight must be on the device of input, CUDA device 0, go"
    ):
        fastconv.conv2d(x, w, **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"bias": np.ones(5, "f4")}, ValueError, r"bias must have shape \(6,\), one number per"),
        ({"bias": np.ones(6, "f2")}, TypeError, "bias must have the dtype of input, float32"),
        ({"out": np.ones((2, 6, 3), "f4")}, ValueError, r"out must have shape \(2, 6, 3, 3\)"),
        ({"out": np.ones((2, 6, 3, 3))}, TypeError, "out must have the dtype of input, float32"),
        (
            {"out": np.lib.stride_tricks.as_strided(np.ones(9, "f4"), (2, 6, 3, 3), (0, 0, 12, 4))},
            ValueError,
            "out must have an element of its own for each result",
        ),
        ({"weight": np.ones((6, 3, 3, 2), "f4")}, ValueError, "input must have 6 channels to go"),
    ],
)
def test_misfits(
    device: Device, changes: dict[str, Array], error: type[Exception], message: str
) -> None:
    x, w, _ = operands()
    given = {"input": Plain(x), "weight": Plain(w), **{k: Plain(v) for k, v in changes.items()}}
    with pytest.raises(error, match=message):
        fastconv.conv2d(**given, **SETTINGS)
    assert not device.runs


def test_algorithms(device: Device) -> None:
    x, w, _ = operands()
    fastconv.conv2d(*plain(x, w), algorithm="columns", **SETTINGS)
    assert device.runs[-1].algorithm == "columns"
    dy, rest = np.ones((2, 6, 3, 3), "f4"), (None, (2,), (1,), (1,), False, (0,), 2, (1, 0, 0))
    fastconv.convolution_backward(*plain(dy, x, w), *rest, algorithm="columns")
    assert [run.algorithm for run in device.runs] == ["columns", "columns"]
    with pytest.raises(ValueError, match="one of 'auto', 'direct', 'im2col', 'columns', got 'fft'"):
        fastconv.conv2d(*plain(x, w), algorithm="fft", **SETTINGS)
    with pytest.raises(ValueError, match="activation must be None for device arrays, got 'relu'"):
        fastconv.conv2d(*plain(x, w), activation="relu", **SETTINGS)
    with pytest.raises(ValueError, match=r"one of 'auto', 'direct', 'im2col', .*got 'columns'"):
        fastconv.conv2d(x, w, algorithm="columns", **SETTINGS)


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "conv2d_weight", "conv2d_input"])
def test_algorithms_of_the_cpu_alone(device: Device, name: str) -> None:
    x, w = plain(np.ones((1, 2, 5, 5), "f4"), np.ones((2, 2, 3, 3), "f4"))
    dy = Plain(np.ones((1, 2, 3, 3), "f4"))
    given = {"conv2d_weight": (x, (2, 2, 3, 3), dy), "conv2d_input": ((1, 2, 5, 5), w, dy)}
    message = "algorithm must be one of 'auto', 'direct', 'im2col', 'columns', got 'winograd'"
    with pytest.raises(ValueError, match=message):
        getattr(fastconv, name)(*given.get(name, (x, w)), algorithm="winograd")
    assert not device.runs


def test_settings_of_the_cpu_alone(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(runs: Any) -> str:
        raise AssertionError("device arrays were timed")

    monkeypatch.setattr("fastconv.tuning.fastest", never)
    x, w, b = operands()
    expected = naive.forward(x, w, b, *FULL)
    for settings in ({"autotune": True}, {"winograd": False}, {"threads": 1}):
        with fastconv.options(**settings):
            for _ in range(2):
                result = fastconv.conv2d(*plain(x, w, b), **SETTINGS)
                np.testing.assert_array_equal(result.values, expected)
    assert device.plans == 1
    assert {run.algorithm for run in device.runs} == {"auto"}
