"""The model card: what a model is, how well it does, and what it must not be taken for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evojax_prune.core.head_card import DataCard, HeadCard
from evojax_prune.deploy.costs import DENSE, PRUNED, SHORTENED, WHOLE, Measured, device
from evojax_prune.deploy.program import ExportedProgram

_SHOWN_CLASSES = 100

_LITE_LICENCE = "Apache-2.0 (EfficientNet-Lite of github.com/tensorflow/tpu)"

_KERAS_LICENCES = {
    "vgg16": "CC BY 4.0 (Visual Geometry Group, Oxford)",
    "vgg19": "CC BY 4.0 (Visual Geometry Group, Oxford)",
    "resnet": "MIT (K. He)",
    "densenet": "BSD-3-Clause (the authors of DenseNet)",
    "inception_v3": "Apache-2.0 (Google)",
    "inception_resnet_v2": "Apache-2.0 (Google)",
    "xception": "MIT (Keras)",
    "mobilenet": "Apache-2.0 (Google)",
    "mobilenet_v2": "Apache-2.0 (Google)",
    "mobilenet_v3": "Apache-2.0 (Google)",
    "nasnet": "Apache-2.0 (Google)",
    "efficientnet": "Apache-2.0 (Google)",
    "efficientnet_v2": "Apache-2.0 (Google)",
    "convnext": "MIT (Meta)",
}
"""Of the ImageNet weights, by the module of ``keras.applications``."""

_TEMPLATE = """# {title}: a pruned classifier

A head on {source}, pruned by evojax_prune {written_by} (mode `{card.mode}`, {card.grain}).

- **Input** `{program.input_name}`: {program.dtype} `[n, {takes}]`, {preparation}
- **Output** `probabilities`: float32 `[n, {outputs}]`, in the order of the classes
- **Classes**: {classes}

## How to call it

```python
{call}
```

## Data

{title}, version `{version}`, digest `{digest}`. {rows} {groups}

## Metrics

{metrics}

{sentence}{selected_on_test}

## What pruning buys

{costs}

Median latency on {device}, programs compiled by XLA. {bought}

## Limits

- Every input is given one of the {outputs} classes, also one that shows none of them.
- The accuracies hold for data like the test split; the intervals take its rows as independent.
- The probabilities are a softmax and are not calibrated.
- The backbone is frozen and keeps the biases of its own training data.

## Licence

{licence}
"""

_CALLS = {
    "onnx": """import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("{file}")
(probabilities,) = session.run(None, {{"{input}": {example}}})""",
    "stablehlo": """import zipfile
import jax.export, numpy as np  # jax.export reads with the package flatbuffers

program = jax.export.deserialize(bytearray(zipfile.ZipFile("{file}").read("program.bin")))
probabilities = program.call({example})""",
    "safetensors": """from safetensors.numpy import load_file

tensors = load_file("{file}")  # names and use: see evojax_prune's README, head.safetensors""",
}


def model_card(
    card: HeadCard, format: str, file: str, program: ExportedProgram, costs: Sequence[Measured]
) -> str:
    """The card as Markdown.

    Args:
        card: what the run says of its head.
        format: of the export.
        file: name of the export.
        program: what was exported.
        costs: what pruning buys.
    """
    backbone = card.backbone
    return _TEMPLATE.format(
        card=card,
        digest=_plain(card.data.digest),
        program=program,
        title=_plain(card.data.name),
        written_by=_plain(card.written_by),
        sentence=_plain(card.sentence),
        version=_plain(card.data.version),
        source="given features" if backbone is None else f"the features of {_plain(backbone.name)}",
        takes=", ".join(map(str, program.shape)),
        preparation=_preparation(card, program),
        outputs=len(card.classes),
        classes=_classes(card),
        call=_call(format, file, program),
        rows=_rows(card.data),
        groups=_groups(card),
        metrics=_metrics(card),
        selected_on_test=_SELECTED_ON_TEST if card.selected_on_test else "",
        costs=cost_table(costs),
        device=device(),
        bought=bought(costs),
        licence=_licence(card),
    )


def is_card(file: Path) -> bool:
    """Whether a file looks like a card that was written here."""
    with file.open(errors="replace") as stream:
        return "pruned by evojax_prune" in stream.read(1 << 16)


def cost_table(costs: Sequence[Measured]) -> str:
    """Parameters, file size and latency, as a Markdown table."""
    batches = list(costs[0].milliseconds)
    rows = [
        [
            cost.name,
            f"{cost.parameters:,}",
            f"{cost.bytes / 1e3:,.0f}",
            *(_figure(cost.milliseconds[batch]) for batch in batches),
        ]
        for cost in costs
    ]
    return _table(["", "parameters", "file, kB", *(f"batch {b}, ms" for b in batches)], rows)


def bought(costs: Sequence[Measured]) -> str:
    """What the table means, in words."""
    by_name = {cost.name: cost for cost in costs}
    dense, pruned = by_name[DENSE], by_name[PRUNED]
    parameters = _share(pruned.parameters, dense.parameters)
    said = f"The pruned head has {parameters} of the dense one's parameters."
    whole, short = by_name.get(f"{DENSE}, {WHOLE}"), by_name.get(f"{PRUNED}, {SHORTENED}")
    if whole is not None:
        batch = max(whole.milliseconds)
        time = whole.milliseconds[batch]
        said += (
            f" The dense head is {_share(dense.parameters, whole.parameters)} of the parameters of "
            f"backbone and head, and {_share(dense.milliseconds[batch], time)} of their time at "
            f"batch {batch}: pruning the head alone pays where many heads share one backbone, or "
            "where the features are computed elsewhere."
        )
        if short is not None:
            said += (
                " Without the features that the head drops, backbone and head have "
                f"{_share(short.parameters, whole.parameters)} of the parameters and take "
                f"{_share(short.milliseconds[batch], time)} of the time."
            )
    return said


_SELECTED_ON_TEST = (
    "\n\n**The head was selected on the test split: these accuracies say little about new data.**"
)


def licence(backbone: str) -> str:
    """The licence of a backbone's own weights, or that it is not known here."""
    from evojax_prune.features.backbones import KERAS, LITE

    known = _KERAS_LICENCES.get(KERAS[backbone].module) if backbone in KERAS else None
    known = _LITE_LICENCE if backbone in LITE else known
    return known or "not known here, see where they come from"


def _licence(card: HeadCard) -> str:
    if card.backbone is None:
        return "That of the data, and of the backbone that made the features, which is not known."
    name, weights = card.backbone.name, card.backbone.weights
    return (
        f"ImageNet weights of {name}: {licence(name)}; images of ImageNet are for research. The "
        f"backbone of this model had the weights `{_plain(weights)}`; if those are your own, your "
        "licence holds."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _figure(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(part: float, whole: float) -> str:
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 else f"{share:.2g}%"


def _plain(text: str) -> str:
    """A name from data, without what Markdown would take for its own."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _preparation(card: HeadCard, program: ExportedProgram) -> str:
    if program.input_name == "features" or card.backbone is None:
        return "as the backbone gives them; what is done to them is part of the model"
    return (
        "RGB, resized to that size without regard to their shape (in training: "
        f"{_plain(card.backbone.preprocessing)}; scaling the pixels is part of the model)"
    )


def _classes(card: HeadCard) -> str:
    shown = ", ".join(_plain(name) for name in card.classes[:_SHOWN_CLASSES])
    more = len(card.classes) - _SHOWN_CLASSES
    return f"{shown}, and {more} more, which the file's metadata name" if more > 0 else shown


def _call(format: str, file: str, program: ExportedProgram) -> str:
    shape = ", ".join(map(str, (1, *program.shape)))
    example = f"np.zeros(({shape}), np.{program.dtype})"
    return _CALLS[format].format(file=file, input=program.input_name, example=example)


def _rows(data: DataCard) -> str:
    """How many rows each split has; heads that are selected on fresh splits share theirs."""
    if not data.selection:
        return f"Rows: {data.train:,} training and selection, {data.test:,} test."
    return f"Rows: {data.train:,} training, {data.selection:,} selection, {data.test:,} test."


def _groups(card: HeadCard) -> str:
    if card.groups:
        return f"Images of one group (`{_plain(card.groups)}`) are in one split."
    return "No groups were given: images that belong together may be in several splits."


def _metrics(card: HeadCard) -> str:
    rows = []
    for name, head in card.metrics.items():
        low, high = head.test_interval
        shown = "random masks of its size, the best" if name == "random" else _plain(name)
        accuracy, interval = f"{head.test_accuracy:.4f}", f"{low:.4f} to {high:.4f}"
        rows.append([shown, accuracy, interval, f"{head.parameters:,}"])
    return _table(["head", "test accuracy", "95% interval", "parameters"], rows)
