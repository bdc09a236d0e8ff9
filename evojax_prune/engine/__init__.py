"""The population trainer: many masked heads on fixed features, exactly and fast."""

from evojax_prune.engine.fits import EngineReport, Fits
from evojax_prune.engine.population import fit_population

__all__ = ["EngineReport", "Fits", "fit_population"]
