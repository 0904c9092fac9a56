"""Size arithmetic against counting, and the geometries that the constructors derive from it."""

import dataclasses
import itertools
from math import prod

import numpy as np
import pytest
from numba import njit

from fastconv import geometry
from fastconv.geometry import (
    ConvGeometry,
    fold_geometry,
    forward_geometry,
    gradient_geometry,
    transposed_geometry,
    transposed_gradient_geometry,
    unfold_geometry,
)
from fastconv.lowering import clipped, lower_forward

# size, kernel, dilation, padding before and after
AXES = list(itertools.product((1, 2, 5, 8), (1, 2, 3), (1, 2, 4), (0, 1, 3), (0, 2)))
SIZE_FUNCTIONS = {
    "output_size": (9, 3, 2, 2, 1, 4),
    "transposed_size": (9, 3, 2, 2, 1, 4, 1),
    "same_padding": (4, 3),
}


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_output_size_counts_the_positions(stride: int) -> None:
    for size, kernel, dilation, before, after in AXES:
        starts = range(-before, size + after - dilation * (kernel - 1), stride)
        derived = geometry.output_size(size, kernel, stride, dilation, before, after)
        assert max(derived, 0) == len(starts)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_size_is_undone_by_output_size(stride: int) -> None:
    for (size, kernel, dilation, before, after), extra in itertools.product(AXES, range(stride)):
        image = geometry.transposed_size(size, kernel, stride, dilation, before, after, extra)
        assert geometry.output_size(image, kernel, stride, dilation, before, after) == size


@pytest.mark.parametrize("kernel", range(1, 7))
@pytest.mark.parametrize("dilation", range(1, 4))
def test_same_padding_keeps_the_size_and_puts_the_odd_zero_after(
    kernel: int, dilation: int
) -> None:
    before, after = geometry.same_padding(kernel, dilation)
    assert geometry.output_size(8, kernel, 1, dilation, before, after) == 8
    assert after - before == dilation * (kernel - 1) % 2


@pytest.mark.parametrize("name", SIZE_FUNCTIONS)
def test_size_functions_compile(name: str) -> None:
    function, arguments = getattr(geometry, name), SIZE_FUNCTIONS[name]
    assert njit(function)(*arguments) == function(*arguments)


def test_forward_geometry_holds_every_size() -> None:
    g = forward_geometry((2, 6, 9, 7), (4, 3, 3, 2), (2, 1), (1, 0), (1, 3), 2, 2)
    assert g == ConvGeometry(
        N=2,
        C=6,
        K=4,
        groups=2,
        input=(9, 7),
        kernel=(3, 2),
        stride=(2, 1),
        dilation=(1, 3),
        pad_before=(1, 0),
        pad_after=(1, 0),
        output=(5, 4),
    )
    assert g.rank == 2
    assert g.input_shape == (2, 6, 9, 7)
    assert g.weight_shape == (4, 3, 3, 2)
    assert g.output_shape == (2, 4, 5, 4)
    assert g.flops == 2 * (2 * 4 * 5 * 4) * (3 * 3 * 2)


def test_padded_is_the_convolution_of_the_padded_image() -> None:
    window = (2, 1), ((1, 0), (2, 3)), (1, 3), 2, 2
    g = forward_geometry((2, 6, 9, 7), (4, 3, 3, 2), *window, padding_mode="reflect")
    assert g.padded == forward_geometry((2, 6, 10, 12), (4, 3, 3, 2), (2, 1), 0, (1, 3), 2, 2)
    assert g.padded.output == g.output


def test_geometry_is_a_key() -> None:
    def make(stride: object) -> ConvGeometry:
        return forward_geometry((1, 1, 5), (1, 1, 3), stride, 0, 1, 1, 1)

    assert make(1) == make((1,)) == make(np.int64(1))
    assert {make(1): "plan"}[make([1])] == "plan"
    assert make(1) != make(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(1).N = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("padding", "before", "after"),
    [
        (0, (0, 0), (0, 0)),
        (2, (2, 2), (2, 2)),
        (np.int32(2), (2, 2), (2, 2)),
        ((1,), (1, 1), (1, 1)),
        ((1, 2), (1, 2), (1, 2)),
        ([1, np.int8(2)], (1, 2), (1, 2)),
        (((0, 1), (2, 3)), (0, 2), (1, 3)),
        ([[0, 1], [2, 3]], (0, 2), (1, 3)),
        ("valid", (0, 0), (0, 0)),
        ("same", (1, 1), (1, 2)),
    ],
)
def test_forms_of_padding(padding: object, before: tuple[int, int], after: tuple[int, int]) -> None:
    g = forward_geometry((1, 1, 9, 9), (1, 1, 3, 4), 1, padding, 1, 1, 2)
    assert (g.pad_before, g.pad_after) == (before, after)


def test_names_made_at_run_time() -> None:
    valid, zeros = "".join(("val", "id")), "".join(("zer", "os"))
    for mode in ("zeros", zeros):
        assert forward_geometry((1, 1, 9), (1, 1, 4), 2, valid, 1, 1, 1, padding_mode=mode).N == 1
        assert transposed_geometry((1, 1, 9), (1, 1, 4), 1, 0, 0, 1, 1, 1, mode).input == (12,)


def test_input_without_a_batch_axis_is_one_image() -> None:
    batched = forward_geometry((1, 2, 5, 5), (3, 2, 3, 3), 1, 0, 1, 1, 2)
    assert forward_geometry((2, 5, 5), (3, 2, 3, 3), 1, 0, 1, 1, 2) == batched


def test_an_empty_batch_may_have_empty_images() -> None:
    g = forward_geometry((0, 2, 0, 5), (3, 2, 3, 3), 1, 2, 1, 1, 2)
    assert g.output_shape == (0, 3, 2, 7)
    assert g.flops == 0
    assert transposed_geometry((0, 2, 0), (2, 3, 3), 1, 0, 0, 1, 1, 1).input_shape == (0, 3, 2)
    assert transposed_geometry((0, 2, 1), (2, 3, 2), 1, 1, 0, 1, 1, 1).input_shape == (0, 3, 0)
    assert transposed_geometry((0, 2, 4), (2, 3, 2), 1, 0, 5, 1, 1, 1).input_shape == (0, 3, 10)
    assert fold_geometry((0, 9, 324), 20, 3, 1, 0, 1).input_shape == (0, 1, 20, 20)


def test_transposed_geometry_is_the_matching_convolution() -> None:
    matching = forward_geometry((2, 6, 12, 9), (4, 3, 3, 3), (2, 1), ((1, 0), (2, 1)), 1, 2, 2)
    g = transposed_geometry(
        matching.output_shape, (4, 3, 3, 3), (2, 1), ((1, 0), (2, 1)), (0, 0), 2, 1, 2
    )
    assert g == matching


def test_transposed_images_of_one_pixel() -> None:
    assert transposed_geometry((2, 2, 1), (2, 3, 3), 1, 1, 0, 1, 1, 1).input_shape == (2, 3, 1)


def test_output_padding_up_to_the_dilation() -> None:
    g = transposed_geometry((1, 2, 5), (2, 3, 3), 2, 0, 2, 1, 3, 1)
    assert g.input_shape == (1, 3, 17)
    assert g.output == (5,)
    assert geometry.output_size(17, 3, 2, 3, 0, 0) == 6


def test_gradient_geometries_are_those_of_the_convolution() -> None:
    g = forward_geometry((2, 6, 9), (4, 3, 3), 2, 1, 1, 2, 1)
    assert gradient_geometry(g.input_shape, g.weight_shape, g.output_shape, 2, 1, 1, 2, 1) == g
    t = transposed_geometry((2, 4, 5), (4, 3, 3), 2, 1, 1, 2, 1, 1)
    assert transposed_gradient_geometry((2, 4, 5), (4, 3, 3), (2, 6, 10), 2, 1, 1, 2, 1, 1) == t


def test_unfold_and_fold_share_a_depthwise_geometry() -> None:
    g = unfold_geometry((2, 3, 8, 6), (3, 2), 1, (1, 0), (2, 1))
    assert (g.C, g.groups, g.K) == (3, 3, 3 * 3 * 2)
    assert g.output_shape == (2, 18, 4, 5)
    columns = (2, 18, prod(g.output))
    assert fold_geometry(columns, (8, 6), (3, 2), 1, (1, 0), (2, 1)) == g
    assert fold_geometry(columns[1:], (8, 6), (3, 2), 1, (1, 0), (2, 1)).N == 1


def test_every_setting_of_unfold_is_told_by_axis() -> None:
    window = (1, 3), (2, 4), ((0, 1), (2, 3)), (3, 1)
    g = unfold_geometry((1, 8, 7), *window)
    assert (g.kernel, g.dilation, g.stride) == ((1, 3), (2, 4), (3, 1))
    assert (g.pad_before, g.pad_after, g.output) == ((0, 2), (1, 3), (3, 4))
    assert fold_geometry((3, 12), (8, 7), *window) == g


@pytest.mark.parametrize(
    ("input_shape", "weight_shape", "padding", "named"),
    [
        ((2**20, 2**20, 2**21), (1, 2**20, 1), 0, "input"),
        ((0, 2**20, 2**41), (1, 2**20, 1), 0, "input"),
        ((1, 2**31, 1), (2**30, 2**31, 1), 0, "weight"),
        ((1, 1, 2**21), (2**40, 1, 1), 0, "output"),
        ((1, 2**40, 3), (1, 2**40, 1), 2**20, "padded input"),
        ((1, 1, 3), (1, 1, 1), 2**62, "padded input"),
    ],
)
def test_sizes_past_64_bits(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], padding: int, named: str
) -> None:
    stride = 2**30 if padding else 1
    with pytest.raises(ValueError, match=rf"^{named} must take less than 2\*\*63 bytes"):
        forward_geometry(input_shape, weight_shape, stride, padding, 1, 1, 1)


def test_the_largest_array_is_one_of_complex_numbers() -> None:
    largest = 2**63 // np.dtype(np.complex128).itemsize - 1
    g = forward_geometry((1, 1, largest - 1), (1, 1, 1), largest, ((0, 1),), 1, 1, 1)
    assert g.padded.input == (largest,)
    with pytest.raises(ValueError, match="padded input must take less than"):
        forward_geometry((1, 1, largest - 1), (1, 1, 1), largest, ((1, 1),), 1, 1, 1)


def test_steps_near_64_bits_are_exact() -> None:
    assert forward_geometry((1, 1, 5), (1, 1, 3), 2**62, 0, 1, 1, 1).output == (1,)
    assert forward_geometry((1, 1, 5), (1, 1, 1), 1, 0, 2**62, 1, 1).output == (5,)
    with pytest.raises(ValueError, match="weight must fit"):
        forward_geometry((1, 1, 5), (1, 1, 3), 1, 0, 2**62, 1, 1)


def test_one_tap_never_multiplies_padding() -> None:
    low = clipped(lower_forward(forward_geometry((1, 4, 7, 7), (5, 4, 1, 1), 2, 3, 1, 1, 2)))
    fill, part = low.parts
    assert (fill.counts, fill.taps) == ((7, 7), [])
    # Outputs 2, 3 and 4 of an axis read pixels 1, 3 and 5; the others read padding.
    assert [(a.start, a.length, a.move, a.taps) for a in part.axes] == [(2, 3, 2, ((0, 1),))] * 2
    assert not low.needs_padding
