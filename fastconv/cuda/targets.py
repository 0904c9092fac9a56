"""Where target pixels lie, and how a block's tile of sums is written to them."""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from .ptx import KINDS, divide, inline

SUMS_PAD = 8  #: floats after each row of sums in shared memory: pairs of them in all banks


def located(axes: int) -> Any:
    """A function from a pixel's index in the batch to its image, row and so on: (n, o, p, q).

    Its second argument holds, for the images' sizes, planes' and rows', the size and what
    `ptx.divide` needs: nine integers.
    """
    if axes == 3:

        @inline
        def locate(pixel, digits):
            n = divide(pixel, digits[1], digits[2])
            rest = int32(pixel - n * digits[0])
            o = divide(rest, digits[4], digits[5])
            rest = int32(rest - o * digits[3])
            p = divide(rest, digits[7], digits[8])
            return n, o, p, int32(rest - p * digits[6])

        return locate

    @inline
    def locate_in_plane(pixel, digits):
        n = divide(pixel, digits[1], digits[2])
        rest = int32(pixel - n * digits[0])
        p = divide(rest, digits[7], digits[8])
        return n, int32(0), p, int32(rest - p * digits[6])

    return locate_in_plane


def sums_bytes(rows: int, columns: int) -> int:
    """Shared memory for a block's tile of float32 sums."""
    return rows * (columns + SUMS_PAD) * 4


def written(kind: str, rows: int, columns: int, threads: int, y_vector: int, y_dense: bool) -> Any:
    """A function that writes a tile of sums from shared memory to the target, with the bias.

    ``y_vector`` is 4 where four channels of the target lie side by side, else 1; ``y_dense`` says
    that target pixels lie at equal steps through the batch.
    """
    element = KINDS[kind]
    size, load, store, store4 = element.size, element.load, element.store, element.store4
    load4_shared = KINDS["f32"].load4_shared
    pitch, quads = (columns + SUMS_PAD) * 4, columns // 4
    locate = located(3)

    @inline
    def write(shared, thread, first_row, first_column, pixels, channels, group, digits, y, bias):
        # y: the address and the steps from group to group, image, channel, D, H and W.
        for item in range(thread, rows * quads, threads):
            # With channels side by side lanes run along them, otherwise along the pixels.
            if y_vector == 4:
                row, quad = item // quads, item % quads
            else:
                row, quad = item % rows, item // rows
            pixel, channel = int32(first_row + row), first_column + quad * 4
            v0, v1, v2, v3 = load4_shared(shared + row * pitch + quad * 16)
            if pixel < pixels and channel < channels:
                if y_dense:
                    place = int64(pixel) * y[6]
                else:
                    n, o, p, q = locate(pixel, digits)
                    place = n * y[2] + o * y[4] + p * y[5] + q * y[6]
                place += group * y[1] + channel * y[3]
                left = channels - channel
                if bias != 0:
                    of = bias + (group * channels + channel) * size
                    v0 += load(of)
                    if left > 1:
                        v1 += load(of + size)
                    if left > 2:
                        v2 += load(of + 2 * size)
                    if left > 3:
                        v3 += load(of + 3 * size)
                to = y[0] + place * size
                if y_vector == 4:
                    store4(to, v0, v1, v2, v3)
                else:
                    store(to, v0)
                    if left > 1:
                        store(to + y[3] * size, v1)
                    if left > 2:
                        store(to + 2 * y[3] * size, v2)
                    if left > 3:
                        store(to + 3 * y[3] * size, v3)

    return write
