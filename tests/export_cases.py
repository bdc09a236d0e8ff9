"""Exported models, run where this package is not, and images for them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import deploy_cases
import numpy as np
import pytest

from evojax_prune.core.head_card import HeadCard

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("jax2onnx", "onnxruntime")),
    reason="the extra 'export' is not installed",
)

RUN_ONNX = """
import sys
sys.modules.update(jax=None, evojax_prune=None)
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(name,) = [one.name for one in session.get_inputs()]
x = np.load(sys.argv[2])
both = [session.run(None, {name: part})[0] for part in (x[:1], x[1:])]
np.save(sys.argv[3], np.concatenate(both))
print(name, session.get_modelmeta().custom_metadata_map["evojax_prune"])
"""

RUN_STABLEHLO = """
import sys
sys.modules.update(evojax_prune=None, flax=None)
import zipfile, jax.export, numpy as np
archive = zipfile.ZipFile(sys.argv[1])
program = jax.export.deserialize(bytearray(archive.read("program.bin")))
x = np.load(sys.argv[2])
np.save(sys.argv[3], np.concatenate([program.call(part) for part in (x[:1], x[1:])]))
print("input", archive.read("card.json").decode())
"""


def elsewhere(code: str, model: Path, x: np.ndarray) -> tuple[np.ndarray, str, HeadCard]:
    """What a model gives in a process of its own: probabilities, name of the input, card."""
    inputs, outputs = model.with_name("inputs.npy"), model.with_name("outputs.npy")
    np.save(inputs, x)
    words = [sys.executable, "-c", code, *map(str, (model, inputs, outputs))]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=model.parent)
    assert done.returncode == 0, done.stderr
    name, told = done.stdout.split(" ", 1)
    return np.load(outputs), name, HeadCard.model_validate_json(told)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-4, and every class equal; there are several classes."""
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    assert len(set(expected.argmax(1))) > 1


def pixels(count: int, size: int) -> np.ndarray:
    from evojax_prune.features.extract import resized

    return np.stack([resized(image, size) for image in deploy_cases.photographs(count)])
