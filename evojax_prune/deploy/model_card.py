"""``MODEL_CARD.md``: what a model is, how well it does, and what it must not be taken for."""

from __future__ import annotations

from collections.abc import Sequence

from evojax_prune.core.head_card import HeadCard
from evojax_prune.deploy.costs import Cost
from evojax_prune.deploy.program import Program

_SHOWN_CLASSES = 100

_LICENCES = {
    "efficientnet-lite": "Apache-2.0 (EfficientNet-Lite of github.com/tensorflow/tpu)",
    "vgg": "CC BY 4.0 (Visual Geometry Group, Oxford)",
    "resnet50": "MIT (K. He)",
    "resnet101": "MIT (K. He)",
    "resnet152": "MIT (K. He)",
    "densenet": "BSD-3-Clause (DenseNet's authors)",
    "inceptionv3": "Apache-2.0 (Google)",
    "inceptionresnetv2": "Apache-2.0 (Google)",
    "xception": "MIT (Keras)",
    "mobilenet": "Apache-2.0 (Google)",
    "nasnet": "Apache-2.0 (Google)",
    "efficientnet": "Apache-2.0 (Google)",
    "convnext": "MIT (Meta)",
}
"""Of the ImageNet weights, by the beginning of the backbone's name; the longest one counts."""

_CALLS = {
    "onnx": """import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("{file}")
(probabilities,) = session.run(None, {{"{input}": {example}}})
""",
    "stablehlo": """import zipfile
import jax.export, numpy as np

program = jax.export.deserialize(bytearray(zipfile.ZipFile("{file}").read("program.bin")))
probabilities = program.call({example})
""",
    "safetensors": """from safetensors.numpy import load_file

tensors = load_file("{file}")  # weights by name, no program: the recipe is in the documentation
""",
}


def model_card(
    card: HeadCard,
    format: str,
    file: str,
    exported: Program,
    table: Sequence[Cost] = (),
    device: str = "",
) -> str:
    """The card as Markdown.

    Args:
        card: what the run says of its head.
        format: of the export.
        file: name of the export.
        exported: what was exported.
        table: what pruning buys; left out if empty.
        device: what that was measured on.
    """
    sections = [
        _what(card, exported),
        _data(card),
        _metrics(card),
        cost_section(table, device) if table else "",
        _limits(card),
        _licence(card),
        _call(card, format, file, exported),
    ]
    return "\n".join(section for section in sections if section)


def cost_table(table: Sequence[Cost]) -> str:
    """What pruning buys, as a Markdown table."""
    batches = list(table[0].milliseconds)
    head = ["", "parameters", "file, kB", *(f"batch {b}, ms" for b in batches)]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for cost in table:
        times = (f"{cost.milliseconds[b]:.3g}" for b in batches)
        lines.append(_row([cost.name, f"{cost.parameters:,}", f"{cost.bytes / 1e3:,.0f}", *times]))
    return "\n".join(lines)


def cost_section(table: Sequence[Cost], device: str) -> str:
    """The table, and what it means in words."""
    by_name = {cost.name: cost for cost in table}
    dense, pruned = by_name["dense head"], by_name["pruned head"]
    said = f"The pruned head has {_share(pruned.parameters, dense.parameters)} of the dense one's "
    said += "parameters."
    whole, short = (
        by_name.get("dense head, backbone"),
        by_name.get("pruned head, shortened backbone"),
    )
    if whole is not None:
        batch = max(whole.milliseconds)
        said += (
            f" With the backbone, which is the same for both, the dense head is "
            f"{_share(dense.parameters, whole.parameters)} of the parameters and "
            f"{_share(dense.milliseconds[batch], whole.milliseconds[batch])} of the time at batch "
            f"{batch}: pruning the head alone pays where many heads share one backbone, or where "
            "features come from elsewhere."
        )
        if short is not None:
            said += (
                f" Without the features that the head drops, backbone and head have "
                f"{_share(short.parameters, whole.parameters)} of the parameters and take "
                f"{_share(short.milliseconds[batch], whole.milliseconds[batch])} of the time."
            )
    return (
        f"## What pruning buys\n\n{cost_table(table)}\n\nMedian latency on {device}, programs "
        f"compiled by XLA. {said}\n"
    )


def licence(backbone: str) -> str:
    """The licence of a backbone's ImageNet weights, or that it is not known here."""
    known = [prefix for prefix in _LICENCES if backbone.startswith(prefix)]
    if not known:
        return "not known to this program: see where the weights come from"
    return _LICENCES[max(known, key=len)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _share(part: float, whole: float) -> str:
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 else f"{share:.2g}%"


def _plain(text: str) -> str:
    """A name from data, without what Markdown would take for its own."""
    return (
        "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|").replace("`", "'")
    )


def _what(card: HeadCard, exported: Program) -> str:
    source = (
        f"raw features of a features file ({exported.shape[0]} columns)"
        if card.backbone is None
        else f"{card.backbone.name}'s features"
    )
    takes = ", ".join(map(str, exported.shape))
    by = f"evojax_prune {card.written_by}" if card.written_by else "evojax_prune"
    classes = [_plain(name) for name in card.classes[:_SHOWN_CLASSES]]
    more = len(card.classes) - len(classes)
    return f"""# {_plain(card.data.name)}: a pruned classifier

A head on {source}, pruned by {by} (mode `{card.mode}`, {card.grain}).

- **Takes** `{exported.input_name}`: {exported.dtype} `[n, {takes}]`{_preparation(card, exported)}
- **Gives** `probabilities`: float32 `[n, {len(card.classes)}]`, in this order
- **Classes**: {", ".join(classes)}{f", and {more} more (in the file's metadata)" if more else ""}
"""


def _preparation(card: HeadCard, exported: Program) -> str:
    if exported.input_name == "features" or card.backbone is None:
        return ", raw: scaling is part of the model" if card.scaling != "none" else ""
    return (
        f", RGB, resized to that size without regard to their shape (in training: "
        f"{card.backbone.preprocessing or 'not known'}; the pixels' scaling is part of the model)"
    )


def _data(card: HeadCard) -> str:
    data = card.data
    rows = [(data.train, "training"), (data.selection, "selection"), (data.test, "test")]
    counted = ", ".join(f"{n:,} {name}" for n, name in rows if n is not None)
    groups = (
        f" Groups of images that belong together (`{_plain(card.groups)}`) are in one split each."
        if card.groups
        else " No groups were given: images that belong together may be in several splits."
    )
    digest = f", digest `{data.digest}`" if data.digest else ""
    return f"""## Data

{_plain(data.name)}, version `{_plain(data.version)}`{digest}.{f" Rows: {counted}." if counted else ""}{groups}
"""


def _metrics(card: HeadCard) -> str:
    lines = [
        _row(["head", "test accuracy", "95% interval", "parameters"]),
        _row(["---"] + ["---:"] * 3),
    ]
    for name, head in card.metrics.items():
        interval = head.test_interval
        lines.append(
            _row(
                [
                    "random masks of its size, the best" if name == "random" else _plain(name),
                    f"{head.test_accuracy:.4f}",
                    f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "not known",
                    f"{head.parameters:,}" if head.parameters is not None else "not known",
                ]
            )
        )
    on_test = (
        "\n**The head was selected on the test split: these accuracies are no forecast for new "
        "data.**\n"
        if card.selected_on_test
        else ""
    )
    sentence = f"\n{card.sentence}\n" if card.sentence else ""
    return "## Metrics\n\n" + "\n".join(lines) + "\n" + sentence + on_test


def _limits(card: HeadCard) -> str:
    return f"""## Limits

- Every input is given one of the {len(card.classes)} classes, also one that shows none of them.
- The accuracies hold for data like the test split; the intervals take its rows as independent.
- The probabilities are a softmax, not calibrated.
- The backbone is frozen and has what its own training data had, biases included.
"""


def _licence(card: HeadCard) -> str:
    if card.backbone is None:
        return ""
    return f"""## Licence of the backbone's weights

{card.backbone.name}, ImageNet weights: {licence(card.backbone.name)}. Weights of your own have your
licence; ImageNet's images were gathered for research. This program: Apache-2.0.

Weights: `{card.backbone.weights or "not known"}`.
"""


def _call(card: HeadCard, format: str, file: str, exported: Program) -> str:
    shape = ", ".join(map(str, (1, *exported.shape)))
    example = f"np.zeros(({shape}), np.{exported.dtype})"
    code = _CALLS[format].format(file=file, input=exported.input_name, example=example)
    return f"""## How to call it

```python
{code}```

The file's metadata (key `evojax_prune`; in a zip archive `card.json`) has all of this as JSON.
"""
