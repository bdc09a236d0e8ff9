"""The formats of an export, each a function from the program to bytes.

One more is one function here and one line in :data:`FORMATS`.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable

from evojax_prune.core.errors import UserError
from evojax_prune.deploy.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a StableHLO file runs on."""

OPSET = 21
"""Of ONNX; what onnxruntime 1.20 (2024) and later run."""


def to_safetensors(program: Program, metadata: str) -> bytes:
    """The weights, by name: the heads as in ``head.safetensors``, the rest under ``backbone.``."""
    from safetensors.numpy import save

    return save(program.tensors, metadata={"evojax_prune": metadata})


def to_stablehlo(program: Program, metadata: str) -> bytes:
    """A zip archive of ``program.bin``, which ``jax.export`` reads, and ``card.json``."""
    import jax
    from jax import export

    def function(x: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(x, cpu=program.for_cpu(), default=program.function)

    (batch,) = export.symbolic_shape("n")
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(program.example(batch))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (
            ("card.json", metadata.encode()),
            ("program.bin", bytes(exported.serialize())),
        ):
            archive.writestr(zipfile.ZipInfo(name), content)  # of no date: the same bytes each time
    return file.getvalue()


def to_onnx(program: Program, metadata: str) -> bytes:
    """An ONNX model by jax2onnx, the metadata in its ``metadata_props``."""
    if importlib.util.find_spec("jax2onnx") is None:
        raise UserError(
            "--format onnx needs jax2onnx, which is not installed: run `pip install "
            "'evojax-prune[onnx]'`, or choose --format stablehlo or safetensors"
        )
    from jax import export
    from jax2onnx import to_onnx as convert

    (batch,) = export.symbolic_shape("n")
    model = convert(
        program.function,
        [program.example(batch)],
        model_name="evojax_prune",
        opset=OPSET,
        input_names=[program.input_name],
        output_names=["probabilities"],
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = "evojax_prune", metadata
    return model.SerializeToString()


FORMATS: dict[str, tuple[str, Callable[[Program, str], bytes]]] = {
    "onnx": ("model.onnx", to_onnx),
    "stablehlo": ("model.stablehlo.zip", to_stablehlo),
    "safetensors": ("model.safetensors", to_safetensors),
}
"""File name and writer by the format's name."""


def writer(name: str) -> tuple[str, Callable[[Program, str], bytes]]:
    """File name and writer of a format.

    Raises:
        UserError: an unknown format.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}, expected one of {', '.join(FORMATS)}")
    return FORMATS[name]
