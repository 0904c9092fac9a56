"""JAX's convolution on the CPU by fastconv's kernels: differentiable, under jit and vmap.

Needs ``pip install 'fastconv[jax]'``.
"""

from .convolution import conv_general_dilated

__all__ = ["conv_general_dilated"]
