"""Other ways to train masked heads, each written as well as its library allows.

A contender is made for one case and then called with a number of members; it trains them for the
case's epochs and returns when the last one is done.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.compaction import active_parts, compact
from evojax_prune.core.flax_head import Head
from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.core.masks import Masks, kernel_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine import fit_population
from evojax_prune.engine.batches import epoch_order, steps

Run = Callable[[int], None]
"""Trains that many members."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained: heads of one mode on one set of features."""

    splits: FeatureSplits
    head: HeadSpec
    masks: Masks
    protocol: Protocol

    @functools.cached_property
    def params(self) -> Params:
        """Initial weights of every contender."""
        return init_params(self.head, 0)

    @property
    def orders(self) -> list[np.ndarray]:
        """Minibatch order of every epoch."""
        rows = len(self.splits.train)
        return [epoch_order(rows, e, 0) for e in range(self.protocol.epochs)]


def engine(case: Case, name: str = "auto") -> Run:
    """This project."""

    def run(members: int) -> None:
        masks = case.masks[np.arange(members) % len(case.masks)]
        fit_population(masks, case.splits, case.protocol, head=case.head, evaluate=(), engine=name)

    return run


def member_program(case: Case) -> Callable[..., jax.Array]:
    """All epochs of one member: masks multiplied in, gradients by JAX; gives each step's loss."""
    head, protocol = Head(case.head), case.protocol
    x, y = jnp.asarray(case.splits.train.x), jnp.asarray(case.splits.train.y)

    def loss(params: Any, kept: Any, rows: jax.Array, weight: jax.Array) -> jax.Array:
        masked = {n: {**p, "kernel": p["kernel"] * kept[n]} for n, p in params.items()}
        log_p = jax.nn.log_softmax(head.apply({"params": masked}, x[rows]))
        losses = -jnp.take_along_axis(log_p, y[rows][:, None], 1)[:, 0]
        return jnp.sum(losses * weight) / jnp.sum(weight)

    def step(carry: Any, batch: Any) -> Any:
        params, velocity, kept = carry
        value, gradient = jax.value_and_grad(loss)(params, kept, *batch)
        rate, m = protocol.learning_rate, protocol.momentum
        velocity = jax.tree.map(lambda v, g: m * v - rate * g, velocity, gradient)
        params = jax.tree.map(lambda p, v, g: p + m * v - rate * g, params, velocity, gradient)
        return (params, velocity, kept), value

    def member(params: Any, kept: Any, index: jax.Array, weight: jax.Array) -> jax.Array:
        velocity = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(step, (params, velocity, kept), (index, weight))[1]

    return member


def batches_of(case: Case) -> tuple[jax.Array, jax.Array]:
    """Rows of every step of all epochs ``int32 [S, B]``, and their weights."""
    index, weight = steps(np.stack(case.orders), case.protocol.batch_size)
    epochs, _, size = index.shape
    return jnp.asarray(index.reshape(-1, size)), jnp.asarray(np.tile(weight, (epochs, 1)))


def kept_of(case: Case, member: int) -> dict[str, np.ndarray]:
    """For each layer the mask of its kernel, 1 or 0."""
    masks = kernel_masks(case.masks, member % len(case.masks))
    return {f"layer_{i}": mask.astype(np.float32) for i, mask in enumerate(masks)}


def plain_jax(case: Case) -> Run:
    """The plain jitted program, one member after another."""
    program, batches = jax.jit(member_program(case)), batches_of(case)
    params = jax.device_put(case.params)

    def run(members: int) -> None:
        for m in range(members):
            program(params, kept_of(case, m), *batches).block_until_ready()

    return run


def naive_vmap(case: Case) -> Run:
    """The same program under ``jax.vmap`` over all members."""
    program = jax.jit(jax.vmap(member_program(case), (None, 0, None, None)))
    batches = batches_of(case)

    def run(members: int) -> None:
        kept = jax.tree.map(lambda *m: np.stack(m), *[kept_of(case, m) for m in range(members)])
        program(case.params, kept, *batches).block_until_ready()

    return run


def keras_fit(case: Case) -> Run:
    """Keras 3 on JAX: ``fit``, one member after another; compiled in the warm-up call."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    class Mask(keras.layers.Layer):
        """Multiplies by a mask, as the reference's sparse layer does."""

        def __init__(self, mask: np.ndarray) -> None:
            super().__init__()
            self.mask = mask

        def call(self, x: Any) -> Any:
            return x * self.mask

    def build(member: int) -> Any:
        inputs = x = keras.Input((case.head.features,))
        masks = [case.masks.features, *case.masks.units]
        for i, mask in enumerate(masks):
            if not mask[member].all():
                x = Mask(mask[member].astype(np.float32))(x)
            last = i == len(masks) - 1
            x = keras.layers.Dense(
                case.head.classes if last else case.head.hidden[i],
                activation="softmax" if last else "relu",
                use_bias=case.head.bias[i],
            )(x)
        model = keras.Model(inputs, x)
        layers = [case.params[f"layer_{i}"] for i in range(len(masks))]
        model.set_weights([p[k] for p in layers for k in ("kernel", "bias") if k in p])
        p = case.protocol
        sgd = keras.optimizers.SGD(p.learning_rate, momentum=p.momentum, nesterov=p.nesterov)
        model.compile(sgd, loss="sparse_categorical_crossentropy")
        return model

    models: dict[int, Any] = {}

    def run(members: int) -> None:
        for m in range(members):
            if m not in models:  # the first call is the warm-up
                models[m] = build(m)
            models[m].fit(
                case.splits.train.x,
                case.splits.train.y,
                batch_size=case.protocol.batch_size,
                epochs=case.protocol.epochs,
                verbose=0,
            )

    return run


def _torch_member(case: Case, member: int) -> None:
    """Compacted, transposed once, one fused SGD call a step: the fastest PyTorch version found."""
    import torch
    from torch.nn.functional import cross_entropy, linear

    active = active_parts(case.masks, member % len(case.masks))
    layers = compact(case.params, active)
    x = torch.from_numpy(np.ascontiguousarray(case.splits.train.x[:, active.index[0]]))
    y = torch.from_numpy(case.splits.train.y.astype(np.int64))
    kernels = [torch.nn.Parameter(torch.from_numpy(k.T.copy())) for k, _ in layers]
    biases = [
        None if b is None else torch.nn.Parameter(torch.from_numpy(b.copy())) for _, b in layers
    ]
    p = case.protocol
    sgd = torch.optim.SGD(
        [w for w in (*kernels, *biases) if w is not None],
        lr=p.learning_rate,
        momentum=p.momentum,
        nesterov=p.nesterov,
        fused=True,
    )
    for order in case.orders:
        order_t = torch.from_numpy(order.astype(np.int64))
        total = torch.zeros(())
        for rows in order_t.split(p.batch_size):
            z = x[rows]
            for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
                z = linear(z if i == 0 else torch.relu(z), kernel, bias)
            sgd.zero_grad(set_to_none=True)
            loss = cross_entropy(z, y[rows])
            loss.backward()
            sgd.step()
            total += loss.detach() * len(rows)
        total.item()


def torch_threads(case: Case) -> Run:
    """PyTorch hand-tuned, one member at a time on all cores."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)

    def run(members: int) -> None:
        for m in range(members):
            _torch_member(case, m)

    return run


_process_case: Case


def _set_up_process(case: Case) -> None:
    import torch

    global _process_case
    torch.set_num_threads(1)
    _process_case = case


def _in_process(member: int) -> None:
    _torch_member(_process_case, member)


def torch_processes(case: Case) -> Run:
    """PyTorch hand-tuned, one process a core, each one member at a time."""
    spawn = multiprocessing.get_context("spawn")
    pool = spawn.Pool(os.cpu_count(), _set_up_process, (case,))
    atexit.register(pool.terminate)

    def run(members: int) -> None:
        pool.map(_in_process, range(members), chunksize=1)

    return run


CONTENDERS: dict[str, Callable[[Case], Run]] = {
    "engine": engine,
    "plain JAX": plain_jax,
    "naive vmap": naive_vmap,
    "Keras fit": keras_fit,
    "torch threads": torch_threads,
    "torch processes": torch_processes,
}
"""All contenders by name; Keras's and PyTorch's need the extras ``keras`` and ``torch``."""
