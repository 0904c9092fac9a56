"""Ours and the peers it is timed beside, one file a library."""

import warnings

from bench.peers.base import Call, Peer, Unusable, conv_arguments
from bench.peers.jax import Jax
from bench.peers.numpy import NumPyWindows
from bench.peers.onnx import OnnxRuntime
from bench.peers.ours import Ours, algorithms
from bench.peers.scipy import SciPyDirect, SciPyFFT
from bench.peers.torch import Torch

__all__ = [
    "PEERS",
    "Call",
    "Ours",
    "Peer",
    "Torch",
    "algorithms",
    "conv_arguments",
    "find_peers",
]

_MAKERS: dict[str, tuple[type[Peer], ...]] = {
    "torch": (Torch,),
    "jax": (Jax,),
    "onnxruntime": (OnnxRuntime,),
    "scipy": (SciPyFFT, SciPyDirect),
    "numpy": (NumPyWindows,),
}
PEERS = tuple(_MAKERS)


def find_peers(names: tuple[str, ...]) -> tuple[list[Peer], list[str]]:
    """The installed peers among ``names``, and a sentence for each that is not installed."""
    peers: list[Peer] = []
    missing: list[str] = []
    for name in names:
        try:
            with warnings.catch_warnings(action="ignore"):
                peers += [maker() for maker in _MAKERS[name]]
        except ImportError:
            missing.append(f"{name} is not installed: no figures beside it")
        except Unusable as reason:
            missing.append(str(reason))
    return peers, missing
