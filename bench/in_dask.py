"""``python -m bench.in_dask``: a large image through one and two Dask workers, and what they send.

The workers are processes of one thread each on this machine. Timed are a convolution and its
weight gradient, computed where the image's chunks already lie; bytes are those that one worker sent
another while they ran, as the workers count them. Needs ``pip install 'fastconv[bench,dask]'``.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.summary import time_text

CHANNELS, KERNEL = 32, 3
DEALT, PLACED = "dealt", "placed"


@dataclass(frozen=True, slots=True)
class Figure:
    """A pass on so many workers: medians of seconds, and of bytes from one worker to another.

    The image's bands lie on the workers as Dask deals them out, or are placed: neighbours together.
    """

    pass_name: str
    workers: int
    bands: str
    seconds: float
    sent: int


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """A client of so many workers of one thread each."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit="8GB",
            dashboard_address=None,
        ) as started,
        distributed.Client(started) as client,
    ):
        yield client


def sent_bytes(dask_worker: Any = None) -> int:
    """What a worker has sent to others since it began."""
    return int(dask_worker.transfer_outgoing_bytes_total)


def measure(client: Any, size: int, chunk: int, bands: str, rounds: int) -> list[Figure]:
    """Time both passes of an image of ``size`` rows and columns in bands of ``chunk`` rows."""
    import dask.array as da
    import distributed

    import fastconv.dask as chunked

    workers = sorted(client.scheduler_info()["workers"])
    x = da.random.default_rng(0).standard_normal(
        (1, CHANNELS, size, size), dtype=np.float32, chunks=(1, CHANNELS, chunk, size)
    )
    x = _placed(client, x, workers) if bands == PLACED else x.persist()
    w = np.ones((CHANNELS, CHANNELS, KERNEL, KERNEL), np.float32)
    dy = chunked.conv2d(x, w, padding=1).persist()
    distributed.wait([x, dy])
    passes: dict[str, Callable[[float], Any]] = {
        "forward": lambda fresh: chunked.conv2d(x, w * np.float32(fresh), padding=1),
        "weight gradient": lambda _: chunked.conv2d_weight(x, w.shape, dy, padding=1),
    }
    figures = []
    for name, make in passes.items():
        seconds, sent = [], []
        for turn in range(rounds + 1):
            before = sum(client.run(sent_bytes).values())
            start = time.perf_counter()
            result = make(1 + turn).persist()
            distributed.wait(result)
            seconds.append(time.perf_counter() - start)
            del result
            sent.append(sum(client.run(sent_bytes).values()) - before)
        middle = median(seconds[1:]), int(median(sent[1:]))
        figures.append(Figure(name, len(workers), bands, *middle))
    return figures


def _placed(client: Any, x: Any, workers: list[str]) -> Any:
    """The image with an equal part of its bands, neighbours together, on each worker."""
    import dask.array as da

    bands = x.numblocks[2]
    cuts = [bands * i // len(workers) for i in range(len(workers) + 1)]
    parts = [
        client.persist(x.blocks[:, :, start:stop], workers=[worker], allow_other_workers=False)
        for worker, start, stop in zip(workers, cuts, cuts[1:], strict=False)
    ]
    return da.concatenate(parts, axis=2)


def table(figures: list[Figure]) -> Table:
    """The figures, a line for each."""
    result = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    for heading in ("pass", "bands"):
        result.add_column(heading, no_wrap=True)
    for heading in ("workers", "time", "sent"):
        result.add_column(heading, justify="right", no_wrap=True)
    for f in figures:
        sent = f"{f.sent / 1e6:.2f} MB"
        result.add_row(f.pass_name, f.bands, str(f.workers), time_text(f.seconds), sent)
    return result


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--size", default=2048, show_default=True, help="Rows and columns of the image.")
@click.option("--chunk", default=128, show_default=True, help="Rows of a band.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--workers", "counts", default=[1, 2], show_default=True, multiple=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(
    size: int, chunk: int, rounds: int, counts: tuple[int, ...], json_path: Path | None
) -> None:
    """Time an image of 32 channels on some numbers of workers, and count what they send."""
    figures = []
    for workers in counts:
        with cluster(workers) as client:
            for bands in (DEALT, PLACED)[: min(workers, 2)]:
                figures += measure(client, size, chunk, bands, rounds)
    Console(highlight=False).print(table(figures))
    if json_path:
        rows = [asdict(figure) for figure in figures]
        json_path.write_text(json.dumps(machine.identity() | {"figures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
