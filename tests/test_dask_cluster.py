"""Dask arrays on two worker processes of one thread each: memory, loss of a worker, threads."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import integers

import fastconv

pytest.importorskip("dask.array", reason="pip install 'fastconv[dask]'")
distributed = pytest.importorskip("distributed", reason="pip install 'fastconv[dask]'")
import dask  # noqa: E402
import dask.array as da  # noqa: E402

import fastconv.cpu.threads  # noqa: E402
import fastconv.dask as chunked  # noqa: E402
import fastconv.dask.tasks  # noqa: E402

LIMIT = 400 * 2**20  # bytes of a worker, of which its libraries take about half
SIDE, CHUNK = 18_000, 1_500  # an image of 1.3 GB in chunks of 9 MB
RNG = np.random.default_rng(7)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="the peak of a process's memory is Linux's to tell",
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    # Two threads of Numba in each worker, so that a task could take more than its share.
    settings = {"distributed.nanny.environ": {"NUMBA_NUM_THREADS": "2"}}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=LIMIT,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as started,
    ):
        yield started


def peak_of(process: str = "self") -> int:
    """The most bytes that a process has had in memory."""
    (line,) = (
        line for line in Path(f"/proc/{process}/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) * 1024


def image(block_id: tuple[int, ...]) -> np.ndarray:
    """A block of a large image of small integers, made where it is needed."""
    rows, columns = (np.arange(i * CHUNK, (i + 1) * CHUNK) for i in block_id[2:])
    return pattern(rows, columns)[None, None]


def large_image() -> da.Array:
    sides = (CHUNK,) * (SIDE // CHUNK)
    return da.map_blocks(image, chunks=((1,), (1,), sides, sides), dtype=np.float32)


@pytest.mark.usefixtures("client")
def test_passes_equal_those_in_memory() -> None:
    x, w = integers(RNG, (3, 4, 40, 30), "float32"), integers(RNG, (6, 2, 3, 3), "float32")
    how: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 0), (1, 1)), "groups": 2}
    y = fastconv.conv2d(x, w, **how)
    dy = integers(RNG, y.shape, "float32")
    x_blocks = da.from_array(x, chunks=(1, 2, 13, 30))
    y_blocks = chunked.conv2d(x_blocks, w, **how)
    grad = da.from_array(dy, chunks=y_blocks.chunks)
    dw = chunked.conv2d_weight(x_blocks, w.shape, grad, **how)
    dx = chunked.conv2d_input(x.shape, w, grad, chunks=x_blocks.chunks, **how)
    results = dask.compute(y_blocks, dw, dx)
    assert (results[0] == y).all()
    assert (results[1] == fastconv.conv2d_weight(x, w.shape, dy, **how)).all()
    assert (results[2] == fastconv.conv2d_input(x.shape, w, dy, **how)).all()


def test_image_larger_than_memory(client: Any) -> None:
    """All of an image three times as large as a worker's limit is read, and no limit is reached."""
    assert SIDE * SIDE * 4 > 3 * LIMIT
    x, w = large_image(), integers(RNG, (1, 1, 3, 3), "float32")
    y = chunked.conv2d(x, w, padding=1)
    dw = chunked.conv2d_weight(x, w.shape, chunked.conv2d(x, w, padding=1), padding=1)
    before = client.run(os.getpid)
    # A border of chunks in the middle, the sum of all, and a gradient of all.
    middle = y[..., CHUNK - 2 : CHUNK + 2, 5 * CHUNK - 3 : 5 * CHUNK + 3]
    shown, total, gradient = dask.compute(middle, y.sum(dtype=np.float64), dw.astype(np.float64))
    peaks = client.run(peak_of)
    assert client.run(os.getpid) == before, "a worker was restarted"
    assert max(peaks.values()) < LIMIT, peaks

    rows, columns = np.arange(CHUNK - 3, CHUNK + 3), np.arange(5 * CHUNK - 4, 5 * CHUNK + 4)
    assert (shown == fastconv.conv2d(pattern(rows, columns)[None, None], w)).all()
    assert total == expected_sum(w)
    # Sums of more than float32 counts exactly; the image's border is a 10000th of it.
    np.testing.assert_allclose(gradient[0, 0] / SIDE**2, mean_gradient(w), rtol=0, atol=0.02)


def pattern(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Small integers that repeat after 7 rows and 9 columns."""
    return ((rows[:, None] * 3 % 7 + columns * 5 % 9) % 5 - 2).astype(np.float32)


def mean_gradient(w: np.ndarray) -> np.ndarray:
    """What a pixel contributes to the weight gradient, on average over the pattern."""
    x = pattern(np.arange(-2, 9), np.arange(-2, 11))[None, None].astype(np.float64)
    y = fastconv.conv2d(x, w.astype(np.float64))
    return fastconv.conv2d_weight(x[..., 1:-1, 1:-1], w.shape, y[..., 1:-1, 1:-1])[0, 0] / 63


def expected_sum(w: np.ndarray) -> float:
    """The sum of the whole result: each tap's weight times the pixels that it ever lies on."""
    line = np.arange(SIDE)
    total = 0.0
    for r in range(3):
        for s in range(3):
            rows = line[max(r - 1, 0) : SIDE + min(r - 1, 0)]
            columns = line[max(s - 1, 0) : SIDE + min(s - 1, 0)]
            of_row = np.bincount(rows * 3 % 7, minlength=7)
            of_column = np.bincount(columns * 5 % 9, minlength=9)
            counts = np.outer(of_row, of_column)
            values = (np.arange(7)[:, None] + np.arange(9)) % 5 - 2
            total += float(w[0, 0, r, s]) * float((counts * values).sum())
    return total


def test_a_killed_worker_is_survived(client: Any) -> None:
    x, w = integers(RNG, (8, 3, 64, 64), "float32"), integers(RNG, (4, 3, 3, 3), "float32")
    x_blocks = da.from_array(x, chunks=(1, 3, 32, 64))
    y = chunked.conv2d(x_blocks, w, padding=1).persist()
    distributed.wait(y)
    lost = next(worker for worker, keys in client.has_what().items() if keys)
    pid = client.run(os.getpid)[lost]
    # The gradient needs chunks that are gone with the worker, and is under way when it goes.
    in_memory = fastconv.conv2d(x, w, padding=1)
    dw = client.compute(chunked.conv2d_weight(x_blocks, w.shape, y, padding=1))
    os.kill(pid, signal.SIGKILL)
    assert (dw.result() == fastconv.conv2d_weight(x, w.shape, in_memory, padding=1)).all()
    assert (y.compute() == in_memory).all()
    client.wait_for_workers(2)
    assert pid not in client.run(os.getpid).values()


def threads_of_a_task(threads: int | None) -> tuple[int, int]:
    """How many threads fastconv may use in this process, and in a chunk's task."""
    x, w = da.ones((1, 4, 8, 8), chunks=-1, dtype=np.float32), np.ones((4, 4, 3, 3), np.float32)
    seen = []

    def watched(*arguments: Any, out: np.ndarray, **_: Any) -> None:
        seen.append(fastconv.cpu.threads.allowed())
        out[...] = 0

    with fastconv.options(threads=threads):
        y = chunked.conv2d(x, w)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastconv.dask.tasks, "FORWARD", (watched,) * 3)
        y.compute(scheduler="sync")
    (in_task,) = seen
    return fastconv.cpu.threads.most(), in_task


def test_tasks_take_one_thread_unless_told(client: Any) -> None:
    assert client.submit(threads_of_a_task, None, pure=False).result() == (2, 1)
    assert client.submit(threads_of_a_task, 2, pure=False).result() == (2, 2)
