"""Derivatives of the passes, of any order: each is made of the other two.

A convolution, its input gradient and its weight gradient are one sum of products of three tensors.
Derived by one of the two that it reads, it is the pass that reads the other.
"""

# ruff: noqa: A001 - PyTorch calls an argument input

from __future__ import annotations

from typing import Any, NamedTuple

from .layout import channels_last, laid_out

_SETTINGS = (None,) * 5  # have no derivative


class Passes(NamedTuple):
    """The three passes as something that autograd knows: operators, or functions around them."""

    convolution: Any
    input_gradient: Any
    weight_gradient: Any


def save_convolution(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep what the derivatives of a convolution read."""
    input, weight, _, *ctx.settings = inputs
    _keep(ctx, input, weight)


def derive_convolution(passes: Passes, ctx: Any, dy: Any) -> tuple[Any, ...]:
    """Return the gradients with respect to a convolution's arguments."""
    x, w = ctx.saved_tensors
    dy = laid_out(dy, channels_last(x, w))  # as PyTorch's own do
    of_input, of_weight, of_bias, *_ = ctx.needs_input_grad
    return (
        passes.input_gradient(x.shape, w, dy, *ctx.settings) if of_input else None,
        passes.weight_gradient(x, w.shape, dy, *ctx.settings) if of_weight else None,
        dy.sum((0, *range(2, dy.ndim))) if of_bias else None,
        *_SETTINGS,
    )


def follow_convolution(passes: Passes, ctx: Any, dx: Any, dw: Any, db: Any, *_: None) -> Any:
    """Return how a convolution changes where its arguments change so: forward mode."""
    x, w = ctx.saved_tensors
    changes = [
        None if dx is None else passes.convolution(dx, w, None, *ctx.settings),
        None if dw is None else passes.convolution(x, dw, None, *ctx.settings),
        None if db is None else db.reshape(-1, *(1,) * (w.ndim - 2)),
    ]
    return _total(changes)


def save_input_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep what the derivatives of an input gradient read."""
    ctx.size, weight, grad_output, *ctx.settings = inputs
    _keep(ctx, weight, grad_output)


def derive_input_gradient(passes: Passes, ctx: Any, gx: Any) -> tuple[Any, ...]:
    """Return the gradients with respect to an input gradient's arguments."""
    w, dy = ctx.saved_tensors
    gx = laid_out(gx, channels_last(w, dy))
    _, of_weight, of_grad_output, *_ = ctx.needs_input_grad
    return (
        None,
        passes.weight_gradient(gx, w.shape, dy, *ctx.settings) if of_weight else None,
        passes.convolution(gx, w, None, *ctx.settings) if of_grad_output else None,
        *_SETTINGS,
    )


def follow_input_gradient(passes: Passes, ctx: Any, _: None, dw: Any, dy: Any, *__: None) -> Any:
    """Return how an input gradient changes where its arguments change so."""
    w, grad_output = ctx.saved_tensors
    run, settings = passes.input_gradient, ctx.settings
    changes = [
        None if dw is None else run(ctx.size, dw, grad_output, *settings),
        None if dy is None else run(ctx.size, w, dy, *settings),
    ]
    return _total(changes)


def save_weight_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep what the derivatives of a weight gradient read."""
    input, ctx.size, grad_output, *ctx.settings = inputs
    _keep(ctx, input, grad_output)


def derive_weight_gradient(passes: Passes, ctx: Any, gw: Any) -> tuple[Any, ...]:
    """Return the gradients with respect to a weight gradient's arguments."""
    x, dy = ctx.saved_tensors
    of_input, _, of_grad_output, *_ = ctx.needs_input_grad
    return (
        passes.input_gradient(x.shape, gw, dy, *ctx.settings) if of_input else None,
        None,
        passes.convolution(x, gw, None, *ctx.settings) if of_grad_output else None,
        *_SETTINGS,
    )


def follow_weight_gradient(passes: Passes, ctx: Any, dx: Any, _: None, dy: Any, *__: None) -> Any:
    """Return how a weight gradient changes where its arguments change so."""
    x, grad_output = ctx.saved_tensors
    run, settings = passes.weight_gradient, ctx.settings
    changes = [
        None if dx is None else run(dx, ctx.size, grad_output, *settings),
        None if dy is None else run(x, ctx.size, dy, *settings),
    ]
    return _total(changes)


def _keep(ctx: Any, *tensors: Any) -> None:
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _total(changes: list[Any]) -> Any:
    first, *others = (change for change in changes if change is not None)
    for change in others:
        first = first + change
    return first
