"""The CPU backend: register tiles, staging, and one module an algorithm."""
