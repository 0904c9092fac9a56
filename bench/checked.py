"""A contestant made ready for the clock: its values checked, its first call timed on the way."""

import functools
import time
from dataclasses import dataclass

from bench.case import Case
from bench.expected import Expected
from bench.memory import peak_growth
from bench.peers import Call, Peer
from bench.reference import tolerance
from fastconv import worked_example


class WrongResult(Exception):
    """A kernel whose values are wrong; it is never timed."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A contestant's call on a case, and what was learnt of it before any timing.

    ``first_call`` is in seconds, all that is made once included: for ours the plan and its kernels,
    compiled or loaded from Numba's cache. ``memory`` is what a later call takes at its peak, in
    bytes, with nothing kept from earlier ones: the result, and for ours a plan made again. None
    where it was not asked for or the system does not tell.
    """

    call: Call
    error: float
    first_call: float
    memory: int | None


@functools.cache
def check_anchor(dtype: str, algorithm: str) -> None:
    """Run the worked example with this kernel; `WrongResult` where a number differs."""
    try:
        worked_example.check(worked_example.run(dtype, algorithm))
    except worked_example.AnchorError as error:
        raise WrongResult(f"algorithm {algorithm!r}: {error}") from error


def checked(
    peer: Peer, case: Case, pass_name: str, expected: Expected, weighed: bool = False
) -> Checked:
    """Call the peer once and hold the result against float64; `WrongResult` beyond rounding.

    Where its memory is ``weighed``, a second call follows.
    """
    start = time.perf_counter()
    call = peer.prepare(case, pass_name)
    result = call()
    first_call = time.perf_counter() - start
    error = expected.error(peer.array(result, case, pass_name))
    bound = tolerance(case.layer, pass_name)
    if error > bound:
        raise WrongResult(
            f"{peer.name}, {case.layer.name} {pass_name}: max|err|/max|ref| is {error:.1e}, "
            f"rounding explains at most {bound:.1e}"
        )
    del result
    return Checked(call, error, first_call, _memory(peer, call) if weighed else None)


def _memory(peer: Peer, call: Call) -> int | None:
    peer.release()
    return peak_growth(call)
