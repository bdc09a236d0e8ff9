"""A traced program with some of its operations written in another way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
from jax.extend.core import Literal, Var
from jax.extend.core.primitives import jit_p

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, Primitive

Exchange = Callable[[list[Any], dict[str, Any]], jax.Array | None]
"""Of an operation's operands and parameters: its result, or None to leave it as it is."""


def exchanged(
    fun: Callable[..., jax.Array], primitive: Primitive, exchange: Exchange
) -> Callable[..., jax.Array]:
    """``fun`` with ``exchange`` in place of each ``primitive``.

    What the program says of derivatives is dropped.

    Args:
        fun: any function of arrays that JAX can trace, giving one array.
        primitive: has one result.
        exchange: may leave some of them as they are.
    """

    @functools.wraps(fun)
    def changed(*args: Any) -> jax.Array:
        program = jax.make_jaxpr(fun)(*args)
        (result,) = _run(program, jax.tree.leaves(args), primitive, exchange)
        return result

    return changed


def _run(
    program: ClosedJaxpr, inputs: list[Any], primitive: Primitive, exchange: Exchange
) -> list[Any]:
    """Evaluate a program, exchanging operations on the way."""
    jaxpr = getattr(program, "jaxpr", program)  # JAX is about to drop the wrapper
    values: dict[Var, Any] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *inputs], strict=True)
    )
    for step in jaxpr.eqns:
        operands = [v.val if isinstance(v, Literal) else values[v] for v in step.invars]
        called = step.params.get("jaxpr" if step.primitive is jit_p else "call_jaxpr")
        other = exchange(operands, step.params) if step.primitive is primitive else None
        if called is not None:
            results = _run(called, operands, primitive, exchange)
        elif other is not None:
            results = [other]
        else:
            results = step.primitive.bind(*operands, **step.params)
            results = results if step.primitive.multiple_results else [results]
        values.update(zip(step.outvars, results, strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]
