"""JAX: `jax.lax.conv_general_dilated` is the reference; integers are compared exactly."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import run_script

import fastconv

jax = pytest.importorskip("jax", reason="pip install 'fastconv[jax]'")
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

import fastconv.jax  # noqa: E402
from fastconv.jax import call_frame, operation, primitive  # noqa: E402

ours = fastconv.jax.conv_general_dilated
RNG = np.random.default_rng(8)


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Integers are exact unless Winograd's algorithm rounds."""
    with fastconv.options(winograd=False):
        yield


def array(*shape: int, dtype: str = "float32") -> Any:
    return jnp.asarray(RNG.integers(-3, 4, shape), dtype)


def equal(f: Any, *arguments: Any, **settings: Any) -> None:
    """Both give the same results, compiled."""
    convs = (ours, lax.conv_general_dilated)
    one, other = (jax.jit(partial(f, conv, **settings))(*arguments) for conv in convs)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def call(conv: Any, x: Any, w: Any, **settings: Any) -> Any:
    return conv(x, w, **settings)


def cube(conv: Any, x: Any, w: Any, **settings: Any) -> Any:
    """A loss whose second derivatives are not constant."""
    return (conv(x, w, **settings) ** 3).sum()


def passes(conv: Any, x: Any, w: Any, **settings: Any) -> Any:
    """The result, and the gradients of a loss."""
    return conv(x, w, **settings), jax.grad(partial(cube, conv, **settings), (0, 1))(x, w)


NHWC, NCHW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
SETTINGS: dict[str, dict[str, Any]] = {
    "same": {"window_strides": (1, 2), "padding": "SAME"},
    "same_lower": {"window_strides": (2, 1), "padding": "SAME_LOWER"},
    "dilated": {"window_strides": (1, 1), "padding": "VALID", "rhs_dilation": (2, 1)},
    "cropped": {"window_strides": (2, 1), "padding": ((-1, 2), (3, -2))},
    "transposed": {"window_strides": (1, 1), "padding": ((1, 2), (0, 1)), "lhs_dilation": (2, 3)},
    "transposed_beyond": {
        "window_strides": (1, 1),
        "padding": ((4, -1), (3, 5)),
        "lhs_dilation": (1, 2),
    },
    "both_dilations": {
        "window_strides": (1, 1),
        "padding": ((2, 2), (2, 2)),
        "lhs_dilation": (2, 2),
        "rhs_dilation": (2, 1),
    },
    "strided_and_transposed": {
        "window_strides": (2, 3),
        "padding": ((1, 1), (-1, 2)),
        "lhs_dilation": (3, 1),
    },
}
GROUPED = (("same", 2), ("both_dilations", 2))


@pytest.mark.parametrize(("name", "groups"), [*((name, 1) for name in SETTINGS), *GROUPED])
def test_settings_and_gradients(name: str, groups: int) -> None:
    x, w = array(2, 4, 7, 6), array(6, 4 // groups, 3, 2)
    equal(passes, x, w, **SETTINGS[name], feature_group_count=groups)


LAYOUTS: list[tuple[int, Any]] = [
    (2, NHWC),
    (2, ("NHWC", "OIHW", "NHWC")),
    (2, ("NCHW", "HWIO", "NHWC")),
    (1, ("NCW", "OIW", "NWC")),
    (3, ("NDHWC", "DHWIO", "NDHWC")),
    (3, None),
]


@pytest.mark.parametrize(("rank", "names"), LAYOUTS)
def test_layouts(rank: int, names: Any) -> None:
    sizes = {"N": 2, "C": 3, "D": 4, "H": 6, "W": 7, "O": 4, "I": 3}
    x_names, w_names = names[:2] if names else ("NCDHW", "OIDHW")
    x = array(*(sizes[letter] for letter in x_names))
    w = array(*({**sizes, "D": 2, "H": 3, "W": 2}[letter] for letter in w_names))
    settings = {"window_strides": (2,) * rank, "padding": "SAME", "dimension_numbers": names}
    equal(passes, x, w, **settings)


DERIVATIVES: dict[str, Any] = {
    "forward over reverse": lambda f: jax.hessian(f, (0, 1)),
    "reverse over reverse": lambda f: jax.jacrev(jax.grad(f, (0, 1)), (0, 1)),
    "directional": lambda f: lambda x, w: jax.jvp(jax.grad(f, (0, 1)), (x, w), (2 * x, w + 1)),
    "third": lambda f: jax.grad(lambda x, w: (jax.grad(f, 1)(x, w) * w).sum()),
}


@pytest.mark.parametrize("kind", DERIVATIVES)
def test_higher_derivatives(kind: str) -> None:
    x, w = array(1, 4, 4, 2), array(2, 2, 2, 2)

    def derivative(conv: Any, x: Any, w: Any, **settings: Any) -> Any:
        return DERIVATIVES[kind](partial(cube, conv, **settings))(x, w)

    how = {"window_strides": (2, 1), "padding": ((1, 0), (0, 1)), "dimension_numbers": NHWC}
    equal(derivative, x, w, **how)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [(0, None), (None, 3), (2, 4)])
def test_vmap(axes: tuple[int | None, int | None], groups: int) -> None:
    """Also of gradients, so of all three passes; the batch at any axis."""
    x, w = array(2, 4, 6, 5), array(6, 4 // groups, 3, 3)
    batch = [
        a if axis is None else jnp.stack([a + i for i in range(3)], axis)
        for a, axis in zip((x, w), axes, strict=True)
    ]
    settings = {"window_strides": (2, 1), "padding": "SAME", "feature_group_count": groups}

    def mapped(conv: Any, *operands: Any, **k: Any) -> Any:
        forward = jax.vmap(partial(call, conv, **k), axes)(*operands)
        return forward, jax.vmap(jax.grad(partial(cube, conv, **k), (0, 1)), axes)(*operands)

    equal(mapped, *batch, **settings)


def test_vmap_of_vmap() -> None:
    x, w = array(2, 3, 1, 2, 5, 5), array(3, 4, 2, 3, 3)

    def twice(conv: Any, x: Any, w: Any, **k: Any) -> Any:
        inner = jax.vmap(partial(call, conv, **k))
        return jax.vmap(inner, (0, None))(x, w)

    equal(twice, x, w, window_strides=(1, 1), padding="SAME")


def test_batch_groups() -> None:
    x, w = array(6, 2, 5, 5), array(9, 2, 3, 3)
    settings = {"window_strides": (1, 1), "padding": "SAME", "batch_group_count": 3}
    equal(passes, x, w, **settings)


@pytest.mark.parametrize("dtype", ["bfloat16", "int32"])
def test_dtypes(dtype: str) -> None:
    x, w = array(1, 3, 6, 6, dtype=dtype), array(4, 3, 3, 3, dtype=dtype)
    equal(call, x, w, window_strides=(1, 1), padding="SAME")


def test_gradient_of_complex_arrays_conjugates_nothing() -> None:
    x, w = array(1, 2, 4, 4) + 1j * array(1, 2, 4, 4), array(2, 2, 2, 2) * (1 + 2j)
    settings = {"window_strides": (1, 1), "padding": "SAME"}

    def gradients(conv: Any, *a: Any, **k: Any) -> Any:
        return jax.grad(lambda *a: cube(conv, *a, **k), (0, 1), holomorphic=True)(*a)

    equal(gradients, x, w, **settings)


@pytest.mark.parametrize(
    ("dtype", "preferred"), [("bfloat16", "float32"), ("int8", "int32"), ("float32", "float32")]
)
def test_preferred_element_type(dtype: str, preferred: str) -> None:
    x, w = 9 * array(1, 8, 6, 6, dtype=dtype), 9 * array(4, 8, 3, 3, dtype=dtype)
    settings: dict[str, Any] = {"window_strides": (1, 1), "padding": "SAME"}
    equal(call, x, w, **settings, preferred_element_type=jnp.dtype(preferred))


def test_precision_is_taken() -> None:
    x, w = array(1, 2, 5, 5), array(3, 2, 3, 3)
    expected = ours(x, w, (1, 1), "SAME")  # not compiled as a whole
    for precision in ("highest", lax.Precision.HIGH, ("default", "highest")):
        assert (ours(x, w, (1, 1), "SAME", precision=precision) == expected).all()
    with pytest.raises(ValueError, match="middling"):
        ours(x, w, (1, 1), "SAME", precision="middling")


X, W = np.zeros((2, 4, 5, 5), np.float32), np.zeros((6, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        ((X, W[:, :3], (1, 1), "SAME"), {}, ValueError, "lhs must have 3 channels"),
        ((X, W, (1, 1), ((0, 0),)), {}, ValueError, "padding must be 2 .low, high. pairs"),
        ((X, W, (0, 1), "SAME"), {}, ValueError, "window_strides must be at least 1"),
        ((X, W, (1,), "SAME"), {}, ValueError, "window_strides must be an integer or a tuple of 2"),
        ((X, W.astype(np.int32), (1, 1), "SAME"), {}, TypeError, "rhs must have the dtype of lhs"),
        ((X > 0, W > 0, (1, 1), "SAME"), {}, TypeError, "lhs must"),
        ((X[:, :, :2], W, (1, 1), "VALID"), {}, ValueError, "rhs must fit into the padded lhs"),
        (
            (X, W, (1, 1), "SAME"),
            {"lhs_dilation": (2, 2)},
            ValueError,
            "padding must be .low, high.",
        ),
        ((X, W, (1, 1), "SAME"), {"batch_group_count": 3}, ValueError, "lhs must have a batch"),
        (
            (X, W, (1, 1), "SAME"),
            {"batch_group_count": 2, "feature_group_count": 2},
            ValueError,
            "feature_group_count must be 1",
        ),
        ((X[0, 0], W[0, 0], (), "SAME"), {}, ValueError, "one to three spatial axes"),
    ],
)
def test_errors_come_when_traced(
    arguments: Any, settings: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ours(*arguments, **settings)
    how = dict(zip(("window_strides", "padding"), arguments[2:], strict=True))
    with pytest.raises(error, match=message):
        jax.eval_shape(partial(ours, **how, **settings), *arguments[:2])


def test_settings_travel_with_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA's threads see what was in force when the call was traced, and may be others."""
    seen = []
    compute = operation.host.compute

    def watched(*arguments: Any) -> Any:
        seen.append((fastconv.options_now(), threading.get_ident()))
        return compute(*arguments)

    from fastconv.options import current

    monkeypatch.setattr(fastconv, "options_now", current, raising=False)
    monkeypatch.setattr(operation.host, "compute", watched)
    x, w = array(1, 2, 5, 5), array(3, 2, 3, 3)
    with fastconv.options(threads=1, winograd=False):
        f = jax.jit(partial(ours, window_strides=(1, 1), padding="SAME")).lower(x, w).compile()
    with fastconv.options(threads=3, winograd=True):
        f(x, w).block_until_ready()
    ((settings, _),) = seen
    assert (settings.threads, settings.winograd) == (1, False)


def test_an_operation_is_what_its_text_says() -> None:
    x, w = array(1, 2, 5, 5), array(3, 2, 3, 3)
    traced = jax.make_jaxpr(partial(ours, window_strides=(1, 1), padding="SAME"))(x, w)
    (equation,) = traced.eqns
    made = equation.params["operation"]
    assert operation.from_text(made.text().encode()) == made


def test_a_failure_in_the_handler_is_an_error_in_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(operation.host, "compute", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="fastconv: MemoryError: no room"):
        ours(array(1, 2, 6, 5), array(3, 2, 3, 3), (1, 1), "SAME").block_until_ready()


def test_smaller_structures_than_known_are_refused() -> None:
    frame = call_frame._Frame()
    frame.size = 8
    with pytest.raises(call_frame.Unknown, match="_Frame has 8 bytes"):
        call_frame._execute(frame)


def test_many_calls_at_once() -> None:
    """From several Python threads, and several in one program that XLA may run side by side."""
    x, w = array(4, 16, 32, 32), array(16, 16, 3, 3)

    def several(conv: Any, x: Any, w: Any) -> Any:
        return sum(conv(x + i, w, (1, 1), "SAME") for i in range(6))

    expected = np.asarray(several(lax.conv_general_dilated, x, w))
    compiled = jax.jit(partial(several, ours)).lower(x, w).compile()
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: np.asarray(compiled(x, w)), range(12)):
            np.testing.assert_array_equal(result, expected)


LARGE = """
import jax, jax.numpy as jnp, numpy as np
import fastconv.jax
from fastconv.jax import primitive
primitive.{route}()
conv = fastconv.jax.conv_general_dilated
x = jnp.asarray(np.arange(2 * 16 * 200 * 200).reshape(2, 16, 200, 200) % 5 - 2, jnp.float32)
w = jnp.asarray(np.arange(16 * 16 * 9).reshape(16, 16, 3, 3) % 3 - 1, jnp.float32)
twice = lambda f, x, w: f(f(x, w, (1, 1), "SAME"), w, (1, 1), "SAME")
loss = jax.jit(lambda f, x, w: twice(f, x, w).sum(), static_argnums=0)
once = lambda f, x, w: f(x, w, (1, 1), "SAME").sum()
grads = jax.jit(jax.grad(once, (1, 2)), static_argnums=0)
with fastconv.options(winograd=False):
    for _ in range(3):
        got, (dx, dw) = loss(conv, x, w), grads(conv, x, w)
print(bool(jnp.all(dx == grads(jax.lax.conv_general_dilated, x, w)[0])))
"""


@pytest.mark.parametrize("route", ["lower_by_handler", "lower_by_callback"])
def test_large_arrays_do_not_lock_up(route: str) -> None:
    """A callback that waits for XLA's own threads might for ever: this would time out."""
    assert run_script(LARGE.format(route=route), timeout=120).split() == ["True"]


CALLBACK = """
import jax, jax.numpy as jnp, numpy as np
jax.ffi.include_dir = lambda: {folder!r}
import fastconv, fastconv.jax
x = jnp.asarray(np.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8) % 5, jnp.float32)
w = jnp.asarray(np.arange(4 * 3 * 9).reshape(4, 3, 3, 3) % 3, jnp.float32)
f = jax.jit(lambda f, x, w: f(x, w, (2, 1), "SAME"), static_argnums=0)
ours = fastconv.jax.conv_general_dilated
with fastconv.options(winograd=False):
    assert (f(ours, x, w) == f(jax.lax.conv_general_dilated, x, w)).all()
    print("callback" in f.lower(ours, x, w).as_text())
"""


@pytest.mark.parametrize(
    ("text", "by_callback"), [("MAJOR 0\n", False), ("MAJOR 1\n", True), (None, True)]
)
def test_callbacks_where_the_interface_is_unknown(
    tmp_path: Path, text: str | None, by_callback: bool
) -> None:
    if text:
        header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
        header.parent.mkdir(parents=True)
        header.write_text(f"#define XLA_FFI_API_{text}")
    assert run_script(CALLBACK.format(folder=str(tmp_path))).split() == [str(by_callback)]


def test_importing_fastconv_imports_no_adapter() -> None:
    names = "import sys, fastconv; print({'jax', 'dask', 'distributed'} & set(sys.modules))"
    assert run_script(names).strip() == "set()"


def test_products_of_all_layouts_meet_in_one_program() -> None:
    """A program of both layouts, differentiated as a whole."""
    x, first, second = array(2, 6, 6, 3), array(3, 3, 3, 4), array(5, 4, 3, 3)

    def network(conv: Any, x: Any, *weights: Any) -> Any:
        y = conv(x, weights[0], (1, 1), "SAME", dimension_numbers=NHWC)
        y = conv(y.transpose(0, 3, 1, 2), weights[1], (2, 2), "SAME", dimension_numbers=NCHW)
        return (y**2).sum()

    equal(lambda conv, *a: jax.grad(partial(network, conv), (0, 1, 2))(*a), x, first, second)


def test_axes_cover_every_pair_of_operands() -> None:
    """Each pass shares one index with each operand, which is how a batch of one is folded."""
    for result, operands in operation.OPERANDS.items():
        for name in operands:
            assert len(set(primitive._INDICES[name]) & set(primitive._INDICES[result])) == 1
    assert {frozenset((r, *o)) for r, o in operation.OPERANDS.items()} == {frozenset("xwy")}


def test_batches_of_nothing() -> None:
    x, w = array(0, 2, 3, 5, 5), array(4, 3, 3, 3)
    for conv in (ours, lax.conv_general_dilated):
        run = jax.vmap(lambda x, conv=conv: conv(x, w, (1, 1), "VALID"))
        assert run(x).shape == (0, 2, 4, 3, 3)
        grouped = conv(array(0, 3, 5, 5), w, (1, 1), "VALID", batch_group_count=2)
        assert grouped.shape == (0, 4, 3, 3)
    kernels = jax.vmap(lambda w: ours(x[0:0, 0], w, (1, 1), "VALID"))(w[None])
    assert kernels.shape == (1, 0, 4, 3, 3)
