"""fastconv for PyTorch: convolutions of tensors with autograd, layers, and models made faster."""

from .accelerate import accelerate
from .functional import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from .modules import Conv1d, Conv2d, Conv3d

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "accelerate",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]
