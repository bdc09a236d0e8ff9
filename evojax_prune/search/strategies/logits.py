"""Any evosax algorithm as a search over masks: real-valued logits, thresholded at 0."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from evosax.algorithms import algorithms, population_based_algorithms
from evosax.algorithms.base import EvolutionaryAlgorithm
from evosax.core.fitness_shaping import centered_rank_fitness_shaping_fn

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.search.strategies.registry import Plan
from evojax_prune.search.strategies.strategy import (
    Strategy,
    as_float32,
    first_genomes,
    on_device,
)

STATE_BYTES = 2**32
"""Largest state of an algorithm, bytes; some keep a G x G matrix."""

LEARNING_RATE = 0.1
"""Adam's rate for algorithms that follow an estimated gradient. Their own default, 1e-3 or so,
moves no logit across the threshold within a few thousand evaluations."""

STEIN_POPULATIONS = 2
"""Populations that the Stein variational algorithms divide the genomes into."""


@dataclasses.dataclass(frozen=True)
class LogitState:
    """State of a :class:`LogitStrategy`.

    Attributes:
        evolution: evosax's state; None until a population-based algorithm has its first fitness.
        logits: ``float32 [P, G]``, as last asked.
    """

    evolution: Any
    logits: jax.Array


class LogitStrategy(Strategy):
    """An evosax algorithm whose solutions are logits: a bit is on where its logit is positive.

    A population-based algorithm starts from logits whose signs are the initial genomes. A
    distribution-based one starts from the mean which, with the algorithm's own first spread, makes
    each bit as likely to be on as in the initial genomes.
    """

    def __init__(
        self,
        plan: Plan,
        algorithm: EvolutionaryAlgorithm,
        *,
        populations: int | None,
        generations: int | None,
        params: Any,
    ):
        """Wrap an algorithm.

        Args:
            plan: what the strategy is built from.
            algorithm: of logits.
            populations: into which it divides the genomes, if it does.
            generations: of its schedule, if it follows one.
            params: its parameters.
        """
        super().__init__(plan, algorithm)
        self._params = params
        self._populations = populations
        self._generations = generations
        self._initial = first_genomes(plan)
        self._guide = None if plan.guide is None else on_device(plan.guide)
        self._population_based = isinstance(algorithm, tuple(population_based_algorithms.values()))
        self._begin = jax.jit(self._first_logits if self._population_based else self._start)

    @property
    def description(self) -> dict[str, Any]:
        """See :class:`Strategy`."""
        schedule = {} if self._generations is None else {"num_generations": self._generations}
        return super().description | schedule

    def ask(self, key: jax.Array, state: LogitState | None) -> tuple[np.ndarray, LogitState]:
        """See :class:`Strategy`.

        Raises:
            UserError: the algorithm diverged.
        """
        with _evosax_rules():
            if state is None and self._population_based:
                state = LogitState(None, self._begin(key))
            else:
                key_start, key_ask = jax.random.split(key)
                evolution = self._begin(key_start) if state is None else state.evolution
                logits, evolution = self.algorithm.ask(key_ask, evolution, self._params)
                state = LogitState(evolution, logits)
        if not np.isfinite(state.logits).all():
            raise UserError(
                f"{self.plan.name} diverged, its logits are not finite any more: "
                "lower its learning_rate or std, or end the search earlier by fewer evaluations"
            )
        return np.asarray(state.logits > 0), state

    def tell(
        self, key: jax.Array, genomes: np.ndarray, costs: np.ndarray, state: LogitState
    ) -> LogitState:
        """See :class:`Strategy`."""
        fitness = on_device(_finite(costs[:, 0]))
        with _evosax_rules():
            if state.evolution is None:
                evolution = self.algorithm.init(key, state.logits, fitness, self._params)
            else:
                evolution, _ = self.algorithm.tell(
                    key, state.logits, fitness, state.evolution, self._params
                )
        return LogitState(_strongly_typed(evolution), state.logits)

    def population(self, state: LogitState) -> None:
        """No population of masks is kept; see :class:`Strategy`."""
        return None

    def _rehearsal(self, key: jax.Array) -> tuple[jax.Array, Any]:
        """One generation's logits and the state behind them, for their shapes."""
        if self._population_based:
            logits = self._first_logits(key)
            fitness = jnp.zeros(len(logits), jnp.float32)
            start = self.algorithm.init(key, logits, fitness, self._params)
        else:
            start = self._start(key)
        return self.algorithm.ask(key, start, self._params)

    def _first_logits(self, key: jax.Array) -> jax.Array:
        key_signs, key_sizes = jax.random.split(key)
        members = self.algorithm.population_size
        genomes = self._initial.population(key_signs, members, self._guide)
        sizes = jnp.abs(jax.random.normal(key_sizes, genomes.shape))
        return jnp.where(genomes, sizes, -sizes)

    def _start(self, key: jax.Array) -> Any:
        key_spread, key_init = jax.random.split(key)
        middle = self._evolution(key_init, jnp.zeros(self.genome_length))
        spread = jnp.std(self.algorithm.ask(key_spread, middle, self._params)[0])
        # The inverse of the normal distribution function is infinite at 0 and 1.
        likely = jnp.clip(self._initial.probabilities(self._guide), 1e-3, 1 - 1e-3)
        return self._evolution(key_init, spread * jax.scipy.special.ndtri(likely))

    def _evolution(self, key: jax.Array, mean: jax.Array) -> Any:
        if self._populations:
            mean = jnp.tile(mean[None], (self._populations, 1))
        return _strongly_typed(self.algorithm.init(key, mean, self._params))


def build(plan: Plan) -> LogitStrategy:
    """The strategy of an evosax algorithm, with defaults that suit logits of about unit size.

    Where evosax's own defaults do nothing at a search's budget they are replaced: algorithms that
    follow an estimated gradient take it of centred ranks, not of raw fitness, whose differences
    are hundredths, and step by Adam at :data:`LEARNING_RATE`.

    Raises:
        UserError: an option that the algorithm does not have, a population of a size that it cannot
            work with, or genomes too long for it.
    """
    name, population, length = plan.name, plan.options.population, plan.genome_length
    options = dict(plan.options.strategy_options or {})
    arguments = _arguments(name, options)
    generations, populations = _counts(plan, arguments)
    too_odd = f"{name} cannot work with a population of {population}"
    with _evosax_rules():
        try:
            algorithm = algorithms[name](
                population_size=population // (populations or 1),
                solution=np.zeros(length, np.float32),
                **arguments,
            )
        except AssertionError as error:
            raise UserError(f"{too_odd} (genomes have {length} bits): {said_of(error)}") from None
        params = _with_fields(name, algorithm.default_params, options)
        strategy = LogitStrategy(
            plan, algorithm, populations=populations, generations=generations, params=params
        )
        asked, state = jax.eval_shape(strategy._rehearsal, jax.random.key(0))
    if asked.shape[0] != population:
        raise UserError(f"{too_odd}, it would ask for {asked.shape[0]}: give a multiple of 2")
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    if size > STATE_BYTES:
        raise UserError(
            f"{name} would keep {size / 2**30:.0f} GiB for genomes of {length} bits, more than "
            f"{STATE_BYTES / 2**30:.0f}: choose one without a matrix of all pairs of bits, such as "
            "Sep_CMA_ES or SNES, or one of the genetic algorithms"
        )
    return strategy


def _counts(plan: Plan, arguments: dict[str, Any]) -> tuple[int | None, int | None]:
    """Generations and populations, for algorithms that want them; also put into the arguments."""
    accepted = inspect.signature(algorithms[plan.name].__init__).parameters
    generations = populations = None
    if "num_generations" in accepted and plan.evaluations is not None:
        # Some room: generations in which a genome comes again do not use up the budget.
        expected = -(-plan.evaluations // plan.options.population)
        generations = arguments.setdefault("num_generations", expected + expected // 4 + 2)
    if "sampling_fn" in accepted:
        initial = first_genomes(plan)
        guide = None if plan.guide is None else on_device(plan.guide)
        arguments["sampling_fn"] = lambda key: jnp.where(initial.genome(key, guide), 1.0, -1.0)
    if "num_populations" in accepted:
        populations = arguments.setdefault("num_populations", STEIN_POPULATIONS)
    return generations, populations


_FOLLOWS_GRADIENT = ("ARS", "ASEBO", "ESMC", "GuidedES", "Open_ES", "PGPE", "SV_Open_ES")


def _whole_numbers(name: str) -> set[str]:
    """Arguments of an algorithm's constructor, beyond population and solution, that are counts."""
    accepted = list(inspect.signature(algorithms[name].__init__).parameters.values())
    return {p.name for p in accepted[3:] if type(p.default) is int or p.name == "num_populations"}


def _arguments(name: str, options: dict[str, float]) -> dict[str, Any]:
    """Arguments of an algorithm's constructor; the options that they take are removed."""
    accepted = inspect.signature(algorithms[name].__init__).parameters
    arguments: dict[str, Any] = {}
    if name in _FOLLOWS_GRADIENT:
        options.setdefault("learning_rate", LEARNING_RATE)
        arguments["fitness_shaping_fn"] = centered_rank_fitness_shaping_fn
    if "optimizer" in accepted and "learning_rate" in options:
        arguments["optimizer"] = optax.adam(options.pop("learning_rate"))
    if "std_schedule" in accepted and "std" in options:
        arguments["std_schedule"] = optax.constant_schedule(options.pop("std"))
    for argument in _whole_numbers(name) & options.keys():
        arguments[argument] = int(options.pop(argument))
    return arguments


def _with_fields(name: str, params: Any, options: dict[str, float]) -> Any:
    """An algorithm's default parameters, some replaced."""
    fields = {field.name for field in dataclasses.fields(params)}
    if "std_init" in fields and "std" in options:
        options["std_init"] = options.pop("std")
    unknown = sorted(options.keys() - fields)
    if unknown:
        accepted = inspect.signature(algorithms[name].__init__).parameters
        known = fields | _whole_numbers(name)
        known |= {"learning_rate"} if "optimizer" in accepted else set()
        known |= {"std"} if "std_schedule" in accepted or "std_init" in fields else set()
        choice = ", ".join(sorted(known)) or "none"
        raise UserError(f"{name} has no option {', '.join(unknown)}; it has: {choice}")
    return params.replace(**options)


@contextlib.contextmanager
def _evosax_rules() -> Iterator[None]:
    """Let evosax promote types and ranks as JAX does by default, and use what optax deprecates."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _finite(costs: np.ndarray) -> np.ndarray:
    """Failed genomes (+inf) as bad as the worst of the others: gradients cannot take infinities."""
    fitness = as_float32(costs)
    sound = np.isfinite(fitness)
    return np.where(sound, fitness, fitness[sound].max() if sound.any() else np.float32(0))


def _strongly_typed(state: Any) -> Any:
    """Python scalars as arrays of a type of their own: else every jitted call compiles twice."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), state)
