"""The CUDA kernels that plans choose from, and the instructions each must be made of.

A new kernel is one line in `CONTAINS`, and one in `FAMILIES` if it has a table of tiles.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

from cases import Case, simple
from covering import Row, pairwise
from cuda_cases import CASES, PASSES, geometry

from fastconv.cuda import (
    borders,
    hopper,
    hopper_gradient,
    hopper_steps,
    simt,
    simt_gradient,
    simt_steps,
    staging,
    tensor,
    tensor_gradient,
    tensor_steps,
    tiles,
)
from fastconv.cuda.convolution import Operands, make_plan
from fastconv.cuda.program import Kernel, compiled

KINDS = ("f32", "f64", "f16", "bf16")
HALVES = ("f16", "bf16")
PRODUCTS = (*HALVES, "tf32")


class Family(NamedTuple):
    """A factory of kernels, and the choices of its constants."""

    factory: Callable[..., Any]
    factors: dict[str, tuple[Any, ...]]
    constants: Callable[[Row], tuple[Any, ...]]
    main: tuple[str, ...]  #: kinds whose speed matters most
    allowed: Callable[[Row], bool] = lambda row: True

    def few(self) -> list[Kernel]:
        """Kernels in which each pair of choices meets, and one of each lesser kind."""
        rows = pairwise(self.factors | {"kind": self.main}, self.allowed)
        first = {name: values[0] for name, values in self.factors.items()}
        rows += [first | {"kind": k} for k in self.factors["kind"] if k not in self.main]
        return self._kernels(rows)

    def every(self) -> list[Kernel]:
        """All of them."""
        rows = (
            dict(zip(self.factors, row, strict=True)) for row in product(*self.factors.values())
        )
        return self._kernels([row for row in rows if self.allowed(row)])

    def _kernels(self, rows: list[Row]) -> list[Kernel]:
        return [compiled(self.factory, *self.constants(row)) for row in rows]


def _in_registers(row: Row) -> bool:
    # Four float64 are more than one load, and leave no registers for uneven tiles.
    vectors = row["vector"], row.get("vector_dy")
    return row["kind"] != "f64" or (4 not in vectors and row["tile"].lane_columns == 4)


def _rounds(row: Row) -> bool:
    # Whether the source is rounded to TF32 already is nothing to other kinds.
    return row["kind"] == "tf32" or not row["rounded"]


_AXES = {"axes": (2, 3)}
_TARGETS = {"y_vector": (1, 4), "y_dense": (False, True)}

FAMILIES = (
    Family(
        simt.correlate,
        {"kind": KINDS, "tile": tuple(simt_steps.TILES), "vector": (1, 4), **_AXES},
        lambda r: (
            r["kind"],
            *r["tile"],
            tiles.simt_depth(r["tile"], r["kind"]),
            r["vector"],
            r["axes"],
        ),
        ("f32",),
        _in_registers,
    ),
    Family(
        simt_gradient.weight_gradient,
        {
            "kind": KINDS,
            "tile": tuple(simt_steps.GRADIENT_TILES),
            "vector_dy": (1, 4),
            "vector": (1, 4),
            **_AXES,
        },
        lambda r: (
            *(r["kind"], *r["tile"], tiles.simt_depth(r["tile"], r["kind"])),
            *(r["vector_dy"], r["vector"], r["axes"]),
        ),
        ("f32",),
        _in_registers,
    ),
    Family(
        tensor.correlate,
        {
            "kind": PRODUCTS,
            "tile": tuple(tensor_steps.TILES),
            "rounded": (False, True),
            **_AXES,
            **_TARGETS,
        },
        lambda r: (
            *(r["kind"], *r["tile"], r["axes"], r["rounded"]),
            *(r["y_vector"], r["y_dense"]),
        ),
        ("f16", "tf32"),
        _rounds,
    ),
    Family(
        tensor_gradient.weight_gradient,
        {
            "kind": PRODUCTS,
            "tile": tuple(tensor_steps.GRADIENT_TILES),
            "rounded": (False, True),
            **_AXES,
        },
        lambda r: (r["kind"], *r["tile"], tiles.TENSOR_DEPTH[r["kind"]], r["axes"], r["rounded"]),
        ("f16", "tf32"),
        _rounds,
    ),
    Family(
        hopper.correlate,
        {
            "kind": PRODUCTS,
            "tile": tuple(hopper_steps.TILES),
            "packed": (False, True),
            **_AXES,
            **_TARGETS,
        },
        lambda r: (
            *(r["kind"], *r["tile"][1:], r["axes"], r["packed"]),
            *(r["y_vector"], r["y_dense"]),
        ),
        ("f16", "tf32"),
        lambda r: r["packed"] or r["kind"] in HALVES,
    ),
    Family(
        hopper_gradient.weight_gradient,
        {"kind": HALVES, "tile": tuple(hopper_steps.GRADIENT_TILES), **_AXES},
        lambda r: (r["kind"], *r["tile"], r["axes"]),
        ("f16",),
    ),
    Family(
        staging.pack_blocks,
        {"kind": PRODUCTS, "tile": tuple(hopper_steps.TILES)},
        lambda r: ("f32" if r["kind"] == "tf32" else r["kind"], r["kind"], r["tile"].columns),
        ("tf32",),
    ),
)


def _products(kind: str) -> str:
    return "DFMA" if kind == "f64" else "FFMA"


def _register_tile(c: Row) -> Row:
    """8 x 8 products of each thread for each pair of a slice; packed weights in vectors."""
    weights = {"LDG.128": 1, "STS.128": 1}
    return {_products(c["kind"]): 64 * c["depth"], "LDS.128": 4} | weights


def _register_gradient(c: Row) -> Row:
    """The same for each pixel; what lies in vectors of channels is read and stored so."""
    vectors = 4 in (c["vector_dy"], c["vector_x"])
    read = "LDG.64" if c["kind"] in HALVES else "LDG.128"
    wide = {read: 1, "STS.128": 1} if vectors else {}
    return {_products(c["kind"]): 64 * c["depth"], "LDS.128": 4} | wide


def _matrix_tile(c: Row) -> Row:
    """Products of 16 x 8 sums for 32 bytes of a row of 128."""
    count = 128 // 32 * c["row_blocks"] * 2 * c["column_blocks"]
    return {"HMMA": count, "LDGSTS.128": 2, "LDSM": 4, "STG": 1}


def _matrix_gradient(c: Row) -> Row:
    steps = c["depth"] // (8 if c["kind"] == "tf32" else 16)
    turned = "LDS" if c["kind"] == "tf32" else "LDSM"
    count = steps * c["row_blocks"] * 2 * c["column_blocks"]
    return {"HMMA": count, "LDGSTS.128": 2, turned: steps, "STG": 1}


def _plain(c: Row) -> Row:
    return {_products(c["kind"]): 1, "LDG": 2, "STG": 1}


def _moved(c: Row) -> Row:
    return {"LDG": 1, "STG": 1}


def _turned_around(c: Row) -> Row:
    """Squares that go through shared memory, to be read and written along their rows."""
    return {"LDG": 1, "STS": 1, "LDS": 1, "STG": 1}


# What a kernel's instructions must be, at least, by its module's and its factory's name.
CONTAINS: dict[str, Callable[[Row], Row]] = {
    "simt.correlate": _register_tile,
    "simt_gradient.weight_gradient": _register_gradient,
    "tensor.correlate": _matrix_tile,
    "tensor_gradient.weight_gradient": _matrix_gradient,
    "hopper.correlate": lambda c: {
        "HGMMA": 4,
        "LDGSTS.128": 1,
        "STG": 1,
        **({"UBLKCP": 1} if c["packed"] else {}),
    },
    "hopper_gradient.weight_gradient": lambda c: {"HGMMA": 4, "LDGSTS.128": 2, "STG": 1},
    "staging.pack_weights": _turned_around,
    "staging.pack_blocks": _moved,
    "staging.channels_last": _turned_around,
    "staging.add_splits": _moved,
    "direct.correlation": _plain,
    "direct.weight_sum": _plain,
    "depthwise.rectangles": _plain,
    "depthwise_gradient.rectangle_sums": _plain,
    "columns.unfold_image": _moved,
    "columns.fold_columns": _moved,
    "columns.product": lambda c: _plain(c) | {"LDS": 2, "STS": 2},
    "columns.gradient_product": lambda c: _plain(c) | {"LDS": 2, "STS": 2},
    "borders.pad_images": _moved,
    "borders.fold_images": _moved,
    "bias.share_sums": lambda c: {"LDG": 1, "DADD": 1, "STG": 1},
    "bias.add_shares": lambda c: {"LDG": 1, "DADD": 1, "STG": 1},
}

# Layers of networks, for the kernels whose constants follow from the geometry.
LAYERS = {
    "3x3": simple(8, 64, 64, (56, 56), (3, 3), pad=1),
    "stem": simple(8, 3, 64, (56, 56), (7, 7), pad=3, stride=2),
    "depthwise": simple(64, 32, 32, (112, 112), (3, 3), pad=1, groups=32),
    "depthwise, stride 2": simple(64, 64, 64, (112, 112), (3, 3), pad=1, stride=2, groups=64),
    "depthwise 5x5": simple(8, 40, 40, (28, 28), (5, 5), pad=2, groups=40),
    "depthwise 7x7": simple(8, 96, 96, (56, 56), (7, 7), pad=3, groups=96),
    "depthwise, 1-D": simple(8, 16, 16, (500,), (4,), pad=2, groups=16),
}
_LAID = ("channels_first", "channels_last")


def planned(
    case: Case, which: str, kind: str, layout: str, algorithm: str, capability: Any = (9, 0)
) -> list[Kernel]:
    """The kernels of a pass's plan for arrays of a layout."""
    g = geometry(case)
    shapes = {
        "forward": (g.input_shape, g.weight_shape, g.output_shape),
        "weight_gradient": (g.input_shape, g.output_shape, g.weight_shape),
        "input_gradient": (g.output_shape, g.weight_shape, g.input_shape),
        "bias_gradient": (g.output_shape, (), (g.K,)),
        "unfold": (g.input_shape, (), (g.N, g.C, *g.kernel, *g.output)),
        "fold": ((g.N, g.C, *g.kernel, *g.output), (), g.input_shape),
    }[which]
    laid = [_steps(shape, layout) for shape in shapes]
    element = "f32" if kind == "tf32" else kind
    arrays = Operands(element, *laid, capability=capability, tf32=kind == "tf32")
    return [step.kernel for step in make_plan(which, g, arrays, algorithm).program.steps]


def _steps(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    order = list(range(len(shape)))
    if layout == "channels_last" and len(shape) > 2:
        order = [0, *order[2:], 1]
    steps, step = [0] * len(shape), 1
    for axis in reversed(order):
        steps[axis], step = step, step * shape[axis]
    return tuple(steps)


def plain_kernels() -> list[Kernel]:
    """The kernels of plans beside those of `FAMILIES`, for every case, layer, kind and layout."""
    found: dict[tuple[Any, ...], Kernel] = {}
    tiled = {family.factory for family in FAMILIES}
    names = {f"{f.__module__.rpartition('.')[2]}.{f.__name__}" for f in tiled}
    cases = [*LAYERS.values(), *CASES.values()]
    for case, kind, layout in product(cases, (*KINDS, "tf32"), _LAID):
        runs = list(product(PASSES, ("auto", "im2col")))
        if kind != "tf32":
            runs += product(PASSES, ("direct", "columns"))
            runs += [(which, "auto") for which in ("bias_gradient", "unfold", "fold")]
        for which, algorithm in runs:
            for capability in ((8, 0), (9, 0)):
                for kernel in planned(case, which, kind, layout, algorithm, capability):
                    if kernel.name not in names:
                        found[kernel.name, kernel.constants] = kernel
    around = product((borders.pad_images, borders.fold_images), KINDS)
    return [*found.values(), *(compiled(factory, kind) for factory, kind in around)]


def compile_ahead(name: str, constants: tuple[Any, ...], target: tuple[int, int]) -> None:
    """Leave a kernel's PTX on disk; a kernel itself cannot be sent to another process."""
    module, _, factory = name.partition(".")
    make = getattr(import_module(f"fastconv.cuda.{module}"), factory)
    compiled(make, *constants).assembly(target)
