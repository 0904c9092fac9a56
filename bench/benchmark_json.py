"""pytest-benchmark's own JSON form, for figures that it did not time itself.

`header` and `entry` make what ``pytest bench --benchmark-json`` would have written, so that the
same tools read either: pytest-benchmark's, and ``python -m bench.report``.
"""

import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest_benchmark
from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import get_commit_info

RECORDS = "benchmarks"  # the list of entries beside the header's names


def without_clock(machine_info: dict[str, Any]) -> dict[str, Any]:
    """Leave out the processor's clock of this moment, by which two runs would always differ."""
    cpu = machine_info["cpu"]
    return machine_info | {"cpu": {key: cpu[key] for key in cpu if "hz_actual" not in key}}


@functools.cache
def _host() -> dict[str, Any]:
    """What pytest-benchmark says of the machine, which takes it a while."""
    return without_clock(pytest_benchmark_generate_machine_info())


def header(device: Mapping[str, Any], what: Mapping[str, Any]) -> dict[str, Any]:
    """Say where and when: the machine, the device in it, and what of fastconv's ran there.

    Parameters
    ----------
    device
        Its ``kind``, its ``name``, and whatever else is known of it.
    what
        ``versions`` and other facts, the same from run to run.
    """
    return {
        "machine_info": _host() | {"device": dict(device), "fastconv": dict(what)},
        "commit_info": get_commit_info(),
        "datetime": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": pytest_benchmark.__version__,
    }


def entry(
    test: str,
    params: Mapping[str, str],
    group: str,
    extra_info: Mapping[str, Any],
    seconds: Sequence[float],
    timer: str,
) -> dict[str, Any]:
    """One benchmark: its rounds' seconds with the statistics that pytest-benchmark makes of them.

    Parameters
    ----------
    test
        Where it comes from, as ``path::name``.
    params
        What tells it from others of the same test.
    group
        What is compared in one table.
    extra_info
        The figure's record.
    seconds
        One a round.
    timer
        What took them.
    """
    stats = Stats()
    for value in seconds:
        stats.update(value)
    param = "-".join(params.values())
    return {
        "group": group,
        "name": f"{test.rpartition('::')[2]}[{param}]",
        "fullname": f"{test}[{param}]",
        "params": dict(params),
        "param": param,
        "extra_info": dict(extra_info),
        "options": {"timer": timer},
        "stats": stats.as_dict() | {"data": list(seconds), "iterations": 1},
    }
