"""Says what a child process is held to: run by a test of `bench.isa`."""

from bench.isa import held
from fastconv.machine import machine_info

print(held(), machine_info().vector_bits)
