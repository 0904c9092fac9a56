"""Every argument of every public function against values that no one should give it.

Each is a TypeError or a ValueError that names an argument, before any work. Calls are made from
signatures: a function that becomes public is tried from then on, and one with a parameter whose
name has no kind here fails until it has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hostile import WRONG, Agreeable, Index, LongTuple, ShortList, Theirs, array
from hostile_calls import Call, calls

import fastconv
from fastconv import ndimage, signal, worked_example

#: the kind of each parameter, by its name
KINDS = {
    "array": "input weight bias grad_output out",
    "array-like": "in1 in2 weights",
    "output": "output",
    "integers": "stride dilation padding output_padding kernel_size output_size",
    "sizes": "weight_size input_size input_shape weight_shape",
    "any sizes": "bias_sizes",
    "integer": "groups threads",
    "place": "axis",
    "places": "origin axes",
    "word": "padding_mode algorithm activation mode boundary method direction layout",
    "flag": "per_sample transposed winograd tf32 autotune bfloat16_bits",
    "flags": "output_mask",
    "number": "fillvalue cval",
    "dtype": "dtype",
    "none": "stream",
}
KIND = {name: kind for kind, names in KINDS.items() for name in names.split()}
SCIPYS = (TypeError, ValueError, RuntimeError)  # which scipy.ndimage raises, and so do we


def good(name: str, rank: int) -> dict[str, Any]:
    """Arguments of all functions by name, that fit each other."""
    wide, narrow, taps = (3,) * rank, (2,) * rank, (2,) * rank
    x, w, y = array(1, 2, *wide), array(2, 2, *taps), array(1, 2, *narrow)
    if name.startswith("conv_transpose"):
        x, y = y, x
    result = w if name.endswith("_weight") else x if name.endswith("_input") else y
    in_tuples = name == "convolution_backward"
    return {
        "input": array(1, 8, 4) if name == "fold" else x,
        "weight": w,
        "bias": array(2),
        "grad_output": y,
        "out": np.full(result.shape, np.nan, np.float32),
        **dict.fromkeys(("input_size", "input_shape"), x.shape),
        **dict.fromkeys(("weight_size", "weight_shape"), w.shape),
        "bias_sizes": (2,),
        **dict.fromkeys(("stride", "dilation"), (1,) * rank if in_tuples else 1),
        **dict.fromkeys(("padding", "output_padding"), (0,) * rank if in_tuples else 0),
        "kernel_size": 2,
        "output_size": 3,
        **dict.fromkeys(("groups", "threads"), 1),
        "padding_mode": "zeros",
        "algorithm": "auto",
        "activation": "relu",
        "direction": "forward",
        "layout": "NCHW",
        **dict.fromkeys(KINDS["flag"].split(), False),
        "output_mask": (True, True, True),
        "dtype": np.float32,
        "stream": None,
        "in1": array(*wide),
        "in2": array(*taps),
        "mode": "same",
        "boundary": "fill",
        "method": "direct",
        **dict.fromkeys(KINDS["number"].split(), 2.0),
    }


def filters(name: str, _: int) -> dict[str, Any]:
    """The same for `fastconv.ndimage`."""
    return {
        "input": array(3, 3),
        "weights": array(2) if name.endswith("1d") else array(2, 2),
        "output": None,
        "mode": "constant",
        "cval": 2.0,
        "origin": 0,
        "axis": 0,
        "axes": None,
    }


CALLS = [
    *calls(fastconv, good, KIND),
    *calls(signal, good, KIND),
    *calls(ndimage, filters, {**KIND, "input": "array-like"}),
    *calls(worked_example, good, KIND, ["run"]),
]
INTEGERS = [
    (call, name)
    for call in CALLS
    for name, kind in call.kinds.items()
    if kind in ("integers", "sizes", "integer") and name != "axis"
]
CASES = [(call, name) for call in CALLS for name in call.kinds]


def kind_of(call: Call, name: str) -> str:
    alone = call.name in ("fastconv.unfold", "fastconv.fold")
    return "any dtype" if alone and name == "input" else call.kinds[name]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_the_calls_are_taken_as_they_stand(call: Call) -> None:
    call.run()


@pytest.mark.parametrize(("call", "name"), CASES, ids=lambda case: str(case))
def test_what_no_one_should_give(call: Call, name: str) -> None:
    errors = SCIPYS if call.name.startswith("fastconv.ndimage") else (TypeError, ValueError)
    right = array(3, 3) if name == "output" else call.good[name]
    if name == "out":
        right = np.zeros_like(right)
    wrong = {
        label: reason
        for label, make in WRONG[kind_of(call, name)].items()
        if (reason := call.refusal(errors, **{name: make(right)}))
    }
    assert not wrong


@pytest.mark.parametrize(("call", "name"), INTEGERS, ids=lambda case: str(case))
def test_whatever_has_an_index_is_an_integer(call: Call, name: str) -> None:
    value = call.good[name]
    many = isinstance(value, tuple)
    expected = call.run()
    for kind in (np.int8, np.uint64, np.array, Index):
        whole = tuple(map(kind, value)) if many else kind(value)
        for given in (whole, list(whole)) if many else (whole,):
            np.testing.assert_equal(outcome(call.run(**{name: given})), outcome(expected))


def outcome(result: Any) -> Any:
    """What a call gave, to be compared; the blocks of options are all alike."""
    return None if hasattr(result, "__enter__") else result


@pytest.mark.parametrize(("call", "name"), INTEGERS, ids=lambda case: str(case))
def test_errors_of_their_own_come_through(call: Call, name: str) -> None:
    whole = Index(Theirs)
    given = (whole,) * len(call.good[name]) if isinstance(call.good[name], tuple) else whole
    with pytest.raises(Theirs, match="an index of theirs"):
        call.run(**{name: given})


@pytest.mark.parametrize("error", [OSError, MemoryError, KeyError, RecursionError])
def test_no_error_of_theirs_is_taken_for_another(error: type[Exception]) -> None:
    with pytest.raises(error, match="an index of theirs") as caught:
        fastconv.conv2d(array(1, 2, 3, 3), array(2, 2, 2, 2), stride=Index(error))
    assert caught.type is error


def test_a_value_that_changes_is_read_once() -> None:
    x, w = array(1, 2, 5, 5), array(2, 2, 2, 2)
    expected = fastconv.conv2d(x, w, stride=(2, 1))
    changing = Index(2, 1, 7, 9, -1)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, stride=(changing, changing)), expected)


def test_a_list_that_lies_of_its_length_is_what_is_in_it() -> None:
    x, w = array(1, 2, 5, 5), array(2, 2, 2, 2)
    expected = fastconv.conv2d(x, w, stride=(2, 1))
    for lying in (LongTuple((2, 1)), ShortList([2, 1])):
        np.testing.assert_array_equal(fastconv.conv2d(x, w, stride=lying), expected)
    size = LongTuple(w.shape)
    dw = fastconv.conv2d_weight(x, size, array(1, 2, 4, 4))
    assert dw.shape == w.shape


def test_a_string_that_equals_all_is_what_is_in_it() -> None:
    x, w = array(1, 2, 5, 5), array(2, 2, 2, 2)
    for _ in range(2):
        y = fastconv.conv2d(x, w, padding=Agreeable("same"), algorithm=Agreeable("direct"))
        np.testing.assert_array_equal(y, fastconv.conv2d(x, w, padding="same"))
    plan = fastconv.explain(
        x.shape, w.shape, direction=Agreeable("forward"), layout=np.str_("NHWC")
    )
    assert type(plan.direction) is str


def test_flags_of_numpy() -> None:
    x, w, dy = array(2, 2, 3, 3), array(2, 2, 2, 2), array(2, 2, 2, 2)
    each = fastconv.conv2d_weight(x, w.shape, dy, per_sample=np.True_)
    assert each.shape == (2, *w.shape)
    with fastconv.options(winograd=np.False_):
        assert fastconv.options.__globals__["current"]().winograd is False
