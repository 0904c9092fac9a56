"""What is timed with which numbers: the precisions, and how far each may be from exact."""

from dataclasses import dataclass

from bench.suites import Layer

EPS32, EPS64 = 2.0**-23, 2.0**-52


@dataclass(frozen=True, slots=True)
class Precision:
    """A number format of the operands, with the arithmetic that is allowed on it.

    ``rounding`` is half an ulp of what operands or results are rounded to, ``growth`` what one
    sum's error grows by with the square root of its length.
    """

    name: str
    dtype: str
    tf32: bool
    layout: str
    rounding: float
    growth: float

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return {"float64": 8, "float32": 4}.get(self.dtype, 2)

    def tolerance(self, layer: Layer, pass_name: str) -> float:
        """The most that rounding explains of max|err| / max|ref|, on random reals."""
        return 4 * self.rounding + self.growth * max(1, layer.reduction(pass_name)) ** 0.5


# Tensor cores truncate as they add: their sums are given twice the growth.
PRECISIONS = {
    p.name: p
    for p in (
        Precision("float32", "float32", False, "nchw", 0.0, 8 * EPS32),
        Precision("tf32", "float32", True, "nchw", 2.0**-11, 16 * EPS32),
        Precision("float16", "float16", False, "nhwc", 2.0**-11, 16 * EPS32),
        Precision("bfloat16", "bfloat16", False, "nhwc", 2.0**-8, 16 * EPS32),
        Precision("float64", "float64", False, "nchw", 0.0, 8 * EPS64),
    )
}
DEFAULT_PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
