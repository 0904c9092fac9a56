"""Convolution kernels compiled by Numba, with PyTorch's signatures, on NumPy and CUDA arrays."""

from . import jit  # noqa: F401 - tells Numba of the functions
from .backward import convolution_backward
from .columns import fold, unfold
from .dispatch import clear_cache
from .explain import explain
from .functional import conv1d, conv2d, conv3d
from .grad_input import conv1d_input, conv2d_input, conv3d_input
from .grad_weight import conv1d_weight, conv2d_weight, conv3d_weight
from .options import options
from .transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "clear_cache",
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv3d",
    "conv3d_input",
    "conv3d_weight",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution_backward",
    "explain",
    "fold",
    "options",
    "unfold",
]
