"""Names of evosax's algorithms, importable without JAX."""

from __future__ import annotations

EVOSAX = (
    "ARS",
    "ASEBO",
    "CMAAnchoredLES",
    "CMA_ES",
    "CR_FM_NES",
    "DES",
    "DiffusionEvolution",
    "DifferentialEvolution",
    "ESMC",
    "EvoTF_ES",
    "GESMR_GA",
    "GradientlessDescent",
    "GuidedES",
    "HillClimbing",
    "LES",
    "LGA",
    "LM_MA_ES",
    "MA_ES",
    "MR15_GA",
    "Open_ES",
    "PGPE",
    "PSO",
    "RandomSearch",
    "Rm_ES",
    "SAMR_GA",
    "SNES",
    "SV_CMA_ES",
    "SV_Open_ES",
    "Sep_CMA_ES",
    "SimpleES",
    "SimpleGA",
    "SimulatedAnnealing",
    "iAMaLGaM_Full",
    "iAMaLGaM_Univariate",
    "xNES",
)
"""Algorithms of evosax, by its own names; they search real-valued logits."""

EXCLUDED = {
    "NoiseReuseES": "it repeats the same perturbations for several generations, to follow a "
    "training that is unrolled in parts; here an evaluation is whole, and a known genome is not "
    "evaluated again",
    "PersistentES": "it sums perturbations over the parts of an unrolled training; here an "
    "evaluation is whole",
}
"""Algorithms of evosax that cannot search masks, and why."""
