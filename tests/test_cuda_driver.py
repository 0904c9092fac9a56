"""Launches as the driver sees them, on a driver that only writes down what it is given."""

import contextlib
import ctypes
import gc
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from fastconv.cuda import driver, program
from fastconv.cuda.ptx import SIMULATED

if SIMULATED:
    pytest.skip("the simulator launches by itself", allow_module_level=True)


class FakeDriver:
    """Keeps the arguments of each launch as the device would see them, and counts allocations."""

    CUresult = types.SimpleNamespace(CUDA_SUCCESS=0)
    CUstreamCaptureStatus = types.SimpleNamespace(CU_STREAM_CAPTURE_STATUS_NONE=0)
    CUstream_flags = types.SimpleNamespace(CU_STREAM_NON_BLOCKING=1)

    def __init__(self, arguments: int) -> None:
        self.arguments = arguments
        self.launches: list[tuple[Any, ...]] = []
        self.living: set[int] = set()
        self.capturing = 0
        self.tables: dict[int, list[int]] = {}

    def cuLaunchKernel(self, *given: Any) -> tuple[int]:  # noqa: N802 - the driver's own name
        *how, places, extra = given
        pointers = (ctypes.c_void_p * self.arguments).from_address(places)
        values = [ctypes.c_int64.from_address(pointer).value for pointer in pointers]
        self.launches.append((tuple(how), values, extra))
        return (0,)

    def cuMemAllocFromPoolAsync(self, size: int, pool: object, stream: int) -> tuple[int, int]:  # noqa: N802
        address = (len(self.living) + 1) << 40
        self.living.add(address)
        return 0, address

    def cuStreamIsCapturing(self, stream: int) -> tuple[int, int]:  # noqa: N802
        return 0, self.capturing

    def cuMemAlloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        return (1, 0) if size == 0 else (0, 4096 * (1 + len(self.tables)))

    def cuStreamCreate(self, flags: int) -> tuple[int, str]:  # noqa: N802
        return 0, "copies"

    def cuMemcpyHtoDAsync(  # noqa: N802
        self, address: int, source: int, size: int, stream: object
    ) -> tuple[int]:
        assert stream == "copies"
        self.tables[address] = list((ctypes.c_int32 * (size // 4)).from_address(source))
        return (0,)

    def cuStreamSynchronize(self, stream: object) -> tuple[int]:  # noqa: N802
        return (0,) if stream == "copies" else (1,)

    def cuMemFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.tables[address]
        return (0,)

    def cuMemFreeAsync(self, address: int, stream: int) -> tuple[int]:  # noqa: N802
        self.living.remove(address)
        return (0,)


def _kernel_factory(tile: int) -> Any:
    def kernel(x, w, y, bias, workspace, table, N, pitch):  # type: ignore[no-untyped-def]
        pass

    return kernel, program.Blocks(tile)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    made = FakeDriver(arguments=8)
    monkeypatch.setattr(driver, "cu", made)
    monkeypatch.setattr(driver, "_pool", lambda ordinal: "pool")
    monkeypatch.setattr(driver, "function", lambda kernel, shared, ordinal: kernel.name)
    monkeypatch.setattr(driver, "device", lambda: 0)
    monkeypatch.setattr(driver, "current", lambda ordinal: contextlib.nullcontext())
    driver._copy_stream.cache_clear()
    yield made
    driver._copy_stream.cache_clear()


def _step(**changes: Any) -> program.Step:
    kernel = program.compiled(_kernel_factory, 64)
    sizes = {"pitch": -7, "N": 2**40}
    return program.Step(kernel, (3, 2, 1), sizes, **{"shared": 1024, **changes})


def test_a_launch_hands_over_addresses_and_then_sizes_in_the_kernels_order(
    fake: FakeDriver,
) -> None:
    program.Program([_step(bias=True)]).run(11, 22, 33, 44, stream=5)
    how, values, extra = fake.launches[0]
    assert how[1:] == (3, 2, 1, 64, 1, 1, 1024, 5)
    assert values == [11, 22, 33, 44, 0, 0, 2**40, -7]
    assert extra == 0


def test_the_bias_goes_only_to_steps_that_add_it(fake: FakeDriver) -> None:
    program.Program([_step(), _step(bias=True)]).run(1, 2, 3, 4)
    assert [values[3] for _, values, _ in fake.launches] == [0, 4]


def test_staged_operands_are_places_in_the_workspace(fake: FakeDriver) -> None:
    steps = [_step(source="w", target=256), _step(weights=256, target_offset=12)]
    program.Program(steps, workspace=512).run(1, 2, 1000)
    scratch = fake.launches[0][1][4]
    assert fake.launches[0][1][:3] == [2, 2, scratch + 256]
    assert fake.launches[1][1][:3] == [1, scratch + 256, 1012]


def test_scratch_memory_is_given_back(fake: FakeDriver) -> None:
    made = program.Program([_step()], workspace=512)
    for _ in range(3):
        made.run(1, 2, 3)
    assert not fake.living


def test_a_second_call_uses_new_addresses(fake: FakeDriver) -> None:
    made = program.Program([_step()])
    made.run(1, 2, 3)
    made.run(4, 5, 6)
    assert fake.launches[1][1][:3] == [4, 5, 6]


def test_scratch_memory_is_given_back_when_a_launch_fails(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> tuple[int]:
        raise RuntimeError("no")

    monkeypatch.setattr(fake, "cuLaunchKernel", refuse)
    with pytest.raises(RuntimeError, match="no"):
        program.Program([_step()], workspace=512).run(1, 2, 3)
    assert not fake.living


def test_tables_are_copied_once_and_freed_with_their_program(fake: FakeDriver) -> None:
    made = program.Program([_step(table=np.array([[5, 6]], np.int32)), _step()])
    made.run(1, 2, 3)
    made.run(1, 2, 3)
    assert list(fake.tables.values()) == [[5, 6]]
    assert [values[5] for _, values, _ in fake.launches] == [4096, 0] * 2
    del made
    gc.collect()
    assert not fake.tables


def test_a_part_without_taps_has_no_table_to_copy(fake: FakeDriver) -> None:
    program.Program([_step(table=np.zeros((0, 4), np.int32))]).run(1, 2, 3)
    assert fake.launches[0][1][5] == 0


def test_tables_outlive_a_graph_that_captured_their_address(fake: FakeDriver) -> None:
    fake.capturing = 1
    program.Program([_step(table=np.array([[7]], np.int32))]).run(1, 2, 3)
    gc.collect()
    assert list(fake.tables.values()) == [[7]]
    program._captured.clear()


def test_an_older_gpu_is_told_what_a_kernel_needs() -> None:
    kernel = program.compiled(_kernel_factory, 64)
    with pytest.raises(RuntimeError, match=r"compute capability 8.0 or later, got 7.5"):
        kernel.assembly((7, 5))


def test_older_drivers_may_take_the_text() -> None:
    from fastconv.cuda import hopper, staging

    for kernel in (
        program.compiled(staging.add_splits, "f32"),
        program.compiled(hopper.correlate, "f16", 64, 4, 2, True, 4, True),
    ):
        assert ".version 8.0" in kernel.assembly((9, 0)).text


def test_a_refusal_of_the_driver_is_told_in_its_own_words(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "cuLaunchKernel", lambda *given: (719,))
    monkeypatch.setattr(
        fake, "cuGetErrorName", lambda status: (0, b"CUDA_ERROR_LAUNCH_FAILED"), raising=False
    )
    monkeypatch.setattr(
        fake, "cuGetErrorString", lambda status: (0, b"unspecified launch failure"), raising=False
    )
    with pytest.raises(RuntimeError, match="CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure"):
        program.Program([_step()]).run(1, 2, 3)


def test_a_step_must_give_all_sizes() -> None:
    kernel = program.compiled(_kernel_factory, 64)
    with pytest.raises(TypeError, match="pitch"):
        program.Step(kernel, (1, 1, 1), {"N": 1})


def test_a_kernel_takes_the_addresses_first() -> None:
    def factory(tile: int) -> Any:
        return (lambda y, x: None), program.Blocks(tile)

    with pytest.raises(TypeError, match="arguments"):
        program.compiled(factory, 1)


def test_every_argument_of_a_compiled_kernel_is_64_bits_wide() -> None:
    from fastconv.cuda import staging

    kernel = program.compiled(staging.add_splits, "f32")
    text = kernel.assembly((9, 0)).text
    parameters = [line for line in text.splitlines() if line.strip().startswith(".param")]
    assert len(parameters) == 6 + len(kernel.sizes)
    assert all(".u64" in line for line in parameters)
