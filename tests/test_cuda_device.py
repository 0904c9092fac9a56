"""CUDA kernels against the oracle: on a GPU, or in Numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""

from collections.abc import Iterator
from math import prod
from typing import Any

import cuda_cases
import numpy as np
import pytest
import simulator
from arrays import Array
from cases import Case, compute, operands, oracle, simple
from cuda_cases import CASES, KINDS, PASSES, OnDevice, Setting, decoded, encoded, laid_out

import fastconv

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
numba_cuda = pytest.importorskip("numba.cuda", exc_type=ImportError)
simulated = pytest.importorskip("fastconv.cuda.ptx", exc_type=ImportError).SIMULATED
if not simulated and not numba_cuda.is_available():
    pytest.skip("there is no GPU, and NUMBA_ENABLE_CUDASIM is not 1", allow_module_level=True)
if simulated:
    simulator.share_arrays_safely()

from fastconv.cuda import hopper_steps, packing, simt_steps, tensor_steps  # noqa: E402
from fastconv.cuda.convolution import Operands, Plan, make_plan  # noqa: E402
from fastconv.cuda.ptx.simulated import to_tf32  # noqa: E402
from fastconv.cuda.tiles import HopperTile, SimtTile, TensorTile  # noqa: E402

# A GPU takes milliseconds where the simulator takes seconds.
slow = pytest.mark.slow if simulated else pytest.mark.device
FEW, MANY = cuda_cases.settings()

# One warp a block, so that a simulated block is a few products of small matrices.
_SMALLEST: dict[tuple[Any, str], dict[Any, float]] = {
    (simt_steps, "TILES"): {SimtTile(1, 1): 1.0},
    (simt_steps, "GRADIENT_TILES"): {SimtTile(1, 1): 1.0},
    (tensor_steps, "TILES"): {TensorTile(1, 1, 2, 1, 3): 1.0},
    (tensor_steps, "GRADIENT_TILES"): {TensorTile(1, 1, 2, 2, 3): 1.0},
    (hopper_steps, "TILES"): {HopperTile(2, 16, 4): 1.0},
    (hopper_steps, "GRADIENT_TILES"): {HopperTile(1, 64, 4): 1.0},
}
_TABLES = {place: dict(getattr(*place)) for place in _SMALLEST}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the simulator, let plans have small tiles only; and none outlives its test."""
    if simulated:
        for place, tiles in _SMALLEST.items():
            monkeypatch.setattr(*place, tiles)
    yield
    fastconv.clear_cache()


class Run:
    """A pass on operands in device memory, its result poisoned."""

    def __init__(
        self,
        case: Case,
        which: str,
        kind: str,
        layout: str = "channels_first",
        algorithm: str = "im2col",
        given: tuple[Any, Any, Any] | None = None,
        capability: tuple[int, int] = (8, 0),
    ) -> None:
        source, weights, bias = given or cuda_cases.arguments(case, which)
        self.kind = kind
        self.source, self.weights = (
            OnDevice(laid_out(encoded(values, kind), layout)) for values in (source, weights)
        )
        self.bias = None if bias is None else OnDevice(np.ascontiguousarray(encoded(bias, kind)))
        self.target = OnDevice(cuda_cases.unwritten(case, which, kind, layout))
        arrays = (self.source, self.weights, self.target)
        self.plan: Plan = make_plan(
            which,
            cuda_cases.geometry(case),
            Operands(
                "f32" if kind == "tf32" else kind,
                *(array.steps for array in arrays),
                capability=capability,
                tf32=kind == "tf32",
                aligned=all(int(array.address) % 16 == 0 for array in arrays),
            ),
            algorithm,
        )

    def __call__(self) -> Any:
        """Run, and return the elements of the result."""
        x, w, y = (array.address for array in (self.source, self.weights, self.target))
        self.plan.program.run(x, w, y, 0 if self.bias is None else self.bias.address)
        return self.target.elements()

    @property
    def kernels(self) -> list[str]:
        return [step.kernel.name for step in self.plan.program.steps]


def check(run: Run, expected: Array) -> None:
    """Compare with the oracle's numbers; nothing else in the result's memory may change."""
    before = run.target.memory()
    got = run()
    assert np.array_equal(decoded(got, run.kind), decoded(encoded(expected, run.kind), run.kind))
    run.target.elements(before)[...] = got
    assert np.array_equal(run.target.memory(), before), "written outside of the result"


def solved(case: Case, which: str) -> Array:
    return cuda_cases.reference(case, which, *cuda_cases.arguments(case, which))


def _marked(setting: Setting, *marks: Any) -> Any:
    small = (pytest.mark.small,) if setting.name in cuda_cases.SMALL and not marks else ()
    return pytest.param(setting, id=str(setting), marks=(*marks, *small))


@pytest.mark.parametrize(
    "setting", [*map(_marked, FEW), *(_marked(setting, slow) for setting in MANY)]
)
def test_pass(setting: Setting) -> None:
    case = CASES[setting.name]
    run = Run(case, *setting[1:])
    check(run, solved(case, setting.which))


HOPPER = [
    Setting(name, which, kind, layout, "im2col")
    for name, layout in (("plain", "channels_first"), ("groups of 8", "channels_last"))
    for which in PASSES
    for kind in ("f16", "bf16", "tf32")
]


def needs_hopper() -> None:
    if not simulated and numba_cuda.get_current_device().compute_capability != (9, 0):
        pytest.skip("these products are Hopper's alone")


@pytest.mark.parametrize("setting", [_marked(setting, slow) for setting in HOPPER])
def test_pass_on_hopper(setting: Setting) -> None:
    needs_hopper()
    case = CASES[setting.name]
    run = Run(case, *setting[1:], capability=(9, 0))
    turns_tf32 = (setting.which, setting.kind) == ("weight_gradient", "tf32")
    assert any("hopper" in name for name in run.kernels) is not turns_tf32
    check(run, solved(case, setting.which))


def _tiles() -> list[Any]:
    def name(module: Any, table: str, tile: Any) -> str:
        return "-".join(map(str, (module.__name__.rpartition(".")[2], table, *tile)))

    return [
        pytest.param(*place, tile, id=name(*place, tile), marks=slow)
        for place, tiles in _TABLES.items()
        for tile in tiles
    ]


@pytest.mark.parametrize(("module", "table", "tile"), _tiles())
def test_tile(module: Any, table: str, tile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile that the case does not fill, or that a second one follows."""
    if module is hopper_steps:
        needs_hopper()
    monkeypatch.setattr(module, table, {tile: 1.0})
    kind = "f32" if module is simt_steps else "f16"
    which = "weight_gradient" if "GRADIENT" in table else "forward"
    case = simple(1, 8, 72, (12, 11), (1, 2), bias=True)
    capability = (9, 0) if module is hopper_steps else (8, 0)
    check(Run(case, which, kind, "channels_last", capability=capability), solved(case, which))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_splits_of_the_weight_gradient(
    kind: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several blocks sum over shares of the pixels, the last one smaller than the others."""
    monkeypatch.setattr(packing, "_MIN_SPLIT", 32)
    case = simple(3, 4, 5, (5, 5), (2, 2), pad=1)
    run = Run(case, "weight_gradient", kind, layout)
    product = next(s for s in run.plan.program.steps if "gradient" in s.kernel.name)
    assert product.grid[2] == 4
    assert case.n * 36 % product.sizes["split_pixels"] != 0
    check(run, solved(case, "weight_gradient"))


@pytest.mark.parametrize("algorithm", ["im2col", "direct", "columns"])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_nan_shows_where_it_should(kind: str, which: str, algorithm: str) -> None:
    """One NaN in the source: in each result that reads it, and in no other."""
    case = simple(2, 4, 6, (5, 4), (3, 2), pad=1, stride=2, groups=2)
    source, weights, _ = cuda_cases.arguments(case, which)
    source[1, 2, 1, 2] = np.nan
    expected = cuda_cases.reference(case, which, source, weights)
    assert 0 < np.isnan(expected).sum() < expected.size
    got = decoded(
        Run(case, which, kind, algorithm=algorithm, given=(source, weights, None))(), kind
    )
    assert np.array_equal(got, expected, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_twice(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_MIN_SPLIT", 32)
    case = simple(2, 3, 4, (6, 7), (2, 2))
    rng = np.random.default_rng(0)
    given = (rng.normal(size=case.input_shape), rng.normal(size=case.output_shape), None)
    run = Run(case, "weight_gradient", kind, given=given)
    assert run().tobytes() == run().tobytes()


# Of a sum of up to 27 products of numbers around 1: in the sums' own kind, and of the result.
_ERRORS = {"f32": 1e-5, "f64": 1e-14, "f16": 2e-2, "bf16": 2e-1, "tf32": 1e-5}


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_rounding(kind: str, which: str, layout: str) -> None:
    """Factors are rounded to their kind, TF32 to the nearest, and the sum is not."""
    case = simple(1, 4, 4, (4, 3), (2, 2), pad=1)
    rng = np.random.default_rng(0)
    shapes = (values.shape for values in cuda_cases.arguments(case, which)[:2])
    source, weights = (decoded(encoded(rng.normal(size=s), kind), kind) for s in shapes)
    got = Run(case, which, kind, layout, given=(source, weights, None))()
    if kind == "tf32":
        source, weights = (to_tf32(a.astype(np.float32)).astype(float) for a in (source, weights))
    expected = cuda_cases.reference(case, which, source, weights)
    assert np.allclose(decoded(got, kind), expected, rtol=0, atol=_ERRORS[kind])


@pytest.mark.parametrize("which", ["bias_gradient", "unfold", "fold"])
@pytest.mark.parametrize("layout", ["channels_last", "odd"])
@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "bf16"])
def test_sums_and_columns(kind: str, layout: str, which: str) -> None:
    """The bias gradient, unfold and fold, whose plans have no weights."""
    case = simple(2, 3, 5, (5, 4), (3, 2), pad=1, stride=2)
    g = cuda_cases.geometry(case)
    columns_shape = (g.N, g.C, *g.kernel, *g.output)
    shape = {"bias_gradient": g.output_shape, "unfold": g.input_shape, "fold": columns_shape}[which]
    given = np.random.default_rng(0).integers(-4, 5, shape).astype(float)
    if which == "bias_gradient":
        wanted = given.sum((0, 2, 3))
    elif which == "unfold":
        wanted = fastconv.unfold(given, (3, 2), padding=1, stride=2).reshape(columns_shape)
    else:
        rows = given.reshape(g.N, -1, prod(g.output))
        wanted = fastconv.fold(rows, (5, 4), (3, 2), padding=1, stride=2)
    source = OnDevice(laid_out(encoded(given, kind), layout))
    target = OnDevice(cuda_cases.poison(wanted.shape, encoded(wanted, kind).dtype))
    aligned = all(int(array.address) % 16 == 0 for array in (source, target))
    arrays = Operands(kind, source.steps, (), target.steps, aligned=aligned)
    make_plan(which, g, arrays).program.run(source.address, 0, target.address)
    assert np.array_equal(decoded(target.elements(), kind), decoded(encoded(wanted, kind), kind))


there = numba_cuda.to_device
FUNCTIONS = {
    "1-D": "float32",
    "plain": "float64",
    "3-D": "float32",
    "one pixel, one channel": "float16",
}


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, which: str) -> None:
    """The public functions on device arrays give what the oracle gives on the host's."""
    case, dtype = CASES[name], FUNCTIONS[name]
    given = [values.astype(dtype) for values in operands(case, which)]
    result = compute(case, which, *map(there, given))
    expected = oracle(case, which, *given)
    assert np.array_equal(result.copy_to_host(), expected.astype(dtype))


@pytest.mark.parametrize("algorithm", cuda_cases.ALGORITHMS)
def test_one_image_and_out(algorithm: str) -> None:
    """An image without a batch axis, written into every second row of an array."""
    case = CASES["plain"]
    x, w, bias = (values.astype(np.float32) for values in operands(case, "forward"))
    whole = there(np.full((2 * case.k, 5, 6), np.nan, np.float32))
    out = whole[::2]
    result = fastconv.conv2d(
        there(x[0]), there(w), there(bias), *case.how, out=out, algorithm=algorithm
    )
    assert result is out
    host = whole.copy_to_host()
    assert np.array_equal(host[::2], oracle(case, "forward", x[:1], w, bias)[0])
    assert np.isnan(host[1::2]).all()


def test_empty_batch() -> None:
    x, w = np.zeros((0, 2, 4, 4), np.float32), np.ones((3, 2, 2, 2), np.float32)
    dy = np.zeros((0, 3, 3, 3), np.float32)
    assert fastconv.conv2d(there(x), there(w)).shape == (0, 3, 3, 3)
    assert fastconv.conv2d_input(x.shape, there(w), there(dy)).shape == x.shape
    out = there(np.full(w.shape, np.nan, np.float32))
    fastconv.conv2d_weight(there(x), w.shape, there(dy), out=out)
    assert np.array_equal(out.copy_to_host(), np.zeros_like(w))


@pytest.mark.parametrize("which", PASSES)
def test_tf32_option(which: str) -> None:
    """Only with the option are factors rounded to TF32: 1 + 2**-11 becomes 1 + 2**-10."""
    one, tiny = np.float32(1), np.float32(2**-11)
    case = simple(1, 1, 1, (2, 2), (1, 1))
    source, weights, _ = cuda_cases.arguments(case, which)
    source, weights = (np.full_like(a, one, np.float32) for a in (source, weights))
    given = (weights, source + tiny) if which == "input_gradient" else (source + tiny, weights)
    exact = compute(case, which, *map(there, given)).copy_to_host()
    with fastconv.options(tf32=True):
        rounded = compute(case, which, *map(there, given), algorithm="im2col").copy_to_host()
    count = 4 if which == "weight_gradient" else 1
    assert (exact == count * (1 + 2**-11)).all()
    assert (rounded == count * (1 + 2**-10)).all()


def test_transposed_convolution_and_all_gradients() -> None:
    case = CASES["stride 2"]
    x, w = (values.astype(np.float32) for values in operands(case, "forward"))
    dy = operands(case, "weight_gradient")[1].astype(np.float32)
    host = fastconv.conv_transpose2d(dy, w, stride=2, padding=1)
    device = fastconv.conv_transpose2d(there(dy), there(w), stride=2, padding=1)
    assert np.array_equal(device.copy_to_host(), host)
    settings = ((6,), (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (True, True, True))
    expected = fastconv.convolution_backward(dy, x, w, *settings)
    for got, wanted in zip(
        fastconv.convolution_backward(there(dy), there(x), there(w), *settings),
        expected,
        strict=True,
    ):
        assert np.array_equal(got.copy_to_host(), wanted)
