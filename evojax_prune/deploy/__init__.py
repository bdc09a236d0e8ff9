"""A finished run, used: predictions, exports, and what pruning buys."""

from evojax_prune.deploy.classifier import Classifier, Prediction, load
from evojax_prune.deploy.costs import Measured, measure_costs
from evojax_prune.deploy.export import export, program_of
from evojax_prune.deploy.predict import prediction_table

__all__ = [
    "Classifier",
    "Measured",
    "Prediction",
    "export",
    "load",
    "measure_costs",
    "prediction_table",
    "program_of",
]
