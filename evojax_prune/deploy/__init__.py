"""A finished run, used: predictions, exports, and what pruning buys."""

from evojax_prune.deploy.classifier import Classifier, load
from evojax_prune.deploy.costs import Cost, costs
from evojax_prune.deploy.export import export_command, export_model
from evojax_prune.deploy.predict import predict_command

__all__ = [
    "Classifier",
    "Cost",
    "costs",
    "export_command",
    "export_model",
    "load",
    "predict_command",
]
