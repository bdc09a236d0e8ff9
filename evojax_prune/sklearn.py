"""Pruned heads as scikit-learn estimators: a classifier, and a selector of features.

Both go into a ``Pipeline``, ``cross_val_score`` or ``GridSearchCV``, and can be cloned and pickled.
JAX is imported by ``fit`` only; a fitted estimator predicts by plain NumPy.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from evojax_prune.core.errors import UserError, in_python, shortened

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evojax_prune.core.outcome import Outcome
    from evojax_prune.report.pruned import Pruned
    from evojax_prune.run.config import RunConfig

__all__ = ["FeatureMask", "HeadPruner"]


class _Pruner(BaseEstimator):
    """What the two estimators share: their parameters, and the search on all rows.

    ``prune`` cuts test rows off to report on. An estimator has none: whoever calls it holds rows
    out, as ``cross_val_score`` does. So the problem has an empty test split, heads are selected on
    fresh splits of the rows, and the head that is kept is trained on all of them.
    """

    mode = "features"

    def __init__(
        self,
        *,
        method: str = "search",
        objectives: tuple[str, ...] = ("cross-entropy", "size"),
        size: int | None = None,
        choice: str = "smallest",
        evaluations: int = 600,
        population: int = 30,
        keep: float | str = "auto",
        hidden: int | tuple[int, ...] = 64,
        scale: str = "standard",
        search_epochs: int = 10,
        epochs: int = 100,
        learning_rate: float = 0.01,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.method = method
        self.objectives = objectives
        self.size = size
        self.choice = choice
        self.evaluations = evaluations
        self.population = population
        self.keep = keep
        self.hidden = hidden
        self.scale = scale
        self.search_epochs = search_epochs
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.settings = settings
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None) -> Self:  # noqa: N803
        """Prune, and set what both estimators know afterwards."""
        from evojax_prune.data.sources.arrays import refuse_masked

        try:
            for given, name in ((X, "X"), (y, "y")):
                refuse_masked(given, name)
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
                x, labels = validate_data(self, X, y, dtype=np.float32, ensure_min_samples=2)
            try:
                check_classification_targets(labels)
                classes, codes = np.unique(labels, return_inverse=True)
            except TypeError:
                raise UserError(
                    "y holds labels of unlike types, expected all of one type"
                ) from None
            if len(classes) < 2:
                raise UserError(
                    f"y holds the one class {str(classes[0])!r}: expected two classes or more"
                )
            with in_python():
                pruned = _prune(self._config(), x, codes, classes, groups)
        except UserError as error:
            raise ValueError(str(error)) from error
        self.classes_ = classes
        self.head_ = pruned.head
        self.genome_ = pruned.genome
        self.result_ = _figures(pruned)
        return self

    def _config(self) -> RunConfig:
        """The parameters as a run's configuration.

        Raises:
            UserError: impossible values, or settings that do nothing.
        """
        from evojax_prune.run.config import validated
        from evojax_prune.run.presets import merged

        parameters = self.get_params(deep=False)
        further = _further(self.settings, parameters)
        unread = {"settings", *self._unread()}
        given = {name: _plain(value) for name, value in parameters.items() if name not in unread}
        rate = given.pop("learning_rate")
        given["search_protocol"] = {"epochs": given.pop("search_epochs"), "learning_rate": rate}
        given["final_protocol"] = {"epochs": given.pop("epochs"), "learning_rate": rate}
        given["mode"], given["hidden"] = self.mode, _layers(given["hidden"], self.mode)
        given["seed"] = _seed(given.pop("random_state"))
        return validated(merged(given, further))

    def _unread(self) -> list[str]:
        """Parameters that the method does not read, where they are at their defaults.

        Those that were changed stay, so that the configuration refuses them.
        """
        from evojax_prune.methods import METHODS
        from evojax_prune.methods.options import SearchOptions, SensitivityOptions

        if not isinstance(self.method, str) or self.method not in METHODS:
            return []
        owned = {*SearchOptions.model_fields, *SensitivityOptions.model_fields}
        parameters = inspect.signature(type(self)).parameters
        return [
            name
            for name, parameter in parameters.items()
            if name in owned - METHODS[self.method].options.model_fields.keys()
            and getattr(self, name) == parameter.default
        ]


class HeadPruner(ClassifierMixin, _Pruner):
    """A classifier of features: a pruned head with hidden layers, or a linear one.

    Args:
        mode: what is pruned: ``features``, or the units of hidden layers: ``fc1``, ``fc2``,
            ``both``.
        method: how the mask is found: ``search`` (a genetic search) or ``sensitivity`` (the most
            sensitive bits of the dense head, in a fraction of the time).
        objectives: what is searched for: ``cross-entropy`` or ``accuracy``, and ``size``.
        size: most active bits; None: as many as the choice takes.
        choice: which head of the front is taken: ``smallest`` (within one standard error of the
            best), ``knee`` or ``best``.
        evaluations: heads that a search trains.
        population: genomes per generation.
        keep: fraction of the bits that ``sensitivity`` keeps; ``auto`` tries several.
        hidden: units of each hidden layer that the mode has, or a tuple of the units of each; ()
            for a linear head, which is softmax regression (``features`` only).
        scale: what is done to the features: ``standard``, ``l2`` or ``none``.
        search_epochs: most epochs of each head that a search trains.
        epochs: most epochs of the dense head, the finalists and the head that is kept.
        learning_rate: of all trainings.
        settings: further fields of :class:`~evojax_prune.RunConfig` by name, of method, training
            and head, such as ``{"p": 1.0}`` or ``{"selection_fraction": 0.2}``.
        random_state: the seed. The same number gives the same head on one machine.

    Attributes:
        classes_: labels ``[C]``, sorted.
        n_features_in_: features F.
        feature_names_in_: their names ``str [F]``, where ``X`` had some.
        genome_: the mask, ``bool [G]``.
        head_: the pruned head, which reads features as they were given.
        result_: figures: ``dense``, ``pruned`` and ``finalists`` (for each its
            ``selection_accuracy`` 0 to 1, ``active_fraction``, ``active_units``, ``parameters`` and
            ``epochs``), how the head was ``chosen``, ``evaluations``, ``seconds``, and the
            ``config`` as plain data. Selection accuracies flatter: score on rows of your own.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.array(["ant", "bee", "cat"])[np.arange(90) % 3]
        >>> X = rng.normal(size=(90, 12)) + 4 * np.eye(3, 12)[np.arange(90) % 3]
        >>> pruner = HeadPruner(method="sensitivity", keep=0.25, epochs=20).fit(X, y)
        >>> int(pruner.genome_.sum()), pruner.predict(X[:3]).tolist()
        (3, ['ant', 'bee', 'cat'])
    """

    def __init__(
        self,
        *,
        mode: str = "features",
        method: str = "search",
        objectives: tuple[str, ...] = ("cross-entropy", "size"),
        size: int | None = None,
        choice: str = "smallest",
        evaluations: int = 600,
        population: int = 30,
        keep: float | str = "auto",
        hidden: int | tuple[int, ...] = 64,
        scale: str = "standard",
        search_epochs: int = 10,
        epochs: int = 100,
        learning_rate: float = 0.01,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        super().__init__(
            method=method,
            objectives=objectives,
            size=size,
            choice=choice,
            evaluations=evaluations,
            population=population,
            keep=keep,
            hidden=hidden,
            scale=scale,
            search_epochs=search_epochs,
            epochs=epochs,
            learning_rate=learning_rate,
            settings=settings,
            random_state=random_state,
        )
        self.mode = mode

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:  # noqa: N803
        """Find a pruned head and train it on all rows.

        Args:
            X: features ``[n, F]``, finite as float32.
            y: labels ``[n]``, two rows or more of each class.
            groups: group of each row ``[n]``, integers or strings; none is split between training
                and selection.

        Raises:
            ValueError: data or parameters that cannot be used, or training diverged.
        """
        return self._fit(X, y, groups)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Class probabilities ``float64 [n, C]``, in the order of ``classes_``.

        Args:
            X: features ``[n, F]``.

        Raises:
            NotFittedError: ``fit`` was not called.
            ValueError: features that cannot be used.
        """
        from evojax_prune.analysis.metrics import softmax

        check_is_fitted(self)
        with np.errstate(over="ignore", invalid="ignore"):
            x = validate_data(self, X, dtype=np.float32, reset=False)
        return softmax(self.head_.exact_logits(x))

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The most probable label ``[n]`` of each row; see :meth:`predict_proba`."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]


class FeatureMask(SelectorMixin, _Pruner):
    """A selector of features: those that a pruned head reads.

    ``transform`` gives the chosen columns as they are, unscaled.

    Its parameters are those of :class:`HeadPruner` but ``mode``, which is ``features`` here.

    Attributes:
        n_features_in_: features F.
        feature_names_in_: their names ``str [F]``, where ``X`` had some.
        classes_: labels ``[C]``, sorted.
        genome_: the mask that was found, ``bool [G]``.
        head_: the head that reads the chosen features.
        result_: figures, as :class:`HeadPruner` has them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(90) % 3
        >>> X = rng.normal(size=(90, 12)) + 4 * np.eye(3, 12)[y]
        >>> mask = FeatureMask(method="sensitivity", keep=0.25, epochs=20).fit(X, y)
        >>> mask.get_support(indices=True).tolist(), mask.transform(X).shape
        ([0, 1, 2], (90, 3))
    """

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:  # noqa: N803
        """Find the features; see :meth:`HeadPruner.fit`."""
        return self._fit(X, y, groups)

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        mask = np.zeros(self.n_features_in_, bool)
        mask[self.head_.features] = True
        return mask


def _plain(value: Any) -> Any:
    """A NumPy number, as a sampled parameter may be, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _layers(hidden: Any, mode: str) -> Any:
    """Units of each hidden layer; a number stands for all of them."""
    from evojax_prune.core.mode import MODES

    known = isinstance(mode, str) and mode in MODES
    if known and isinstance(hidden, numbers.Integral) and not isinstance(hidden, bool):
        return (int(hidden),) * len(MODES[mode].hidden)
    return hidden


def _seed(random_state: Any) -> Any:
    """A whole number that stands for the random state."""
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _further(settings: Mapping[str, Any] | None, parameters: Iterable[str]) -> dict[str, Any]:
    """Settings that are not parameters.

    Raises:
        UserError: a parameter, or a setting that an estimator has no use for.
    """
    from evojax_prune.core.options import suggestion
    from evojax_prune.methods.options import SearchOptions, SensitivityOptions, TrainingOptions
    from evojax_prune.run.config import HeadOptions

    known = ["selection_fraction", "method_options"]
    for owner in (HeadOptions, SearchOptions, SensitivityOptions, TrainingOptions):
        known += [n for n in owner.model_fields if n not in (*parameters, "seed", "mode")]
    if settings is not None and not isinstance(settings, Mapping):
        raise UserError(f"settings is {shortened(repr(settings))}, expected names with values")
    further = dict(settings or {})
    for name in further:
        if name in parameters:
            raise UserError(f"settings holds {name}, which is a parameter: give it as that")
        if name not in known:
            raise UserError(f"settings holds unknown {name!r}{suggestion(str(name), known)}")
    return further


def _prune(
    config: RunConfig,
    x: np.ndarray,
    codes: np.ndarray,
    classes: np.ndarray,
    groups: ArrayLike | None,
) -> Pruned:
    """A run without test rows: what its splits call test is empty."""
    from evojax_prune.core.class_names import class_name
    from evojax_prune.data import table_of
    from evojax_prune.methods import METHODS
    from evojax_prune.run.data import check_names, make_problem
    from evojax_prune.run.run import Run

    check_names(config)
    names = [class_name(i, str(label)) for i, label in enumerate(classes)]
    table = table_of(x, codes, groups=groups, classes=names)
    for part in (table.x, table.y, table.groups):
        if part is not None:
            part["test"] = part["train"][:0]
    settings = config.model_dump(mode="json", exclude_unset=True)
    problem = make_problem(config, table)
    return Run(problem, METHODS[config.method], config.options(), settings=settings)()


def _figures(pruned: Pruned) -> dict[str, Any]:
    """Plain data on the heads and the search; without test rows there is less than in a result."""
    found = pruned.found
    return {
        **{name: _head_figures(getattr(found, name)) for name in ("dense", "pruned")},
        "finalists": [_head_figures(head) for head in found.finalists],
        "chosen": found.chosen,
        "evaluations": found.effort.heads(found.trials),
        "seconds": pruned.seconds,
        "config": pruned.settings,
    }


def _head_figures(head: Outcome) -> dict[str, Any]:
    names = ("active_fraction", "active_units", "parameters", "epochs")
    return {"selection_accuracy": head.selection, **{n: getattr(head, n) for n in names}}
