"""Every argument error: its type, and a message with the name, what it got and what it needs."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv

X, W, DY = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3)), np.ones((1, 3, 3, 3))
WT, DYT = np.ones((2, 3, 3, 3)), np.ones((1, 3, 7, 7))
COLUMNS = np.ones((1, 18, 9))


def conv(**changes: Any) -> Any:
    return fastconv.conv2d(**{"input": X, "weight": W, **changes})


def transpose(**changes: Any) -> Any:
    return fastconv.conv_transpose2d(**{"input": X, "weight": WT, **changes})


def weight_grad(**changes: Any) -> Any:
    arguments = {"input": X, "weight_size": (3, 2, 3, 3), "grad_output": DY, **changes}
    return fastconv.conv2d_weight(**arguments)


def input_grad(**changes: Any) -> Any:
    arguments = {"input_size": (1, 2, 5, 5), "weight": W, "grad_output": DY, **changes}
    return fastconv.conv2d_input(**arguments)


def weight_grad1d(**changes: Any) -> Any:
    arguments = {"input": X[:, :, 0], "weight_size": (3, 2, 3), "grad_output": DY[:, :, 0]}
    return fastconv.conv1d_weight(**{**arguments, **changes})


def backward(**changes: Any) -> Any:
    arguments = {
        "grad_output": DY,
        "input": X,
        "weight": W,
        "bias_sizes": None,
        "stride": (1, 1),
        "padding": (0, 0),
        "dilation": (1, 1),
        "transposed": False,
        "output_padding": (0, 0),
        "groups": 1,
        "output_mask": (True, True, True),
    }
    return fastconv.convolution_backward(**{**arguments, **changes})


def unfold(**changes: Any) -> Any:
    return fastconv.unfold(**{"input": X, "kernel_size": 3, **changes})


def fold(**changes: Any) -> Any:
    return fastconv.fold(**{"input": COLUMNS, "output_size": 5, "kernel_size": 3, **changes})


def conv1d(**changes: Any) -> Any:
    return fastconv.conv1d(**{"input": X[0, :, 0], "weight": W[:, :, 0], **changes})


def overlapping() -> Any:
    buffer = np.ones((1, 3, 5, 5))
    return fastconv.conv2d(buffer, np.ones((3, 3, 1, 1)), out=buffer)


def unaligned() -> np.ndarray[Any, Any]:
    return np.zeros(DY.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(DY.shape)


def read_only() -> np.ndarray[Any, Any]:
    out = np.empty(DY.shape)
    out.flags.writeable = False
    return out


REFUSED: list[tuple[Callable[..., Any], dict[str, Any], type[Exception], str]] = [
    # arrays
    (
        conv,
        {"input": [[1.0]]},
        TypeError,
        "input must be a numpy.ndarray or an array of another library, got list: convert it",
    ),
    (conv, {"weight": None}, TypeError, "weight must be a numpy.ndarray or .*, got NoneType"),
    (conv, {"bias": [1.0, 2.0, 3.0]}, TypeError, "bias must be a numpy.ndarray or .*, got list"),
    (
        conv,
        {"input": np.ma.ones((1, 2, 5, 5))},
        TypeError,
        "input must have no mask, got a MaskedArray: fill",
    ),
    (
        conv,
        {"input": X.astype(bool)},
        TypeError,
        "input must have a floating-point dtype of 16, 32 or 64 bits, bfloat16, an integer or a "
        r"complex one, got bool: convert it, for example with input.astype\(numpy.float32\)",
    ),
    (conv, {"weight": W.astype(np.float16)}, TypeError, "weight must have the dtype of input"),
    (conv, {"input": X.astype(np.int64)}, TypeError, "weight must have the dtype of input, int64"),
    (conv, {"input": X.astype(object)}, TypeError, "input must have .*, got object"),
    (
        conv,
        {"input": X.astype(X.dtype.newbyteorder())},
        TypeError,
        r"input must be in native byte order, got dtype '[<>]f8': .*input.astype\(numpy.float64\)",
    ),
    (
        conv,
        {"weight": W.astype(np.float32)},
        TypeError,
        "weight must have the dtype of input, float64, got float32: .*weight.astype",
    ),
    (conv, {"bias": np.ones(3, np.float32)}, TypeError, "bias must have the dtype of input"),
    (weight_grad, {"grad_output": DY.astype("f4")}, TypeError, "grad_output .* dtype of input"),
    (input_grad, {"grad_output": DY.astype("f4")}, TypeError, "grad_output .* dtype of weight"),
    (backward, {"weight": W.astype("f4")}, TypeError, "weight must have the dtype of input"),
    (backward, {"grad_output": DY.astype("f4")}, TypeError, "grad_output .* dtype of input"),
    (unfold, {"input": [1.0]}, TypeError, "input must be a numpy.ndarray or .*, got list"),
    (fold, {"input": COLUMNS.astype(bool)}, TypeError, "input must have .* got bool: convert"),
    # shapes of the operands
    (
        conv,
        {"input": X[0, 0]},
        ValueError,
        r"input must be 4-D \(N, C, H, W\) or 3-D \(C, H, W\), got shape \(5, 5\)",
    ),
    (conv, {"input": X[None]}, ValueError, r"got shape \(1, 1, 2, 5, 5\)"),
    (conv1d, {"input": X}, ValueError, r"input must be 3-D \(N, C, W\) or 2-D \(C, W\)"),
    (conv, {"weight": W[0]}, ValueError, r"weight must be 4-D .*, got shape \(2, 3, 3\)"),
    (conv, {"weight": W[None]}, ValueError, r"weight must be 4-D .*, got shape \(1, 3, 2, 3, 3\)"),
    (
        conv,
        {"weight": np.ones((3, 4, 3, 3))},
        ValueError,
        r"input must have 4 channels to go with weight of shape \(3, 4, 3, 3\) and groups=1, "
        r"got shape \(1, 2, 5, 5\)",
    ),
    (conv, {"input": X[:, :0], "weight": W[:, :0]}, ValueError, "input must have no empty axis"),
    (conv, {"input": X[:, :, :0], "padding": 3}, ValueError, "input must have no empty axis but N"),
    (conv, {"weight": W[:0]}, ValueError, r"weight must have no empty axis, got shape \(0, 2"),
    (conv, {"weight": W[:, :, :0]}, ValueError, r"weight must have no empty axis, got shape \(3"),
    (
        conv,
        {"weight": np.ones((3, 2, 6, 3))},
        ValueError,
        r"weight must fit into the padded input: the kernel spans \(6, 3\) and the padded "
        r"sizes are \(5, 5\)",
    ),
    (
        conv,
        {"weight": np.ones((3, 2, 9, 3)), "padding": ((1, 2), (0, 1))},
        ValueError,
        r"the kernel spans \(9, 3\) and the padded sizes are \(8, 6\)",
    ),
    (conv1d, {"weight": W[0, :, 0]}, ValueError, "weight must be 3-D for 1 spatial axes, got"),
    (conv, {"dilation": 3}, ValueError, r"the kernel spans \(7, 7\)"),
    (
        conv,
        {"bias": np.ones(2)},
        ValueError,
        r"bias must have shape \(3,\), one number per output channel, got \(2,\)",
    ),
    (conv, {"bias": np.ones((3, 1))}, ValueError, r"bias must have shape \(3,\)"),
    (transpose, {"bias": np.ones(2)}, ValueError, r"bias must have shape \(3,\)"),
    (transpose, {"input": X[0, 0]}, ValueError, "input must be 4-D"),
    (transpose, {"weight": np.ones((4, 3, 3, 3))}, ValueError, "input must have 4 channels"),
    (transpose, {"weight": WT[:0]}, ValueError, "weight must have no empty axis"),
    (transpose, {"input": X[:, :, :0]}, ValueError, "input must have no empty axis but N"),
    # groups
    (conv, {"groups": 0}, ValueError, "groups must be at least 1, got 0"),
    (conv, {"groups": 1.0}, TypeError, r"groups must be an integer, got 1.0 \(float\)"),
    (conv, {"groups": True}, TypeError, r"groups must be an integer, got True \(bool\)"),
    (conv, {"groups": (1,)}, TypeError, r"groups must be an integer, got \(1,\) \(tuple\)"),
    (
        conv,
        {"groups": 2, "weight": W[:, :1]},
        ValueError,
        r"weight must have a first axis divisible by groups=2, got shape \(3, 1, 3, 3\)",
    ),
    (conv, {"groups": 3}, ValueError, "input must have 6 channels .* groups=3"),
    (transpose, {"groups": 3}, ValueError, "weight must have a first axis divisible by groups=3"),
    # stride and dilation
    (conv, {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
    (conv, {"stride": (1, -1)}, ValueError, "stride must be at least 1, got -1"),
    (conv, {"stride": 2**63}, ValueError, r"stride must be below 2\*\*63, got 9223372036854775808"),
    (
        conv,
        {"stride": 1.5},
        TypeError,
        r"stride must be an integer or a tuple of 2 integers, got 1.5 \(float\)",
    ),
    (conv, {"stride": True}, TypeError, r"stride must be .*, got True \(bool\)"),
    (conv, {"stride": (1, False)}, TypeError, r"stride must be .*, got False \(bool\)"),
    (conv, {"stride": "1"}, TypeError, r"stride must be .*, got '1' \(str\)"),
    (conv, {"stride": None}, TypeError, r"stride must be .*, got None \(NoneType\)"),
    (conv, {"stride": np.array([1, 1])}, TypeError, r"stride must be .* \(ndarray\)"),
    (conv, {"stride": ()}, ValueError, r"stride must be an integer or a tuple of 2 integers, got"),
    (conv, {"stride": (1, 1, 1)}, ValueError, r"tuple of 2 integers, got \(1, 1, 1\)"),
    (conv1d, {"stride": (1, 1)}, ValueError, r"tuple of 1 integer, got \(1, 1\)"),
    (conv, {"dilation": 0}, ValueError, "dilation must be at least 1, got 0"),
    (conv, {"dilation": (1, 2.0)}, TypeError, r"dilation must be .*, got 2.0 \(float\)"),
    (transpose, {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
    (transpose, {"dilation": 0}, ValueError, "dilation must be at least 1, got 0"),
    # padding
    (conv, {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    (conv, {"padding": 1.0}, TypeError, r"padding must be .*, got 1.0 \(float\)"),
    (conv, {"padding": True}, TypeError, r"padding must be .*, got True \(bool\)"),
    (conv, {"padding": (1, 1, 1)}, ValueError, r"tuple of 2 integers, got \(1, 1, 1\)"),
    (conv, {"padding": "SAME"}, ValueError, "padding must be one of 'valid', 'same', got 'SAME'"),
    (
        conv,
        {"padding": "same", "stride": (1, 2)},
        ValueError,
        r"stride must be 1 for padding='same', got \(1, 2\)",
    ),
    (
        conv,
        {"padding": ((1, 1),)},
        ValueError,
        r"padding must be 2 pairs \(before, after\) of integers, got \(\(1, 1\),\)",
    ),
    (conv, {"padding": ((1, 1), (1,))}, ValueError, r"padding must be 2 pairs"),
    (conv, {"padding": ((1, 1), 1)}, TypeError, r"padding must be 2 pairs"),
    (conv, {"padding": ((1, 1), (1, 1.0))}, TypeError, r"padding must be 2 pairs .*, got 1.0"),
    (conv, {"padding": ((1, 1), (1, -1))}, ValueError, "padding must be at least 0, got -1"),
    (conv1d, {"padding": (1, 2)}, ValueError, r"tuple of 1 integer, got \(1, 2\)"),
    (
        transpose,
        {"padding": "same"},
        TypeError,
        r"padding must be integers or \(before, after\) pairs, got 'same': only conv1d",
    ),
    (
        conv,
        {"padding_mode": "reflect", "padding": 5},
        ValueError,
        r"padding must be at most 4 .* got \(5, 5\) for input of spatial sizes \(5, 5\)",
    ),
    (
        transpose,
        {"padding_mode": "reflect"},
        ValueError,
        "padding_mode must be 'zeros' for a transposed convolution, got 'reflect'",
    ),
    (transpose, {"padding": 4}, ValueError, r"padding must leave an output .*, got \(-1, -1\)"),
    (
        transpose,
        {"padding": ((3, 4), (0, 0))},
        ValueError,
        r"padding must leave an output of at least 1 per axis, got \(0, 7\)",
    ),
    (weight_grad, {"padding": "valid"}, TypeError, "padding must be integers"),
    (input_grad, {"padding": "same"}, TypeError, "padding must be integers"),
    # output_padding
    (
        transpose,
        {"output_padding": 1},
        ValueError,
        r"output_padding must be smaller than stride or dilation, that is less than \(1, 1\) "
        r"per axis, got \(1, 1\)",
    ),
    (transpose, {"output_padding": 3}, ValueError, "output_padding must be smaller than stride"),
    (transpose, {"output_padding": -1}, ValueError, "output_padding must be at least 0, got -1"),
    (transpose, {"output_padding": 0.0}, TypeError, r"output_padding must be .*, got 0.0"),
    (
        backward,
        {"output_padding": (1, 0)},
        ValueError,
        r"output_padding must be 0 unless transposed is true, got \(1, 0\)",
    ),
    (
        backward,
        {"output_padding": (0, 0, 0)},
        ValueError,
        "output_padding must be .* of 2 integers",
    ),
    # sizes and gradients
    (weight_grad, {"weight_size": 3}, TypeError, r"weight_size must be a tuple of integers, got 3"),
    (weight_grad, {"weight_size": (3, 2, 3)}, ValueError, r"weight_size must be 4-D"),
    (weight_grad, {"weight_size": (3, 2, 3, 3.0)}, TypeError, "weight_size must be a tuple of int"),
    (weight_grad, {"weight_size": (3, 2, -3, 3)}, ValueError, "weight_size must be at least 0"),
    (weight_grad, {"weight_size": (3, 4, 3, 3)}, ValueError, "channels to go with weight_size"),
    (
        weight_grad,
        {"weight_size": (3, 2, 9, 3)},
        ValueError,
        "weight_size must fit into the padded",
    ),
    (
        weight_grad,
        {"grad_output": DY[..., :2]},
        ValueError,
        r"grad_output must have shape \(1, 3, 3, 3\), the output's, got \(1, 3, 3, 2\)",
    ),
    (weight_grad, {"grad_output": DY[:, :2]}, ValueError, "grad_output must have shape"),
    (
        weight_grad,
        {"grad_output": np.ones((2, 3, 3, 3))},
        ValueError,
        "grad_output must have shape",
    ),
    (weight_grad, {"grad_output": DY[0]}, ValueError, "grad_output must have shape"),
    (
        weight_grad,
        {"input": X[0], "grad_output": DY[0]},
        ValueError,
        r"input must be 4-D \(N, C, H, W\) with its batch axis, got shape \(2, 5, 5\)",
    ),
    (
        weight_grad1d,
        {"input": X[0, :, 0]},
        ValueError,
        r"input must be 3-D \(N, C, W\) with its batch axis, got shape \(2, 5\)",
    ),
    (weight_grad, {"input": X[None]}, ValueError, "input must be 4-D .* with its batch axis"),
    (
        input_grad,
        {"input_size": (5, 5)},
        ValueError,
        r"input_size must be 4-D .* got shape \(5, 5\)",
    ),
    (input_grad, {"input_size": (1, 3, 5, 5)}, ValueError, "input_size must have 2 channels"),
    (input_grad, {"input_size": (1, 2, 7, 7)}, ValueError, r"grad_output .* \(1, 3, 5, 5\)"),
    (input_grad, {"input_size": "1255"}, TypeError, "input_size must be a tuple of integers"),
    (input_grad, {"weight": W[0]}, ValueError, "weight must be 4-D"),
    # convolution_backward
    (backward, {"stride": 1}, TypeError, r"stride must be a tuple of integers, got 1 \(int\)"),
    (backward, {"padding": "valid"}, TypeError, "padding must be a tuple of integers, got 'valid'"),
    (backward, {"dilation": 1}, TypeError, "dilation must be a tuple of integers, got 1"),
    (backward, {"output_padding": 0}, TypeError, "output_padding must be a tuple of integers"),
    (backward, {"bias_sizes": 3}, TypeError, "bias_sizes must be a tuple of integers, got 3"),
    (
        backward,
        {"bias_sizes": (3.0,)},
        TypeError,
        "bias_sizes must be a tuple of integers, got 3.0",
    ),
    (
        backward,
        {"output_mask": True},
        TypeError,
        "output_mask must be a tuple of 3 bools, got True",
    ),
    (backward, {"output_mask": (1, 0)}, ValueError, r"output_mask must be a tuple of 3 bools, got"),
    (
        backward,
        {"output_mask": (1, 0, "x")},
        TypeError,
        "output_mask must be True or False, got 'x'",
    ),
    (backward, {"transposed": None}, TypeError, "transposed must be True or False, got None"),
    (
        backward,
        {"weight": W[0, 0]},
        ValueError,
        r"weight must be 3-D, 4-D or 5-D, got shape \(3, 3",
    ),
    (backward, {"weight": np.ones((1,) * 6)}, ValueError, "weight must be 3-D, 4-D or 5-D"),
    (backward, {"input": X[0]}, ValueError, "input must be 4-D .* with its batch axis"),
    (backward, {"transposed": True, "input": X[0]}, ValueError, "with its batch axis"),
    (
        backward,
        {"transposed": True, "weight": WT},
        ValueError,
        r"grad_output must have shape \(1, 3, 7, 7\), the output's, got \(1, 3, 3, 3\)",
    ),
    # unfold and fold
    (unfold, {"input": X[0, 0]}, ValueError, r"input must be 4-D \(N, C, H, W\) or 3-D"),
    (unfold, {"input": X[:, :0]}, ValueError, "input must have no empty axis but N"),
    (unfold, {"kernel_size": 6}, ValueError, "kernel_size must fit into the padded input"),
    (unfold, {"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
    (
        unfold,
        {"kernel_size": (3,)},
        ValueError,
        r"kernel_size must be .* of 2 integers, got \(3,\)",
    ),
    (unfold, {"kernel_size": 3.0}, TypeError, "kernel_size must be .*, got 3.0"),
    (unfold, {"stride": (1,)}, ValueError, r"stride must be .* 2 integers, got \(1,\)"),
    (unfold, {"dilation": (1,)}, ValueError, r"dilation must be .* 2 integers, got \(1,\)"),
    (unfold, {"dilation": 0}, ValueError, "dilation must be at least 1, got 0"),
    (unfold, {"padding": (1,)}, ValueError, r"padding must be .* 2 integers, got \(1,\)"),
    (unfold, {"padding": "same"}, TypeError, "padding must be integers"),
    (fold, {"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
    (fold, {"output_size": 0}, ValueError, "output_size must be at least 1, got 0"),
    (fold, {"output_size": (5,)}, ValueError, r"output_size must be .* 2 integers, got \(5,\)"),
    (fold, {"output_size": 2}, ValueError, "kernel_size must fit into the padded output_size"),
    (
        fold,
        {"input": COLUMNS[:, :17]},
        ValueError,
        r"input must have a multiple of 9 rows for kernel_size=3, got shape \(1, 17, 9\)",
    ),
    (
        fold,
        {"input": COLUMNS[..., :8]},
        ValueError,
        r"input must have 9 columns, one for each of the \(3, 3\) kernel positions, got shape",
    ),
    (
        fold,
        {"input": np.ones((1, 18, 10))},
        ValueError,
        r"input must have 9 columns, .* got shape \(1, 18, 10\)",
    ),
    (fold, {"input": COLUMNS[0, 0]}, ValueError, r"input must be \(C \* R \* S, L\) or"),
    (
        fold,
        {"input": COLUMNS[:, :0]},
        ValueError,
        r"input must be .*, L\) with no empty axis but N",
    ),
    (fold, {"input": COLUMNS[..., :0]}, ValueError, r"input must be .*, L\) with no empty axis"),
    (fold, {"input": COLUMNS[:, :17], "kernel_size": (3,)}, ValueError, "kernel_size must be .* 2"),
    # out and algorithm
    (conv, {"out": [1.0]}, TypeError, "out must be a numpy.ndarray or .*, got list"),
    (conv, {"out": DY.astype("f4")}, TypeError, "out must have the dtype of input, float64, got"),
    (
        conv,
        {"out": np.empty((3, 3, 3))},
        ValueError,
        r"out must have shape \(1, 3, 3, 3\), got \(3",
    ),
    (conv, {"out": read_only()}, ValueError, "out must be writeable, got a read-only array"),
    (conv, {"out": unaligned()}, ValueError, "out must be aligned in memory, got an unaligned"),
    (overlapping, {}, ValueError, "out must not share memory with input, got arrays that overlap"),
    (transpose, {"out": DY}, ValueError, r"out must have shape \(1, 3, 7, 7\)"),
    (weight_grad, {"out": DY}, ValueError, r"out must have shape \(3, 2, 3, 3\)"),
    (input_grad, {"out": DY}, ValueError, r"out must have shape \(1, 2, 5, 5\)"),
    (
        conv,
        {"algorithm": "sorcery"},
        ValueError,
        "algorithm must be one of 'auto', 'direct', 'im2col', .*'listed', .*got 'sorcery'",
    ),
    (conv, {"algorithm": None}, TypeError, r"algorithm must be one of .*, got None \(NoneType\)"),
    (transpose, {"algorithm": "sorcery"}, ValueError, "algorithm must be one of"),
    (weight_grad, {"algorithm": "sorcery"}, ValueError, "algorithm must be one of"),
    (input_grad, {"algorithm": "sorcery"}, ValueError, "algorithm must be one of"),
    (backward, {"algorithm": "sorcery"}, ValueError, "algorithm must be one of"),
    # options
    (fastconv.options, {"threads": 0}, ValueError, "threads must be at least 1, got 0"),
    (fastconv.options, {"threads": 1.0}, TypeError, r"threads must be an integer, got 1.0"),
    (fastconv.options, {"threads": True}, TypeError, r"threads must be an integer, got True"),
    (
        conv,
        {"input": X + 0j, "weight": W + 0j, "activation": "relu"},
        TypeError,
        "activation must be None for complex128 arrays",
    ),
    (fastconv.options, {"bfloat16_bits": "no"}, TypeError, "bfloat16_bits must be True or False"),
    (fastconv.options, {"winograd": "no"}, TypeError, "winograd must be True or False, got 'no'"),
]


def name(row: tuple[Any, ...]) -> str:
    call, changes, _, message = row
    return f"{call.__name__}-{'-'.join(changes)}-{re.sub(r'[^a-z0-9]+', '_', message)[:50]}"


@pytest.mark.parametrize(
    ("call", "changes", "error", "message"), REFUSED, ids=[name(row) for row in REFUSED]
)
def test_refused(
    call: Callable[..., Any], changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(**changes)
    assert caught.type is error


@pytest.mark.parametrize(
    "call",
    [conv, transpose, weight_grad, weight_grad1d, input_grad, backward, unfold, fold, conv1d],
)
def test_the_calls_are_accepted_as_they_stand(call: Callable[..., Any]) -> None:
    call()


def test_arguments_that_other_operands_own() -> None:
    weight = np.ones((3, 3, 1, 1))
    with pytest.raises(ValueError, match="out must not share memory with weight"):
        fastconv.conv2d(np.ones((1, 3, 3, 1)), weight, out=weight.reshape(1, 3, 3, 1))
    bias = np.ones(3)
    with pytest.raises(ValueError, match="out must not share memory with bias"):
        fastconv.conv2d(np.ones((1, 3, 1, 1)), weight, bias, out=bias.reshape(1, 3, 1, 1))
    signal = np.ones((1, 2, 3))
    with pytest.raises(ValueError, match="out must not share memory with grad_output"):
        fastconv.conv1d_input(signal.shape, np.ones((2, 2, 1)), signal, out=signal)
