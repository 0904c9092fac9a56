"""What answers calls from nopython code; `fastconv.jit` is what makes Numba know of them."""
