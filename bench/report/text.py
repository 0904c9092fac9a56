"""Numbers as a reader wants them: three digits, and a unit that fits."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """Three digits, the whole ones all of them."""
    for least, decimals in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:.{decimals}f}"
    return f"{value:.3g}"


def count_text(value: float) -> str:
    """A count with a prefix, as in ``1.85 G``; what is counted follows it."""
    for size, prefix in _PREFIXES:
        if value >= size:
            return f"{number(value / size)} {prefix}"
    return f"{value:g} "


def bytes_text(value: float) -> str:
    """Bytes in binary units."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{value:g} B"
