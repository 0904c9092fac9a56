"""What is compiled for an instruction set is of that set, and as wide as it has vectors.

Beside these, ``python -m pytest --isa NAME`` runs any of the tests held to a set.
"""

from pathlib import Path

import pytest
from instruction_sets import NATIVE, TARGETS, missing, variables
from scripts import run_script

from fastconv.machine import machine_info

# What assembly shows of a set: the registers of its vectors, those of wider ones, and FMA.
REGISTERS = {128: "xmm", 256: "ymm", 512: "zmm"}
SCRIPT = """
import gc
import numpy as np
import fastconv
from fastconv.cpu.program import Kernel
from fastconv.machine import machine_info

x, w = np.ones((2, 20, 9, 11), "f4"), np.ones((37, 20, 3, 3), "f4")
for algorithm in ("direct", "im2col"):
    assert (fastconv.conv2d(x, w, algorithm=algorithm) == 180).all()
kernels = [thing for thing in gc.get_objects() if type(thing) is Kernel]
text = "".join(kernel.function._library.get_asm_str() for kernel in kernels)
found = [name for name in ("xmm", "ymm", "zmm", "vfmadd", "mulps") if name in text]
print(machine_info().vector_bits, *found)
"""


def test_this_run_is_held_to_its_set(pytestconfig: pytest.Config) -> None:
    held = pytestconfig.getoption("isa")
    if held == NATIVE:
        present = [target.bits for name, target in TARGETS.items() if not missing(name)]
        assert machine_info().vector_bits == max(present, default=128)
    else:
        assert machine_info().vector_bits == TARGETS[held].bits


@pytest.mark.isa
@pytest.mark.parametrize("name", TARGETS)
def test_kernels_are_of_the_set(name: str, tmp_path: Path) -> None:
    if lacking := missing(name):
        pytest.skip(f"this processor lacks {', '.join(lacking)}")
    # Of kernels from the disk cache there is no assembly.
    held = variables(name) | {"NUMBA_CACHE_DIR": str(tmp_path)}
    bits, *found = run_script(SCRIPT, **held).split()
    target = TARGETS[name]
    assert int(bits) == target.bits
    assert REGISTERS[target.bits] in found
    assert not {REGISTERS[wider] for wider in REGISTERS if wider > target.bits} & set(found)
    assert ("vfmadd" in found) is ("mulps" not in found) is (name != "sse2")
