"""What this machine is, as a report states it."""

import importlib.metadata
import os
import platform
from typing import Any

from llvmlite import binding as llvm

import fastconv
from bench import isa
from fastconv.machine import machine_info
from fastconv.roofs import copy_bandwidth, fma_peak

PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "torch", "jax", "jaxlib", "onnxruntime")
_ISAS = {512: "avx512", 256: "avx2"}  # of the vectors on x86-64


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Python's version, fastconv's and each installed package's."""
    found = {"python": platform.python_version(), "fastconv": fastconv.__version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def blas() -> list[str]:
    """The BLAS libraries loaded now and the kernels they chose, as NumPy's peer will use them."""
    threadpoolctl = importlib.import_module("threadpoolctl")
    return [
        f"{row['internal_api']} {row['version']} {row.get('architecture', '')}".strip()
        for row in threadpoolctl.threadpool_info()
        if row["user_api"] == "blas"
    ]


def identity() -> dict[str, Any]:
    """What the machine is, and what runs on it: names and versions, the same from run to run."""
    found = machine_info()
    vectors = _ISAS.get(found.vector_bits) if platform.machine() in ("x86_64", "AMD64") else None
    return {
        "device": {"kind": "cpu", "name": found.processor},
        "host": llvm.get_host_cpu_name(),  # whatever processor the kernels are compiled for
        "isa": vectors or f"{platform.machine().lower()}_{found.vector_bits}",
        "held_to": isa.held(),
        "environment": isa.variables(isa.held()),
        "cpu": f"{found.processor} ({found.target}, {found.vector_bits}-bit vectors)",
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }


def describe(dtypes: tuple[str, ...], threads: tuple[int, ...]) -> dict[str, Any]:
    """The machine as a report states it: what it is, and the two measured bounds."""
    return identity() | {
        "blas": blas(),
        "peak_gflops": {
            dtype: {str(count): round(fma_peak(dtype, count), 1) for count in threads}
            for dtype in dtypes
        },
        "copy_gbytes_per_second": {
            str(count): round(copy_bandwidth(count), 1) for count in threads
        },
    }
