"""What fastconv found on this machine: the processor, its vectors, threads, a GPU, the cache."""

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numba
from llvmlite import binding as llvm

from .cpu import kernel_cache, threads
from .cpu.simd import VECTOR_BITS

# The extensions that decide how wide a kernel's vectors are and what they can do.
_TELLING = ("sse2", "fma", "avx", "avx2", "avx512f", "avx512bf16", "amx-tile", "neon", "sve")


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about this machine that decide how fast a convolution runs.

    Attributes
    ----------
    processor : str
        The processor's name, as its maker gives it.
    target : str
        The processor that kernels are compiled for.
    features : tuple of str
        Those of the processor's vector extensions that matter here.
    vector_bits : int
        Width of the vectors that the kernels use.
    threads : int
        Threads that a parallel kernel runs on.
    threading_layer : str
        What runs them, or "none" where there is only one.
    alone : str
        When calls run on the calling thread alone all the same.
    gpu : str or None
        The name of the first CUDA device.
    cache_folder : str
        Where compiled kernels are kept, or that there is no place.
    """

    processor: str
    target: str
    features: tuple[str, ...]
    vector_bits: int
    threads: int
    threading_layer: str
    alone: str
    gpu: str | None
    cache_folder: str


def machine_info() -> Machine:
    """Return what fastconv found on this machine.

    Returns
    -------
    Machine
        Facts, none of which needs a kernel to be compiled.

    Examples
    --------
    >>> from fastconv.machine import machine_info
    >>> machine_info().vector_bits in (128, 256, 512)
    True
    """
    return Machine(
        processor=_processor_name(),
        target=numba.config.CPU_NAME or llvm.get_host_cpu_name(),
        features=_features(),
        vector_bits=VECTOR_BITS,
        threads=threads.allowed(),
        threading_layer=threads.layer(),
        alone=threads.told(),
        gpu=_gpu_name(),
        cache_folder=str(kernel_cache.store.place() or "none: no folder can be written"),
    )


def _processor_name() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _features() -> tuple[str, ...]:
    present = llvm.get_host_cpu_features()
    return tuple(name for name in _TELLING if present.get(name))


def _gpu_name() -> str | None:
    """Ask the CUDA driver itself, so that nothing has to be installed or imported."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    # Devices are numbered from 0, and the driver's handle of a device is that number.
    return None if driver.cuDeviceGetName(name, len(name), 0) else name.value.decode()
