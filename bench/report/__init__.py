"""Benchmark files read, compared, and shown as one page."""
