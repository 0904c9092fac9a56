"""Why a figure is no higher: the roofline, and what the geometry alone explains below it."""

from math import prod

from bench.suites import Layer

LARGE = 50_000_000  # flops from which a layer should run near the peak
ENOUGH = 70.0  # percent of the peak


def percent(part: float, whole: float) -> float:
    """``part`` of ``whole`` in percent."""
    return 100 * part / whole


def lane_use(layer: Layer, pass_name: str, lanes: int) -> float:
    """The share of a vector's lanes that the layer can fill, along the axis that fills most.

    A tile's lanes run over channels of a group, over an image's pixels, or (in a weight gradient)
    over a kernel's weights.
    """
    per_group = {
        "forward": layer.K // layer.groups,
        "weight": max(layer.K, layer.C) // layer.groups,
        "input": layer.C // layer.groups,
    }[pass_name]
    pixels = layer.H * layer.W if pass_name == "input" else prod(layer.geometry.output)
    axes = [per_group, pixels]
    if pass_name == "weight":
        axes.append(layer.C // layer.groups * layer.R * layer.S)
    if layer.groups > 1:
        axes.append(layer.groups)  # groups side by side, where channels are contiguous
    return max(length / (-(-length // lanes) * lanes) for length in axes)


def low_reason(
    layer: Layer, pass_name: str, lanes: int, gflops: float, peak: float, bound: float
) -> str | None:
    """Why a large layer runs under 70 % of the peak, or None where it is small or does not.

    Parameters
    ----------
    layer, pass_name
        What ran.
    lanes
        Elements of a vector.
    gflops, peak, bound
        The measured speed, the measured multiply-add peak, and the roofline of the pass.
    """
    if layer.geometry.flops <= LARGE or percent(gflops, peak) >= ENOUGH:
        return None
    reasons = []
    if percent(bound, peak) < ENOUGH:
        reasons.append(f"bandwidth bound (at most {bound:.0f} GFLOP/s)")
    use = lane_use(layer, pass_name, lanes)
    if 100 * use < ENOUGH:
        reasons.append(f"lane remainder (at most {100 * use:.0f} % of the lanes)")
    return ", ".join(reasons) or "no reason known"
