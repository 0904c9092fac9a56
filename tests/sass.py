"""What the assembler makes of PTX: registers, stack, spills, and instructions, counted."""

import re
import shutil
import struct
import subprocess
from collections import Counter
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

# Operations by the low 9 bits of an instruction; the three above them are the operands' form.
# As `nvdisasm` of CUDA 13.0 names them; the same on compute capabilities 8.0 and 9.0.
_OPERATIONS = {
    0x023: "FFMA",
    0x02B: "DFMA",
    0x029: "DADD",
    0x021: "FADD",
    0x03B: "LDSM",
    0x03C: "HMMA",
    0x181: "LDG",
    0x183: "LDL",
    0x184: "LDS",
    0x186: "STG",
    0x187: "STL",
    0x188: "STS",
    0x1AE: "LDGSTS",
    0x1B4: "UTMALDG",
    0x1BA: "UBLKCP",
    0x1F0: "HGMMA",
}
_SIZED = ("LDG", "LDGSTS", "LDL", "LDS", "STG", "STL", "STS")
_WIDTHS = {5: "64", 6: "128"}  # bits 73 to 75 of those that move memory


class Assembled(NamedTuple):
    """What the assembler said of a kernel, and the instructions that it chose."""

    registers: int
    stack: int
    spilled: int  #: bytes of spill stores and loads
    counts: Counter[str]  #: "LDG" counts all of them, "LDG.128" those of 128 bits


@cache
def find_ptxas() -> str | None:
    """The assembler of the wheel nvidia-cuda-nvcc, else the one on the PATH."""
    try:
        installed = files("nvidia-cuda-nvcc") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.stem == "ptxas":
            return str(file.locate())
    return shutil.which("ptxas")


def assemble(ptx: str, target: str, folder: Path) -> Assembled:
    """Assemble a text that holds one kernel, for a target as "sm_90a"."""
    source, cubin = folder / "kernel.ptx", folder / "kernel.cubin"
    source.write_text(ptx)
    command = [find_ptxas() or "ptxas", "-v", f"-arch={target}", str(source), "-o", str(cubin)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    # What it says where registers of a product under way are touched, and each waits for the last.
    assert "serialized" not in said, said
    return Assembled(
        registers=_number(r"Used (\d+) registers", said),
        stack=_number(r"(\d+) bytes stack frame", said),
        spilled=_number(r"(\d+) bytes spill stores", said)
        + _number(r"(\d+) bytes spill loads", said),
        counts=_counted(_code(cubin.read_bytes())),
    )


def _number(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    assert found is not None, said
    return int(found[1])


def _code(cubin: bytes) -> bytes:
    """The machine code in a cubin: an ELF file of 64 bits whose sections .text.* are kernels."""
    assert cubin[:5] == b"\x7fELF\x02", "not an ELF file of 64 bits"
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<3H", cubin, 0x3A)
    sections = [struct.unpack_from("<II4Q", cubin, table + i * size) for i in range(count)]
    names_at = sections[names][4]
    code = b""
    for name, _, _, _, offset, length in sections:
        if cubin.startswith(b".text.", names_at + name):
            code += cubin[offset : offset + length]
    return code


def _counted(code: bytes) -> Counter[str]:
    counts: Counter[str] = Counter()
    for low, high in struct.iter_unpack("<QQ", code):
        name = _OPERATIONS.get(low & 0x1FF, "other")
        counts[name] += 1
        width = _WIDTHS.get(high >> 9 & 7)
        if width and name in _SIZED:
            counts[f"{name}.{width}"] += 1
    return counts
