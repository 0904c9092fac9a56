"""One layer's tensors, the calls on them, and the check of their values.

Values are checked twice. On small integers every sum is exact, so ours must equal the reference
rounded once, and a result filled with NaN beforehand shows what was never written. On random
reals, those that are timed, the error must be one that the precision's rounding explains.

Nothing here is particular to a GPU: the tensors lie wherever ``place`` says.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import fastconv
from bench.case import Case
from bench.checked import WrongResult
from bench.gpu.clock import Call
from bench.gpu.precisions import Precision
from bench.peers import Torch, conv_arguments
from bench.suites import Layer

OURS, PEER = "fastconv", "torch"
SEED = 0
LARGEST_INTEGER = 2


class TensorTorch(Torch):
    """PyTorch on a case whose arrays are tensors already."""

    def _tensors(self, case: Case) -> tuple[Any, Any, Any]:
        return case.x, case.w, case.dy


def our_call(case: Case, pass_name: str, algorithm: str, out: Any = None) -> Call:
    """The callable that computes a pass of ours on the case's tensors."""
    layer, rest = case.layer, conv_arguments(case.layer)
    g = layer.geometry
    keywords = {"algorithm": algorithm} if out is None else {"algorithm": algorithm, "out": out}
    if pass_name == "forward":
        return partial(fastconv.conv2d, case.x, case.w, None, *rest, **keywords)
    if pass_name == "weight":
        return partial(fastconv.conv2d_weight, case.x, g.weight_shape, case.dy, *rest, **keywords)
    return partial(fastconv.conv2d_input, g.input_shape, case.w, case.dy, *rest, **keywords)


@contextmanager
def arithmetic(torch: Any, precision: Precision) -> Iterator[None]:
    """Let ours and PyTorch compute as the precision allows, cuDNN choosing by timing."""
    with _cudnn(torch, True, precision.tf32), fastconv.options(tf32=precision.tf32):
        yield


@contextmanager
def _cudnn(torch: Any, enabled: bool, tf32: bool) -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = enabled, True, tf32, tf32
    try:
        yield
    finally:
        cudnn.enabled, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


class LayerTensors:
    """The tensors of one layer, kept for its passes and precisions in turn."""

    def __init__(self, layer: Layer, place: str) -> None:
        self.torch = importlib.import_module("torch")
        self.layer = layer
        self.place = place
        self._integers: Case | None = None
        self._exact: dict[str, Any] = {}
        self._reals: tuple[str, Case] | None = None

    def integers(self) -> Case:
        """Small integers in float32: exact in each precision, and so is each sum of products."""
        if self._integers is None:
            self._integers = self._drawn(
                lambda shape, generator: self.torch.randint(
                    -LARGEST_INTEGER,
                    LARGEST_INTEGER + 1,
                    shape,
                    generator=generator,
                    device=self.place,
                    dtype=self.torch.float32,
                )
            )
        return self._integers

    def exact(self, pass_name: str) -> Any:
        """The pass's result on the integers."""
        if pass_name not in self._exact:
            self._exact[pass_name] = reference(self.torch, self.integers(), pass_name)
        return self._exact[pass_name]

    def reals(self, precision: Precision) -> Case:
        """Uniform reals in [-1, 1), rounded to the precision's own type and laid out as it is."""
        if self._reals is None or self._reals[0] != precision.name:
            self._reals = None  # so that two precisions' tensors are never held at once
            wide = self.torch.float64 if precision.dtype == "float64" else self.torch.float32
            drawn = self._drawn(
                lambda shape, generator: (
                    2 * self.torch.rand(shape, generator=generator, device=self.place, dtype=wide)
                    - 1
                )
            )
            self._reals = (precision.name, converted(self.torch, drawn, precision))
        return self._reals[1]

    def _drawn(self, draw: Any) -> Case:
        generator = self.torch.Generator(self.place).manual_seed(SEED)
        g = self.layer.geometry
        shapes = (g.input_shape, g.weight_shape, g.output_shape)
        return Case(self.layer, "nchw", *(draw(shape, generator) for shape in shapes))


class Workload:
    """A pass of a layer in one precision: checked by `check`, then timed through ``calls``."""

    def __init__(
        self, tensors: LayerTensors, precision: Precision, pass_name: str, algorithm: str
    ) -> None:
        self.note = ""
        self._tensors = tensors
        self._precision = precision
        self._pass_name = pass_name
        self._algorithm = algorithm
        case = tensors.reals(precision)
        self.calls: dict[str, Call] = {
            OURS: our_call(case, pass_name, algorithm),
            PEER: TensorTorch().prepare(case, pass_name),
        }

    def check(self) -> dict[str, float]:
        """Each contestant's error on the reals; `WrongResult` where ours is wrong."""
        self._check_exact()
        torch, precision = self._tensors.torch, self._precision
        wide = torch.float64 if precision.dtype == "float64" else torch.float32
        case = self._tensors.reals(precision)
        expected = reference(torch, retyped(torch, case, wide, "nchw"), self._pass_name)
        errors = {OURS: relative_error(self.calls[OURS](), expected)}
        bound = precision.tolerance(case.layer, self._pass_name)
        if errors[OURS] > bound:
            raise WrongResult(
                f"on reals max|err|/max|ref| is {errors[OURS]:.1e}, rounding explains at most "
                f"{bound:.1e}"
            )
        try:
            errors[PEER] = relative_error(self.calls[PEER](), expected)
        except RuntimeError as error:
            del self.calls[PEER]
            self.note = f"{PEER}: {first_line(error)}"
        return errors

    def _check_exact(self) -> None:
        torch = self._tensors.torch
        case = converted(torch, self._tensors.integers(), self._precision)
        expected = self._tensors.exact(self._pass_name)
        channels_last = self._precision.layout == "nhwc" and self._pass_name != "weight"
        out = torch.empty(
            expected.shape,
            dtype=getattr(torch, self._precision.dtype),
            device=self._tensors.place,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        ).fill_(float("nan"))
        our_call(case, self._pass_name, self._algorithm, out)()
        wrong = int((out != expected.to(out.dtype)).sum())
        if wrong:
            unwritten = int(out.isnan().sum())
            raise WrongResult(
                f"on integers {wrong} of {out.numel()} elements are not exact, {unwritten} NaN"
            )


def retyped(torch: Any, case: Case, dtype: Any, layout: str) -> Case:
    """The case's tensors in another type and memory format."""
    memory = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    return mapped(case, layout, lambda t: t.to(dtype).contiguous(memory_format=memory))


def mapped(case: Case, layout: str, change: Callable[[Any], Any]) -> Case:
    """The case with each of its three operands changed, now laid out as ``layout`` says."""
    return Case(case.layer, layout, *(change(operand) for operand in (case.x, case.w, case.dy)))


def converted(torch: Any, case: Case, precision: Precision) -> Case:
    """The case's tensors as the precision has them."""
    return retyped(torch, case, getattr(torch, precision.dtype), precision.layout)


def reference(torch: Any, case: Case, pass_name: str) -> Any:
    """The pass by PyTorch without cuDNN and TF32: matrix products of columns, exact on integers.

    cuDNN may choose Winograd's or a Fourier transform, which round on integers too.
    """
    with _cudnn(torch, False, False):
        return TensorTorch().prepare(case, pass_name)()


def relative_error(result: Any, expected: Any) -> float:
    """max|err| / max|ref|; infinite where the shape differs or a NaN shows."""
    if result.shape != expected.shape:
        return float("inf")
    error = float((result.to(expected.dtype) - expected).abs().max())
    scaled = error / (float(expected.abs().max()) or 1.0)
    return scaled if scaled < float("inf") else float("inf")


def first_line(error: BaseException) -> str:
    """An exception's type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
