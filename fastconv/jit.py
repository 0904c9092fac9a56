"""The public functions in nopython code: inside ``@numba.njit``, alone or within ``prange``.

Nothing of this need be imported: with fastconv imported, Numba knows ``fastconv.conv2d`` and its
kin. They are the same functions here, for those who like to say that it is nopython code they mean.
"""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from ._nopython import forms
from .functional import conv1d, conv2d, conv3d
from .grad_input import conv1d_input, conv2d_input, conv3d_input
from .grad_weight import conv1d_weight, conv2d_weight, conv3d_weight
from .transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv3d",
    "conv3d_input",
    "conv3d_weight",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

# Compiled, not called: the parameters' types are Numba's to find.
# mypy: disable-error-code="no-untyped-def"

# In what follows ``call`` is an intrinsic made for the arguments' types. It is given the source and
# the weights (or output gradient) of a pass, the bias, the array for the result, and all others in
# the order of the signature.


def _conv(call: Any) -> Callable[..., Any]:
    def implementation(
        input,
        weight,
        bias=None,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        padding_mode="zeros",
        activation=None,
        out=None,
        algorithm="auto",
        stream=None,
    ):
        steps = stride, padding, dilation, groups
        others = (*steps, padding_mode, activation, algorithm, stream)
        return call((input, weight, bias, out), others)

    return implementation


def _conv_transpose(call: Any) -> Callable[..., Any]:
    def implementation(
        input,
        weight,
        bias=None,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        dilation=1,
        padding_mode="zeros",
        out=None,
        algorithm="auto",
        stream=None,
    ):
        steps = stride, padding, output_padding, groups, dilation
        others = (*steps, padding_mode, algorithm, stream)
        return call((input, weight, bias, out), others)

    return implementation


def _weight_gradient(call: Any) -> Callable[..., Any]:
    def implementation(
        input,
        weight_size,
        grad_output,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        padding_mode="zeros",
        per_sample=False,
        out=None,
        algorithm="auto",
        stream=None,
    ):
        steps = stride, padding, dilation, groups
        others = (weight_size, *steps, padding_mode, algorithm, stream)
        return call((input, grad_output, None, out), others)

    return implementation


def _input_gradient(call: Any) -> Callable[..., Any]:
    def implementation(
        input_size,
        weight,
        grad_output,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        padding_mode="zeros",
        out=None,
        algorithm="auto",
        stream=None,
    ):
        steps = stride, padding, dilation, groups
        others = (input_size, *steps, padding_mode, algorithm, stream)
        return call((grad_output, weight, None, out), others)

    return implementation


class _Kind(NamedTuple):
    """A kind of pass: its name, the arguments that are source and weights, its implementation."""

    name: str
    source: str
    weights: str
    make: Callable[[Any], Callable[..., Any]]


_KINDS: dict[_Kind, tuple[Callable[..., Any], ...]] = {
    _Kind("conv", "input", "weight", _conv): (conv1d, conv2d, conv3d),
    _Kind("conv_transpose", "input", "weight", _conv_transpose): (
        conv_transpose1d,
        conv_transpose2d,
        conv_transpose3d,
    ),
    _Kind("weight_gradient", "input", "grad_output", _weight_gradient): (
        conv1d_weight,
        conv2d_weight,
        conv3d_weight,
    ),
    _Kind("input_gradient", "grad_output", "weight", _input_gradient): (
        conv1d_input,
        conv2d_input,
        conv3d_input,
    ),
}


def _typed(public: Callable[..., Any], kind: _Kind, rank: int) -> Callable[..., Any]:
    """What tells Numba how to compile a call of ``public``, given the types of its arguments."""
    signature = _without_annotations(public)

    def typed(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        from .cpu.simd.nopython import entry_call  # all that compiles

        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        arrays = {name: given.arguments.pop(name, None) for name in (kind.source, kind.weights)}
        arrays |= {name: given.arguments.pop(name, None) for name in ("bias", "out")}
        array_forms = {name: forms.array_form(array, name) for name, array in arrays.items()}
        for name in (kind.source, kind.weights):
            if array_forms[name] is None:
                raise TypingError(f"{name} must be an array in nopython code, got None")
        if kind.name == "weight_gradient":
            _check_batch_gradient(given.arguments.pop("per_sample"))
        values = {name: forms.value_form(value, name) for name, value in given.arguments.items()}
        result = None
        if array_forms["out"] is None:
            result = _result(kind, rank, arrays[kind.source])
        contiguous = result is not None and result.layout == "C"
        told = (*array_forms.items(), *values.items())
        text = forms.Schema(kind.name, rank, contiguous, told).text
        return kind.make(entry_call(text, forms.key(text), result))

    typed.__signature__ = signature  # type: ignore[attr-defined]
    typed.__name__ = public.__name__
    return typed


def _check_batch_gradient(per_sample: Any) -> None:
    """A result's number of axes must be known from the types alone."""
    if isinstance(per_sample, types.Omitted):
        per_sample = per_sample.value
    if isinstance(per_sample, types.BooleanLiteral):
        per_sample = per_sample.literal_value
    if per_sample is not False:
        raise TypingError("per_sample must be False in nopython code")


def _without_annotations(public: Callable[..., Any]) -> inspect.Signature:
    """The signature that Numba compares with the implementation's."""
    signature = inspect.signature(public)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return inspect.Signature(plain)


def _result(kind: _Kind, rank: int, source: types.Array) -> types.Array:
    """The type of a pass' result, which is laid out as the source is."""
    gradient = kind.name == "weight_gradient"
    layout = "C" if gradient or source.layout == "C" else "A"
    batched = gradient or source.ndim != rank + 1
    return types.Array(source.dtype, rank + 2 if batched else rank + 1, layout)


for _kind, _functions in _KINDS.items():
    for _rank, _public in enumerate(_functions, 1):
        overload(_public)(_typed(_public, _kind, _rank))
