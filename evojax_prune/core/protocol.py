"""How one head is trained: the recipe shared by the dense head, every genome and every baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from evojax_prune.core.errors import UserError
from evojax_prune.core.options import metavar

MOST_EPOCHS = 10**6
"""Most epochs that a protocol can have."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Protocol:
    """Training recipe of a head.

    The defaults are the reference's (EvoPruneDeepTL, released code): SGD with Nesterov momentum,
    inverse-time decay, early stopping on the training loss, best weights restored. Every head
    starts from the same weights and sees the same minibatches in the same order.

    Attributes:
        epochs: most epochs a head is trained for.
        batch_size: rows per step; the last batch of an epoch may be smaller and its loss is the
            mean over the rows that it has.
        learning_rate: rate before decay.
        momentum: velocity kept from step to step, in [0, 1).
        nesterov: look ahead along the velocity, as Keras does: ``v = m*v - lr*g; w += m*v - lr*g``.
        decay: inverse-time decay: step ``t`` (from 0) uses ``learning_rate / (1 + decay*t)``.
        patience: epochs without an improvement of the training loss after which training stops;
            0 trains all epochs.
        min_delta: least fall of the training loss (nats) that counts as an improvement.
        restore_best: evaluate the weights of the epoch with the lowest training loss rather than
            the last ones.
        optimizer: ``"sgd"``, or the name of any optax optimizer whose first argument is the
            learning rate (``"adam"``, ``"adamw"``, ``"lion"``, ...); those use ``learning_rate``
            and ``decay``, not ``momentum`` and ``nesterov``. One's own is registered in
            ``evojax_prune.engine.OPTIMIZERS``.
        input_noise: standard deviation of Gaussian noise added to the features at each step, in
            units of the features.
        label_smoothing: ``s`` in [0, 1): a row's target is ``(1 - s) * one-hot + s / C`` in the
            training loss, which early stopping sees too; scores are not smoothed.
        class_weights: ``"balanced"`` multiplies the training loss of a row by ``N / (C n_c)``, for
            ``n_c`` of N training rows of its class and C classes that there are, 1 on average, as
            scikit-learn has it; a minibatch's loss is the mean of these products over its rows, as
            Keras's ``class_weight`` has it. ``"none"`` weighs all rows alike. Early stopping sees
            the weighted loss; scores are not weighted.
        steps: least steps: where ``epochs`` have fewer, because there are few rows, epochs are
            added (:meth:`for_rows`).

    Raises:
        pydantic.ValidationError: a value out of bounds.
    """

    epochs: Annotated[
        int, Field(ge=1, le=MOST_EPOCHS, description="most epochs a head is trained for")
    ] = 600
    batch_size: Annotated[int, Field(ge=1, le=2**24, description="rows per step")] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1e30, description="rate before decay")] = 1e-3
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="velocity kept from step to step (sgd only)")
    ] = 0.9
    nesterov: Annotated[bool, Field(description="look ahead along the velocity (sgd only)")] = True
    decay: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            description="inverse-time decay per step: rate / (1 + decay * step number)",
        ),
    ] = 1e-6
    patience: Annotated[
        int,
        Field(
            ge=0,
            le=10**6,
            description="epochs without an improvement of the training loss before training stops; "
            "0: train all epochs",
        ),
    ] = 10
    min_delta: Annotated[
        float,
        Field(
            ge=0,
            le=1e3,
            description="least fall of the training loss that is an improvement, nats",
        ),
    ] = 1e-5
    restore_best: Annotated[
        bool,
        Field(
            description="use the weights of the epoch with the lowest training loss, not the last"
        ),
    ] = True
    optimizer: Annotated[
        str,
        Field(
            description="sgd, or an optax optimizer by name (adam, adamw, lion, ...)",
            json_schema_extra=metavar("NAME"),
        ),
    ] = "sgd"
    input_noise: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            description="standard deviation of Gaussian noise added to the features at each step, "
            "in units of the features",
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of each row's target that is spread evenly over the classes",
        ),
    ] = 0.0
    class_weights: Annotated[
        Literal["none", "balanced"],
        Field(
            description="balanced: rows of rare classes weigh more in the training loss, so that "
            "every class weighs the same"
        ),
    ] = "none"
    steps: Annotated[
        int,
        Field(
            ge=0,
            le=10**9,
            description="least steps: where there are few rows, epochs are added until there are "
            "so many; 0 if epochs are given",
        ),
    ] = 0

    @model_validator(mode="after")
    def _refuse_what_only_sgd_reads(self) -> Self:
        for name in ("momentum", "nesterov"):
            if self.optimizer != "sgd" and getattr(self, name) != PROTOCOL_FIELDS[name].default:
                raise ValueError(
                    f"{name} does nothing with the optimizer {self.optimizer}, only with sgd: "
                    "leave it out"
                )
        return self

    def for_rows(self, rows: int) -> Protocol:
        """The protocol with the epochs that so many training rows need.

        Raises:
            UserError: those are more than a protocol can have.

        Example:
            >>> FINAL.for_rows(100).epochs  # 4 steps per epoch
            250
            >>> FINAL.for_rows(10_000).epochs
            30
        """
        each = max(1, -(-rows // self.batch_size))
        epochs = max(self.epochs, -(-self.steps // each))
        if epochs > MOST_EPOCHS:
            raise UserError(
                f"steps is {self.steps}, which {rows} rows reach in {epochs:,} epochs, expected at "
                f"most {MOST_EPOCHS * each:,} steps: lower it"
            )
        return dataclasses.replace(self, epochs=epochs, steps=0) if self.steps else self


PROTOCOL_FIELDS: Mapping[str, FieldInfo] = getattr(Protocol, "__pydantic_fields__")  # noqa: B009
"""The options of a protocol by name."""

PAPER = Protocol()
"""The reference's recipe."""

SEARCH = Protocol(epochs=5, learning_rate=3e-3, steps=100)
"""A cheap recipe that ranks masks; the default *search protocol*."""

FINAL = Protocol(epochs=30, learning_rate=3e-3, steps=1000)
"""The default *final protocol*: on standardised features as good as :data:`PAPER`, in a twentieth
of the time."""
