"""How a PTX instruction becomes a function that kernels call.

An instruction is written once: its text, the types of its operands, and a Python body that does
the same on simulated memory and registers. Compiled, a call emits the text; in Numba's simulator
(``NUMBA_ENABLE_CUDASIM=1``) it runs the body, so one kernel source serves both.

Operands are named by their PTX letter: ``r`` a 32-bit register or shared address, ``l`` a 64-bit
register or global address, ``f`` a float32, ``d`` a float64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import config, cuda, types

SIMULATED = bool(config.ENABLE_CUDASIM)

_NUMBA = {"r": types.int32, "l": types.int64, "f": types.float32, "d": types.float64}
_LLVM = {"r": ir.IntType(32), "l": ir.IntType(64), "f": ir.FloatType(), "d": ir.DoubleType()}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inline(function: _Function) -> _Function:
    """A helper whose body is compiled into each kernel that calls it."""
    if SIMULATED:
        return function
    # A device function that is not inlined asks for a current device even while compiling.
    compiled: _Function = cuda.jit(device=True, inline="always")(function)
    return compiled


def instruction(
    text: str, operands: str, results: str = "", *, pure: bool = False
) -> Callable[[_Function], _Function]:
    """Make the decorated stand-in a call of the PTX ``text``.

    ``$0``, ``$1``, ... in the text are the results and then the operands. ``pure`` lets the
    compiler drop, merge and move the instruction: for arithmetic and for reads of what no thread
    writes. All others stay in order among themselves.
    """

    def decorate(stand_in: _Function) -> _Function:
        if SIMULATED:
            return stand_in
        made: _Function = _intrinsic(stand_in, text, operands, results, pure)
        return made

    return decorate


def _intrinsic(stand_in: Any, text: str, operands: str, results: str, pure: bool) -> Any:
    from numba.cuda.extending import intrinsic

    returned = _returned_type(results)
    signature = returned(*(_NUMBA[letter] for letter in operands))
    clobbered = [] if pure else ["~{memory}"]
    constraints = ",".join([f"={letter}" for letter in results] + list(operands) + clobbered)

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        kind = ir.FunctionType(_llvm_returned(results), [_LLVM[letter] for letter in operands])
        called = ir.InlineAsm(kind, text, constraints, side_effect=not pure)
        # What all lanes do together must not move under a branch.
        attributes = ("convergent",) if ".sync" in text else ()
        result = builder.call(called, values, attrs=attributes)
        if pure:  # or it would be neither merged nor dropped
            result.attributes.add("readnone")
            result.attributes.add("nounwind")
        if not results:
            return context.get_dummy_value()
        if len(results) == 1:
            return result
        parts = [builder.extract_value(result, i) for i in range(len(results))]
        return context.make_tuple(builder, returned, parts)

    names = list(inspect.signature(stand_in).parameters)
    if len(names) != len(operands):
        raise ValueError(f"{stand_in.__name__} takes {len(names)} arguments, not {len(operands)}")
    # Numba reads an intrinsic's arguments from its signature, so each gets one of its own.
    scope = {"made": (signature, codegen)}
    source = f"def {stand_in.__name__}(typing_context, {', '.join(names)}):\n    return made\n"
    exec(source, scope)
    function = scope[stand_in.__name__]
    function.__doc__ = stand_in.__doc__
    return intrinsic(function)


def _returned_type(results: str) -> Any:
    if not results:
        return types.void
    kinds = [_NUMBA[letter] for letter in results]
    if len(kinds) == 1:
        return kinds[0]
    return types.UniTuple(kinds[0], len(kinds)) if len(set(results)) == 1 else types.Tuple(kinds)


def _llvm_returned(results: str) -> ir.Type:
    if not results:
        return ir.VoidType()
    if len(results) == 1:
        return _LLVM[results]
    return ir.LiteralStructType([_LLVM[letter] for letter in results])
