"""Runs held to an older instruction set: ours and every peer that can be, in a child process."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

NATIVE = "native"
# Each library reads its variable when it is loaded, so a run needs a process of its own.
_VARIABLES = {
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "",  # those of the processor just named
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}
VECTOR_BITS = {"avx2": 256}
ISAS = (NATIVE, *_VARIABLES)


def held(environment: Mapping[str, str] = os.environ) -> str:
    """The instruction set that a process with this environment is held to, or ``native``."""
    for name, variables in _VARIABLES.items():
        if all(environment.get(key) == value for key, value in variables.items()):
            return name
    return NATIVE


def variables(name: str) -> dict[str, str]:
    """The environment variables that hold a process to an instruction set."""
    return dict(_VARIABLES.get(name, {}))


def run_held(name: str, module: str, arguments: Sequence[str]) -> int:
    """Run ``python -m module`` with these arguments, held to ``name``; its exit status."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=os.environ | variables(name), check=False).returncode
