"""``export``: a run as one file that needs nothing of this package, with a model card beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evojax_prune.deploy.classifier import Classifier, load
from evojax_prune.deploy.costs import costs, device
from evojax_prune.deploy.files import check_output, write_whole
from evojax_prune.deploy.formats import writer
from evojax_prune.deploy.model_card import model_card
from evojax_prune.deploy.program import Program, program

CARD = "MODEL_CARD.md"


def export_command(
    run: str | Path,
    format: str,
    output: str | Path | None = None,
    *,
    with_backbone: bool = False,
    backbone_weights: str | Path | None = None,
    measure: bool = True,
    echo: Callable[[str], None],
) -> int:
    """Export a run to one file, and write its model card beside it.

    Args:
        run: the run's folder.
        format: ``"onnx"``, ``"stablehlo"`` or ``"safetensors"``.
        output: the file; ``model.onnx`` (or the like) in the run's folder if not given.
        with_backbone: take images in place of features.
        backbone_weights: see :func:`evojax_prune.deploy.load`.
        measure: measure what pruning buys, for the card; takes some seconds.
        echo: told what was written.

    Returns:
        0.

    Raises:
        UserError: a run, format or output that cannot be used; nothing has been written then.
    """
    name, _ = writer(format)
    classifier = load(run, backbone_weights=backbone_weights)
    folder = Path(run).expanduser()
    folder = folder if folder.is_dir() else folder.parent
    file = folder / name if output is None else Path(output).expanduser()
    check_output(file, [Path(run).expanduser()])
    exported = program(classifier, with_backbone=with_backbone)
    content = export_model(classifier, format, exported)
    table = costs(classifier, with_backbone=with_backbone) if measure else ()
    text = model_card(
        classifier.card, format, file.name, exported, table, device() if table else ""
    )
    write_whole(file, [content])
    write_whole(file.with_name(CARD), [text.encode()])
    if exported.note:
        echo(exported.note)
    takes = f"{exported.dtype} [n, {', '.join(map(str, exported.shape))}]"
    echo(
        f"{file}: {len(content) / 1e6:.1f} MB, {exported.input_name} {takes} to probabilities of "
        f"{len(classifier.classes_)} classes; {CARD} is beside it"
    )
    return 0


def export_model(classifier: Classifier, format: str, exported: Program) -> bytes:
    """The content of an export.

    Args:
        classifier: the run.
        format: ``"onnx"``, ``"stablehlo"`` or ``"safetensors"``.
        exported: what is exported of it, :func:`evojax_prune.deploy.program.program`.

    Raises:
        UserError: an unknown format, or one whose converter is missing.
    """
    _, write = writer(format)
    card = classifier.card.model_copy(update={"features": exported.features})
    return write(exported, card.model_dump_json())
