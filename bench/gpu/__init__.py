"""Benchmarks on a CUDA device, beside cuDNN through PyTorch: ``python -m bench.gpu``."""
