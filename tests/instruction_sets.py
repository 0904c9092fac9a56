"""Instruction sets that a run of the tests can be held to: ``python -m pytest --isa avx2``."""

from typing import NamedTuple

from llvmlite import binding as llvm

NATIVE = "native"


class Target(NamedTuple):
    """What Numba compiles for, the features it takes, and the vector width that comes of it."""

    cpu: str
    needed: frozenset[str]
    bits: int


TARGETS = {
    "avx512": Target(
        "skylake-avx512", frozenset({"avx512f", "avx512dq", "avx512bw", "avx512vl"}), 512
    ),
    "avx2": Target("haswell", frozenset({"avx2", "fma"}), 256),
    "sse2": Target("generic", frozenset({"sse2"}), 128),  # neither AVX nor FMA
}
NAMES = (NATIVE, *TARGETS)


def missing(name: str) -> list[str]:
    """The features of an instruction set that this processor lacks."""
    present = llvm.get_host_cpu_features()
    needed = TARGETS[name].needed if name != NATIVE else ()
    return sorted(feature for feature in needed if not present.get(feature))


def variables(name: str) -> dict[str, str]:
    """The environment variables that hold a process to an instruction set."""
    if name == NATIVE:
        return {}
    # An empty feature list leaves the features to the processor's name.
    return {"NUMBA_CPU_NAME": TARGETS[name].cpu, "NUMBA_CPU_FEATURES": ""}
