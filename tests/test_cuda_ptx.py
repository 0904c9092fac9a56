"""Every CUDA kernel compiles and assembles, without a GPU, into what it was written for."""

import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sass

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
if pytest.importorskip("fastconv.cuda.ptx", exc_type=ImportError).SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)
if sass.find_ptxas() is None:
    pytest.skip("ptxas is missing: pip install 'fastconv[dev]'", allow_module_level=True)

import cuda_variants
from cuda_variants import CONTAINS, FAMILIES, HALVES, LAYERS, compile_ahead
from kernel_factories import factories

from fastconv.cuda import (
    hopper,
    hopper_gradient,
    hopper_steps,
    simt,
    simt_steps,
    tensor,
    tensor_gradient,
    tensor_steps,
    tiles,
)
from fastconv.cuda.program import Kernel

AMPERE, HOPPER = (8, 0), (9, 0)
_REGISTERS = 65536  # of a multiprocessor
_MOST_REGISTERS = 255  # of a thread
_SHARED = {AMPERE: 163 * 1024, HOPPER: 227 * 1024}  # that a block may have
_PLAIN = cuda_variants.plain_kernels()


def _chosen() -> list[Any]:
    """Kernels and targets: those that matter for both, most others for one, the rest slow."""
    few = [kernel for family in FAMILIES for kernel in family.few()]
    firsts = [family.few()[0] for family in FAMILIES if not family.few()[0].only]
    kinds = {(k.name, dict(k.constants)["kind"]): k for k in _PLAIN if not _is_depthwise(k)}
    plain = {place: kernel for place, kernel in kinds.items() if place[1] in ("f32", "bf16")}
    named = [(k, HOPPER) for k in [*few, *plain.values(), *_layer_kernels()]]
    named += [(k, AMPERE) for k in [*firsts, *{k.name: k for k in _PLAIN}.values()]]
    named = list(dict.fromkeys(named))
    every = [kernel for family in FAMILIES for kernel in family.every()] + _PLAIN
    rest = [(k, target) for k in every for target in (HOPPER, AMPERE)]
    rest = [(k, target) for k, target in rest if target == HOPPER or not k.only]
    slow = [pair for pair in dict.fromkeys(rest) if pair not in set(named)]
    return [
        *(pytest.param(*pair, id=_name(*pair)) for pair in named),
        *(pytest.param(*pair, id=_name(*pair), marks=pytest.mark.slow) for pair in slow),
    ]


@pytest.fixture(scope="module", autouse=True)
def compiled_on_all_cores(request: pytest.FixtureRequest) -> None:
    """Compile ahead, in parallel: what takes nearly all the time."""
    if hasattr(request.config, "workerinput"):
        return  # the tests themselves are spread over the cores
    mine = (item for item in request.session.items if item.path == request.path)
    calls = [getattr(item, "callspec", None) for item in mine]
    chosen = [call.params for call in calls if call is not None and "kernel" in call.params]
    cores = min(os.cpu_count() or 1, len(chosen) // 8)
    if cores > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(cores, mp_context=spawn) as pool:
            for params in chosen:
                kernel = params["kernel"]
                constants = tuple(value for _, value in kernel.constants)
                pool.submit(compile_ahead, kernel.name, constants, params["target"])


def _is_depthwise(kernel: Kernel) -> bool:
    return kernel.name.startswith("depthwise")


def _layer_kernels() -> list[Kernel]:
    """What the depthwise layers of networks take."""
    cases = [case for name, case in LAYERS.items() if "depthwise" in name]
    runs = [("f32", "channels_first"), ("f16", "channels_last")]
    return [
        kernel
        for i, case in enumerate(cases)
        for j, which in enumerate(("forward", "weight_gradient", "input_gradient"))
        for kernel in cuda_variants.planned(case, which, *runs[(i + j) % 2], "auto")
    ]


def _name(kernel: Kernel, target: tuple[int, int]) -> str:
    constants = ",".join(str(value) for _, value in kernel.constants)
    return f"{kernel.name}({constants})-sm_{target[0]}{target[1]}"


@pytest.mark.parametrize(("kernel", "target"), _chosen())
def test_assembled(kernel: Kernel, target: tuple[int, int], tmp_path: Path) -> None:
    text = kernel.assembly(target).text
    assert not re.search(r"\b(atom|red)\.", text), "the order of atomic sums is left to chance"
    made = sass.assemble(text, f"sm_{target[0]}{target[1]}{'a' if kernel.only else ''}", tmp_path)
    assert (made.stack, made.spilled) == (0, 0)
    fit = _REGISTERS // (kernel.threads * kernel.blocks) // 8 * 8
    assert made.registers <= min(fit, _MOST_REGISTERS)
    needed = CONTAINS[kernel.name](dict(kernel.constants))
    found = {name: made.counts[name] for name in needed}
    assert all(found[name] >= count for name, count in needed.items()), (found, needed)


def test_every_factory_of_kernels_is_assembled() -> None:
    families = [kernel for family in FAMILIES for kernel in family.few()]
    assembled = {kernel.name for kernel in [*families, *_PLAIN]}
    assert assembled == set(CONTAINS) == factories("cuda", "Blocks")


def test_plans_choose_from_the_table() -> None:
    """Every kernel that a plan asks for is one of those that are compiled above."""
    families = {_key(kernel) for family in FAMILIES for kernel in family.every()}
    plain = {_key(kernel) for kernel in _PLAIN}
    for case in [*LAYERS.values(), *cuda_variants.CASES.values()]:
        for which in ("forward", "weight_gradient", "input_gradient"):
            for kind in ("f32", "f64", "f16", "bf16", "tf32"):
                for target in (AMPERE, HOPPER):
                    for kernel in cuda_variants.planned(
                        case, which, kind, "channels_last", "im2col", target
                    ):
                        assert _key(kernel) in families | plain


def _key(kernel: Kernel) -> tuple[Any, ...]:
    constants = dict(kernel.constants)
    if kernel.name.startswith("tensor") and constants["kind"] in HALVES:
        constants["rounded"] = False  # nothing to them
    return kernel.name, *constants.items()


def test_shared_memory_fits() -> None:
    both = [
        simt.slice_bytes(kind, tile, tiles.simt_depth(tile, kind))
        for tile in (*simt_steps.TILES, *simt_steps.GRADIENT_TILES)
        for kind in ("f32", "f64")
    ]
    both += [tensor.shared_bytes(tile) for tile in tensor_steps.TILES]
    both += [
        tensor_gradient.shared_bytes(kind, tile, depth)
        for tile in tensor_steps.GRADIENT_TILES
        for kind, depth in tiles.TENSOR_DEPTH.items()
    ]
    assert max(both) <= _SHARED[AMPERE]
    one = [hopper.shared_bytes(tile.columns, tile.stages) for tile in hopper_steps.TILES]
    one += [hopper_gradient.shared_bytes(*tile) for tile in hopper_steps.GRADIENT_TILES]
    assert max(one) <= _SHARED[HOPPER]
