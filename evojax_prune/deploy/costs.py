"""What pruning buys: parameters, file size and latency, measured."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.compact_head import CompactHead
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.scaling import Scaling
from evojax_prune.deploy.classifier import Classifier
from evojax_prune.deploy.program import ExportedProgram, head_program, whole_program

BATCHES = (1, 32)
"""Batch sizes that latency is measured for."""

_SECONDS = 1.0
_ROUNDS = (5, 200)
"""A program is measured for about a second, within these numbers of runs."""

DENSE, PRUNED = "dense head", "pruned head"
WHOLE, SHORTENED = "with backbone", "with shortened backbone"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one way of predicting costs.

    Attributes:
        name: ``dense head``, ``pruned head, with shortened backbone``, ...
        parameters: weights and biases; over folds, the sum.
        bytes: of its safetensors file.
        milliseconds: median latency of a batch by its size.
    """

    name: str
    parameters: int
    bytes: int
    milliseconds: dict[int, float]


def measure_costs(
    classifier: Classifier,
    *,
    with_backbone: bool = True,
    batches: Sequence[int] = BATCHES,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Measured, ...]:
    """Measure the dense and the pruned head, alone and with the backbone.

    Programs are compiled by XLA for JAX's default device and measured with their input on the host,
    each run until its result is there. Those that are compared take turns, so that other work on
    the machine slows all of them. How fast a head is does not depend on its numbers, so the dense
    head has random ones.

    Args:
        classifier: the run.
        with_backbone: also measure the heads with the backbone, whole and shortened.
        batches: batch sizes.
        clock: seconds, to measure with.

    Returns:
        One per row of the table; without a shortened backbone if there can be none.

    Raises:
        UserError: the run has no backbone, or it cannot be loaded or exported.
    """
    features, pruned = classifier.card.features, classifier.heads
    dense = tuple(_dense(classifier, head) for head in pruned)
    alone = {DENSE: head_program(dense, features), PRUNED: head_program(pruned, features)}
    whole: dict[str, ExportedProgram] = {}
    if with_backbone:
        net = classifier.backbone
        whole[f"{DENSE}, {WHOLE}"] = whole_program(dense, net, shorten=False)
        whole[f"{PRUNED}, {WHOLE}"] = whole_program(pruned, net, shorten=False)
        short = whole_program(pruned, net)
        if short.note is None:
            whole[f"{PRUNED}, {SHORTENED}"] = short
    times = {
        batch: _latencies(alone, batch, clock) | _latencies(whole, batch, clock)
        for batch in batches
    }
    return tuple(
        _cost(name, program, {batch: times[batch][name] for batch in batches})
        for name, program in (alone | whole).items()
    )


def device() -> str:
    """What latency is measured on."""
    import jax

    kind = jax.devices()[0].device_kind
    return f"{kind}, {os.cpu_count()} cores" if jax.default_backend() == "cpu" else kind


def _dense(classifier: Classifier, pruned: CompactHead) -> CompactHead:
    """A dense head of the run's shape, with its scaling."""
    card, kind = classifier.card, "none" if pruned.scaling is None else pruned.scaling.kind
    spec = head_spec(card.mode, card.features, len(card.classes), card.hidden)
    layers = [(p["kernel"], p.get("bias")) for p in init_params(spec, 0).values()]
    ones = np.ones(card.features, np.float32)
    head = CompactHead(np.arange(card.features), tuple(layers))
    return head.reading_raw(Scaling(kind, ones, ones))


def _cost(name: str, program: ExportedProgram, milliseconds: dict[int, float]) -> Measured:
    from safetensors.numpy import save

    weights = {k: v for k, v in program.tensors.items() if not k.endswith("features")}
    return Measured(
        name=name,
        parameters=sum(tensor.size for k, tensor in weights.items() if ".scaling." not in f".{k}"),
        bytes=len(save(program.tensors)),
        milliseconds=milliseconds,
    )


def _latencies(
    programs: dict[str, ExportedProgram], batch: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median time of a batch, milliseconds, of each program."""
    import jax

    on_cpu, runs = jax.default_backend() == "cpu", {}
    for name, program in programs.items():
        shape = program.example(batch)
        x = np.random.default_rng(0).integers(0, 256, shape.shape).astype(shape.dtype)
        run = jax.jit(program.for_cpu() if on_cpu else program.function)
        jax.block_until_ready(run(x))
        runs[name] = (run, x)
    least, most = _ROUNDS
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for rounds in range(most):
        if rounds >= least and max(map(sum, taken.values()), default=_SECONDS) >= _SECONDS:
            break
        for name, (run, x) in runs.items():
            started = clock()
            jax.block_until_ready(run(x))
            taken[name].append(clock() - started)
    return {name: 1000 * statistics.median(times) for name, times in taken.items()}
