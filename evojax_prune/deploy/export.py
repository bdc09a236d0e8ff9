"""A run as one file that needs nothing of this package, with a model card beside it."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from evojax_prune.core.errors import UserError
from evojax_prune.core.files import checked_path, write_file
from evojax_prune.deploy.classifier import Classifier, load
from evojax_prune.deploy.costs import Measured, measure_costs
from evojax_prune.deploy.files import check_output, check_replaced, own_files
from evojax_prune.deploy.model_card import is_card, model_card
from evojax_prune.deploy.program import ExportedProgram, head_program, whole_program

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a StableHLO file runs on."""

OPSET = 21
"""Version of ONNX's operators; onnxruntime 1.20 (2024) and later run them."""


def export(
    run: str | Path,
    format: str,
    output: str | Path | None = None,
    *,
    with_backbone: bool = False,
    backbone_weights: str | Path | None = None,
) -> tuple[Path, ExportedProgram, tuple[Measured, ...]]:
    """Export a run to one file, and write its model card beside it.

    Args:
        run: the run's folder.
        format: one of :data:`FORMATS`.
        output: the file; ``model.onnx`` (or the like) in the run's folder if not given.
        with_backbone: take images instead of features.
        backbone_weights: see :func:`evojax_prune.load`.

    Returns:
        The file, what is in it, and what pruning buys.

    Raises:
        UserError: a run, format or output that cannot be used; nothing has been written then.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}, expected one of {', '.join(FORMATS)}")
    if backbone_weights is not None and not with_backbone:
        raise UserError(
            "--backbone-weights does nothing without --with-backbone: add it, or drop "
            "--backbone-weights"
        )
    name, convert = FORMATS[format]
    classifier = load(run, backbone_weights=backbone_weights)
    folder = Path(run).expanduser()
    folder = folder if folder.is_dir() else folder.parent
    file = folder / name if output is None else checked_path(output, "--output")
    check_output(file, own_files(Path(run).expanduser()))
    card_place = card_file(file)
    check_output(card_place)
    check_replaced(card_place, is_card)
    check_replaced(file, lambda _: card_place.exists())
    program = program_of(classifier, with_backbone=with_backbone)
    card = classifier.card.model_copy(update={"features": program.features})
    content = convert(program, card.model_dump_json())
    costs = measure_costs(classifier, with_backbone=with_backbone)
    text = model_card(classifier.card, format, file.name, program, costs)
    write_file(card_place, text)  # first: by it an older export is known and may be replaced
    write_file(file, content)
    return file, program, costs


def card_file(file: Path) -> Path:
    """The model card of an exported file, such as ``model.onnx.md``."""
    return file.with_name(f"{file.name}.md")


def program_of(classifier: Classifier, *, with_backbone: bool = False) -> ExportedProgram:
    """What is exported of a run: its heads, with the shortened backbone if that is asked for.

    Raises:
        UserError: the run has no backbone, or it cannot be loaded or exported.
    """
    if with_backbone and classifier.card.backbone is None:
        raise UserError(
            f"this head was made from given features ({classifier.card.data.name}), so there is no "
            "backbone to export with it: leave --with-backbone out"
        )
    if with_backbone:
        return whole_program(classifier.heads, classifier.backbone)
    return head_program(classifier.heads, classifier.card.features)


def to_safetensors(program: ExportedProgram, metadata: str) -> bytes:
    """The weights, by name: the heads as in ``head.safetensors``, the rest under ``backbone.``."""
    from safetensors.numpy import save

    return save(program.tensors, metadata={"evojax_prune": metadata})


def to_stablehlo(program: ExportedProgram, metadata: str) -> bytes:
    """A zip archive of ``program.bin``, which ``jax.export`` reads, and ``card.json``."""
    import jax

    def function(x: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(x, cpu=program.for_cpu(), default=program.function)

    (batch,) = jax.export.symbolic_shape("n")
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(program.example(batch))
    parts = {"card.json": metadata.encode(), "program.bin": bytes(exported.serialize())}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # undated: the same bytes each time
    return file.getvalue()


def to_onnx(program: ExportedProgram, metadata: str) -> bytes:
    """An ONNX model by jax2onnx, the metadata in its ``metadata_props``."""
    if importlib.util.find_spec("jax2onnx") is None:
        raise UserError(
            "--format onnx needs jax2onnx, which is not installed: run `pip install "
            "'evojax-prune[export]'`, or choose --format stablehlo or safetensors"
        )
    import jax
    from jax2onnx import to_onnx as convert

    from evojax_prune.deploy.max_pooling import sliced_max_pooling

    (batch,) = jax.export.symbolic_shape("n")
    # The converter counts on JAX's own promotion rules.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = convert(
            sliced_max_pooling(program.function),
            [program.example(batch)],
            model_name="evojax_prune",
            opset=OPSET,
            input_names=[program.input_name],
            output_names=["probabilities"],
        )
    entry = model.metadata_props.add()
    entry.key, entry.value = "evojax_prune", metadata
    return model.SerializeToString()


FORMATS: dict[str, tuple[str, Callable[[ExportedProgram, str], bytes]]] = {
    "onnx": ("model.onnx", to_onnx),
    "stablehlo": ("model.stablehlo.zip", to_stablehlo),
    "safetensors": ("model.safetensors", to_safetensors),
}
"""File name, and function from program and metadata to the file's content, by the format's name."""
