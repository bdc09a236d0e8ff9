"""Compiled programs outlive the process, and the engine imports only what it may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

TRAIN = """
import json, sys
from pathlib import Path
import jax
import numpy as np
from evojax_prune.engine import fit_population
from evojax_prune.engine.compilation import keep_compiled
from evojax_prune.core.head import head_spec
from evojax_prune.core.pruning import decode
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits, Split

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
keep_compiled(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
rng = np.random.default_rng(0)
part = Split(rng.random((40, 12), np.float32), np.arange(40, dtype=np.int32) % 3)
spec = head_spec("features", 12, 3, (8,))
fits = fit_population(
    decode(rng.random((2, 12)) < 0.7, spec, "features"),
    FeatureSplits(part, part, part, ("a", "b", "c")),
    Protocol(epochs=2),
    head=spec,
    engine="xla",
    form="primal",
)
found = sum("cache_hits" in hit for hit in hits)
print(json.dumps({"programs": fits.report.programs, "hits": found, "loss": fits.loss.tolist()}))
"""

IMPORT = """
import sys
import evojax_prune.engine, experiments.engine_speed, experiments.engine_curves
heavy = {"scipy", "pandas", "tyro", "evosax", "keras", "torch", "sklearn", "matplotlib",
         "tensorflow_datasets", "PIL", "safetensors"}
print(*sorted(heavy & sys.modules.keys()))
"""


def run(program: str, *args: str, **variables: str) -> str:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=plain | {"JAX_PLATFORMS": "cpu"} | variables,
    )
    return done.stdout


@pytest.mark.slow
def test_a_second_process_reads_the_programs_of_the_first(tmp_path: Path) -> None:
    first, second = (json.loads(run(TRAIN, str(tmp_path / "compiled"))) for _ in range(2))
    assert first["programs"] > 0
    assert first["hits"] == 0
    assert second["hits"] >= first["programs"]
    assert second["loss"] == first["loss"]


@pytest.mark.slow
def test_the_engine_and_its_benchmarks_can_be_carried_anywhere() -> None:
    assert run(IMPORT).split() == []
