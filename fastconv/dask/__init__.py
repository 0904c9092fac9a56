"""Convolutions and their gradients on Dask arrays: larger than memory, or than one machine.

The functions are `fastconv`'s, and lazy. Needs ``pip install 'fastconv[dask]'``.
"""

from .functional import conv1d, conv2d, conv3d
from .grad import (
    conv1d_input,
    conv1d_weight,
    conv2d_input,
    conv2d_weight,
    conv3d_input,
    conv3d_weight,
)

__all__ = [
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv3d",
    "conv3d_input",
    "conv3d_weight",
]
