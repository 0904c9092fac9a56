"""The CUDA backend: the same passes on device arrays. The only folder that knows CUDA's names."""
