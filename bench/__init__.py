"""Benchmarks of fastconv beside its peers: ``python -m bench``, or ``pytest bench``."""
