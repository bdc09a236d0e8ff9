"""What the engine does on a device: its programs caught as they run, and XLA's analysis of them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np

from evojax_prune.engine.xla import programs, side_by_side, stopping


@dataclasses.dataclass
class Watch:
    """What the engine did on the devices during a call.

    Attributes:
        waits: times the host waited for them: once for each call of the training program, once for
            each fetch of scores.
        seconds: time in their programs, compilation included.
        portions: padded groups as they were trained.
        members: members of the largest training program.
        call: that program's key and arguments, as shapes.
        dual: the same of the program that made the dual form's arrays.
    """

    waits: int = 0
    seconds: float = 0.0
    portions: list[Any] = dataclasses.field(default_factory=list)
    members: int = 0
    call: tuple[Any, Any, tuple[Any, ...]] | None = None
    dual: tuple[Any, tuple[Any, ...]] | None = None

    def run(self, program: Callable[..., Any], *args: Any) -> Any:
        """Runs a program to its end, and adds its time."""
        started = time.perf_counter()
        result = jax.block_until_ready(program(*args))
        self.seconds += time.perf_counter() - started
        return result


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Counts, times and records while the engine trains."""
    watch = Watch()
    train, finish, portion = programs.train, programs.finish, side_by_side._train
    dual_data, initial = programs.dual_data, programs.initial

    def watched_train(program: Any, axes: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            watch.waits += 1
            members = args[2][1].done.shape[1]
            if members > watch.members:
                watch.members, watch.call = members, (program, axes, _shapes(args))
            return watch.run(train(program, axes), *args)

        return run

    def watched_dual(*key: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            watch.dual = watch.dual or (dual_data(*key), _shapes(args))
            return watch.run(dual_data(*key), *args)

        return run

    def watched_finish(*key: Any) -> Callable[..., Any]:
        watch.waits += 1
        return functools.partial(watch.run, finish(*key))

    def watched_portion(group: Any, *rest: Any) -> Any:
        watch.portions.append(group)
        return portion(group, *rest)

    with (
        mock.patch.object(programs, "train", watched_train),
        mock.patch.object(programs, "initial", functools.partial(watch.run, initial)),
        mock.patch.object(programs, "dual_data", watched_dual),
        mock.patch.object(programs, "finish", watched_finish),
        mock.patch.object(side_by_side, "_train", watched_portion),
    ):
        yield watch


def _shapes(tree: Any) -> Any:
    def shape(a: Any) -> Any:
        a = a if isinstance(a, jax.Array) else np.asarray(a)
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=getattr(a, "sharding", None))

    return jax.tree.map(shape, tree)


def by_xla(watch: Watch, rows: int, batch: int, epochs: int) -> dict[str, float | None]:
    """Flops and bytes of a member's epoch, and bytes of a device, by XLA's analysis.

    XLA counts the body of a loop once. So the training program is analysed for an epoch of one
    block of steps, what an epoch costs besides its blocks is analysed alone, and both are added up;
    in dual form also the products made once. Operations are those of the traced program, which
    libraries cannot hide; bytes and memory those of the compiled one.

    Args:
        watch: of a call of the engine.
        rows: training rows.
        batch: rows per step.
        epochs: epochs of a head.
    """
    assert watch.call is not None
    program, axes, args = watch.call
    data, kept, carry, index, weight, rates, limits = args
    folds, _, _, size = index.shape
    members, blocks = watch.members * folds, -(-rows // batch) / program.block
    index = jax.ShapeDtypeStruct((folds, 1, program.block, size), index.dtype)
    weight = jax.ShapeDtypeStruct((folds, program.block, size), weight.dtype)
    train = programs.train(program, axes)
    block = train.lower(data, kept, carry, index, weight, rates, limits)
    end = _end_of_epoch(program).lower(carry, carry[1].best, rates, limits)

    def per_epoch(key: str, block: Any, end: Any, members: int) -> float | None:
        one, rest = _analysis(block, key), _analysis(end, key)
        return None if one is None or rest is None else (blocks * (one - rest) + rest) / members

    flops = per_epoch("flops", block, end, members)
    if watch.dual is not None and flops is not None:
        made, shapes = watch.dual
        flops += (_analysis(made.lower(*shapes), "flops") or 0.0) / (members * epochs)
    moved = per_epoch("bytes accessed", _compiled(block), _compiled(end), _per_device(members))
    return {
        "XLA flops": flops,
        "XLA bytes": moved,
        "XLA memory": _memory(_compiled(train.lower(*args))),
    }


def _per_device(members: int) -> int:
    return max(1, members // jax.local_device_count())


def _end_of_epoch(program: Any) -> Any:
    def end(carry: Any, loss: Any, rates: Any, limits: Any) -> Any:
        state, progress = carry
        weights = program.weights(state, rates)
        return stopping.after_epoch(progress, loss, weights, limits, program.restore_best)

    return jax.jit(jax.vmap(jax.vmap(end, (0, 0, None, None)), (0, 0, None, None)))


def _compiled(lowered: Any) -> Any:
    try:
        return lowered.compile()
    except Exception as error:
        print(f"  not analysed: {first_line(error)}", file=sys.stderr)
        return None


def _analysis(stage: Any, key: str) -> float | None:
    found = None if stage is None else stage.cost_analysis()
    found = found[0] if isinstance(found, list | tuple) and found else found
    return float(found[key]) if found and key in found else None


def _memory(built: Any) -> int | None:
    stats = None if built is None else built.memory_analysis()
    if stats is None:
        return None
    used = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return int(used + stats.temp_size_in_bytes - stats.alias_size_in_bytes)


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160] if text else ''}"
