"""Functions of users that call fastconv in nopython code, shared by tests: each compiles once."""

from collections.abc import Callable
from typing import Any

from numba import njit, prange

import fastconv
from fastconv import (
    conv1d,
    conv1d_input,
    conv1d_weight,
    conv2d,
    conv2d_input,
    conv2d_weight,
    conv3d,
    conv3d_input,
    conv3d_weight,
    conv_transpose2d,
)


@njit
def forward1(x, w, bias, stride, pads, dilation, groups):
    return conv1d(x, w, bias, stride, pads, dilation, groups)


@njit
def forward2(x, w, bias, stride, pads, dilation, groups):
    return fastconv.conv2d(x, w, bias, stride, pads, dilation, groups)


@njit
def forward3(x, w, bias, stride, pads, dilation, groups):
    return conv3d(x, w, bias, stride, pads, dilation, groups)


@njit
def weight1(x, size, dy, stride, pads, dilation, groups):
    return conv1d_weight(x, size, dy, stride, pads, dilation, groups)


@njit
def weight2(x, size, dy, stride, pads, dilation, groups):
    return conv2d_weight(x, size, dy, stride, pads, dilation, groups)


@njit
def weight3(x, size, dy, stride, pads, dilation, groups):
    return conv3d_weight(x, size, dy, stride, pads, dilation, groups)


@njit
def input1(size, w, dy, stride, pads, dilation, groups):
    return conv1d_input(size, w, dy, stride, pads, dilation, groups)


@njit
def input2(size, w, dy, stride, pads, dilation, groups):
    return conv2d_input(size, w, dy, stride, pads, dilation, groups)


@njit
def input3(size, w, dy, stride, pads, dilation, groups):
    return conv3d_input(size, w, dy, stride, pads, dilation, groups)


@njit
def transposed2(x, w, bias, stride, padding, output_padding, groups, dilation):
    return conv_transpose2d(x, w, bias, stride, padding, output_padding, groups, dilation)


ALONE: dict[str, tuple[Callable[..., Any], ...]] = {
    "forward": (forward1, forward2, forward3),
    "weight_gradient": (weight1, weight2, weight3),
    "input_gradient": (input1, input2, input3),
}


@njit(parallel=True)
def each_forward(x, w, stride, pads, dilation, groups, y):
    for i in prange(x.shape[0]):
        conv2d(x[i : i + 1], w, None, stride, pads, dilation, groups, out=y[i : i + 1])


@njit(parallel=True)
def each_weight(x, dy, stride, pads, dilation, groups, dw):
    for i in prange(x.shape[0]):
        result, size = dw[i], (dw.shape[1], dw.shape[2], dw.shape[3], dw.shape[4])
        conv2d_weight(x[i : i + 1], size, dy[i : i + 1], stride, pads, dilation, groups, out=result)


@njit(parallel=True)
def each_input(w, dy, stride, pads, dilation, groups, dx):
    for i in prange(dy.shape[0]):
        result = dx[i : i + 1]
        conv2d_input(result.shape, w, dy[i : i + 1], stride, pads, dilation, groups, out=result)


@njit
def into_forward2(x, w, stride, pads, dilation, groups, out):
    return conv2d(x, w, None, stride, pads, dilation, groups, out=out)


@njit
def into_weight2(x, dy, size, stride, pads, dilation, groups, out):
    return conv2d_weight(x, size, dy, stride, pads, dilation, groups, out=out)


@njit
def into_input2(w, dy, size, stride, pads, dilation, groups, out):
    return conv2d_input(size, w, dy, stride, pads, dilation, groups, out=out)


INTO: dict[str, Any] = {
    "forward": into_forward2,
    "weight_gradient": into_weight2,
    "input_gradient": into_input2,
}
