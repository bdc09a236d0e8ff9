"""Formats that are read but not trusted: good files, damaged ones, and how each is read."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import deploy_cases
import numpy as np
import safetensors.numpy
import test_cache
import torch_files
import yaml
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from journal_cases import sealed, unsealed
from PIL import Image
from search_cases import FITNESS

from evojax_prune.core.errors import UserError
from evojax_prune.core.protocol import PROTOCOL_FIELDS
from evojax_prune.data import load, make_splits
from evojax_prune.data.decoding import UnreadableImageError, decode_image
from evojax_prune.data.sources.source import LoadOptions
from evojax_prune.deploy import load as load_classifier
from evojax_prune.features import cache
from evojax_prune.features.backbones.torch_file import load_tensors
from evojax_prune.report.writers import settings_text
from evojax_prune.run.config import RunConfig, validated
from evojax_prune.run.settings_file import load_settings
from evojax_prune.search import Evaluation
from evojax_prune.search.journal import Journal

# --- bytes ---------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
"""Counts and sizes at which formats and languages end."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A good file with some of its bytes changed, moved, left out or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([1, 2, 4, 8, 30, 300]))
        kind = draw(st.integers(0, 5))
        if kind == 0 and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == 1:
            number = draw(st.sampled_from(NUMBERS)) % 256 ** min(length, 8)
            order = draw(st.sampled_from(["little", "big"]))
            data[at : at + min(length, 8)] = number.to_bytes(min(length, 8), order)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            data[at:at] = draw(st.binary(max_size=20))
        else:
            del data[at:]
    return bytes(data)


def bytes_like(*good: bytes) -> st.SearchStrategy[bytes]:
    """Damaged good files, and any bytes behind the way they begin."""
    return st.one_of(
        *map(damaged, good),
        st.builds(bytes.__add__, st.sampled_from([b"", *(g[:8] for g in good)]), st.binary()),
    )


# --- settings ------------------------------------------------------------------------------------

WORDS = ["none", "auto", "inf", "nan", "1e999", "-1", "0", "true", "~", "../x", "a\0b", "é" * 200]
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=20),
    st.sampled_from(["search", "features", "paper", "digits", "sensitivity", "standard", "size"]),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def settings_like(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of which some have any value, and some are as they may be."""
    made = draw(st.dictionaries(st.sampled_from(sorted(RunConfig.model_fields)), VALUES))
    for name in draw(st.sets(st.sampled_from(["search_protocol", "final_protocol"]))):
        made[name] = draw(st.dictionaries(st.sampled_from(sorted(PROTOCOL_FIELDS)), VALUES))
    return made


def configure(given: dict[str, Any]) -> None:
    config = validated(given)
    again = validated(yaml.safe_load(settings_text(config.repeatable())))
    assert again.repeatable() == config.repeatable()
    config.options()


def settings_bytes() -> st.SearchStrategy[bytes]:
    def dumped(made: dict[str, Any]) -> bytes:
        return yaml.safe_dump(made, allow_unicode=True).encode("utf-8", "surrogatepass")

    text = b"seed: 1\nhidden: [8, 4]\nsearch_protocol: {epochs: 2, nesterov: no}\nmargin: 1e-2\n"
    return st.one_of(settings_like().map(dumped), bytes_like(text, b"&a [*a]\n? {b: !!x c}\n"))


# --- arrays --------------------------------------------------------------------------------------


def npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, allow_pickle=True, **arrays)
    return file.getvalue()


ROWS = np.arange(24, dtype=np.float32).reshape(12, 2)
LABELS = np.arange(12) % 2
GOOD_NPZ = [
    npz(x_train=ROWS, y_train=LABELS),
    npz(True, x_train=ROWS, y_train=LABELS.astype(str), x_test=ROWS, y_test=LABELS.astype(str)),
    npz(x_train=ROWS, y_train=LABELS, groups_train=LABELS, classes=np.array(["a", "b"])),
]


@st.composite
def odd_arrays(draw: st.DrawFn) -> bytes:
    """Arrays of any type and shape, under names that are read."""
    dtypes = st.one_of(
        hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.byte_string_dtypes(max_len=5)
    )
    shapes = st.sampled_from([(12, 2), (12,), (12, 1), (), (0, 2), (12, 0), (1, 12, 2), (2, 2)])
    made = {"x_train": ROWS, "y_train": LABELS}
    names = ["x_train", "y_train", "x_test", "y_test", "groups_train", "classes"]
    for name in draw(st.sets(st.sampled_from(names), min_size=1)):
        made[name] = draw(hnp.arrays(draw(dtypes), draw(shapes)))
    return npz(**made)


def read_features(path: Path) -> None:
    table = load(str(path), LoadOptions())
    make_splits(table, selection="resampled", selection_fraction=0.3, test_fraction=0.2, seed=0)


# --- the journal, the cache, weights, heads ------------------------------------------------------

CONFIG = {"seed": 1, "protocol": {"epochs": 2}}


def journalled(folder: Path) -> bytes:
    journal = Journal(folder / "journal", CONFIG, [FITNESS, FITNESS])
    for occasion in range(2):
        names = [f"{occasion:016x}{i:016x}" for i in range(3)]
        values = np.arange(6.0).reshape(3, 2)
        journal.record(names, occasion, Evaluation(values, {"epochs": np.arange(3)}))
    return (folder / "journal").read_bytes()


def read_journal(path: Path) -> None:
    journal = Journal(path, CONFIG, [FITNESS, FITNESS])
    journal.recall([f"{0:032x}"], 0)
    journal.record(["f" * 32], 7, Evaluation(np.zeros((1, 2)), {}))


def relined(written: bytes) -> st.SearchStrategy[bytes]:
    """Lines that hold anything, under checksums that are right."""

    def put(line: int, key: str, value: Any) -> bytes:
        lines = unsealed(written)
        lines[line % len(lines)][key] = value
        return sealed(*lines)

    keys = st.sampled_from(
        ["schema", "config", "guide", "occasion", "genomes", "values", "columns"]
    )
    values = VALUES | st.lists(
        st.lists(st.floats(), min_size=2, max_size=2), min_size=3, max_size=3
    )
    return st.builds(put, st.integers(0, 2), keys, values)


def read_cached(path: Path) -> None:
    os.replace(path, cache.path_of(path.parent, test_cache.KEY))
    read = cache.read(path.parent, test_cache.KEY)
    assert read is None or test_cache.same(read, test_cache.entry())


def cached(folder: Path) -> bytes:
    cache.write(folder, test_cache.KEY, test_cache.entry())
    return cache.path_of(folder, test_cache.KEY).read_bytes()


TENSORS = {"a.weight": np.ones((2, 3), np.float32), "b": np.arange(4)}


def claims(file: Path) -> st.SearchStrategy[bytes]:
    """Weights whose shapes are not those of their numbers."""
    sizes = st.sampled_from([-1, 0, 1, 2, 3, 6, 2**31, 2**62])
    return st.builds(
        lambda shape, zipped: torch_files.write(
            file, TENSORS, zipped=zipped, claimed={"a.weight": tuple(shape)}
        ).read_bytes(),
        st.lists(sizes, max_size=3),
        st.booleans(),
    )


def read_tensors(path: Path) -> None:
    for tensor in load_tensors(path).values():
        assert tensor.nbytes <= 2**20


def heads(folder: Path) -> list[bytes]:
    for name, features, more in (("one", 5, {"scaling": "standard"}), ("two", 6, {"folds": 2})):
        if not (folder / name).exists():
            deploy_cases.write_run(folder / name, features, **more)
    return [(folder / name / "head.safetensors").read_bytes() for name in ("one", "two")]


@st.composite
def odd_heads(draw: st.DrawFn, content: bytes) -> bytes:
    """A head in which tensors have any type and shape, or its card says anything."""
    tensors, card = safetensors.numpy.load(content), card_of(content)
    for name in draw(st.sets(st.sampled_from(sorted(tensors)), max_size=2)):
        dtype = draw(st.sampled_from(["f4", "f2", "i8", "u1"]))
        shape = draw(st.lists(st.integers(0, 6), max_size=3))
        tensors[name] = np.full(shape, draw(st.sampled_from([0, 1, 100, 255])), dtype)
    parts = [card, card["data"], card["metrics"]["pruned"]]
    for _ in range(draw(st.integers(0, 2))):
        part = draw(st.sampled_from(parts))
        part[draw(st.sampled_from(sorted(part)))] = draw(VALUES)
    return safetensors.numpy.save(tensors, {"evojax_prune": json.dumps(card)})


def card_of(content: bytes) -> dict[str, Any]:
    (size,) = np.frombuffer(content[:8], "<u8")
    header = json.loads(content[8 : 8 + int(size)])
    return json.loads(header["__metadata__"]["evojax_prune"])


def use_head(path: Path) -> None:
    classifier = load_classifier(path)
    probabilities = classifier.predict_proba(np.ones((2, classifier.card.features), np.float32))
    assert probabilities.shape == (2, len(classifier.classes_))


# --- images --------------------------------------------------------------------------------------


def picture(format: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((9, 7), 50).convert(mode).save(file, format)
    return file.getvalue()


PICTURES = [
    *(picture(f) for f in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA")),
    *(picture("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
    picture("JPEG", "CMYK"),
]


def read_image(path: Path) -> None:
    try:
        decoded = decode_image(path)
    except UnreadableImageError as error:
        raise UserError(str(error)) from None
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.nbytes < 2**28


# --- the attack ----------------------------------------------------------------------------------


class Format(NamedTuple):
    """A format that is read.

    Attributes:
        cases: of files, given a folder to make good ones in.
        read: reads one file.
        count: cases by default, a second or two of them.
        name: of the file.
    """

    cases: Callable[[Path], st.SearchStrategy[bytes]]
    read: Callable[[Path], object]
    count: int
    name: str


FORMATS = {
    "settings": Format(
        lambda _: settings_bytes(), lambda path: configure(load_settings(path)), 150, "c.yaml"
    ),
    "features": Format(lambda _: bytes_like(*GOOD_NPZ) | odd_arrays(), read_features, 300, "f.npz"),
    "journal": Format(
        lambda f: bytes_like(journalled(f)) | relined(journalled(f)), read_journal, 300, "journal"
    ),
    "cache": Format(lambda f: bytes_like(cached(f)), read_cached, 300, "entry"),
    "weights": Format(
        lambda f: (
            bytes_like(
                torch_files.write(f / "a", TENSORS).read_bytes(),
                torch_files.write(f / "b", TENSORS, zipped=True).read_bytes(),
            )
            | claims(f / "c")
        ),
        read_tensors,
        300,
        "w.pth",
    ),
    "heads": Format(
        lambda f: bytes_like(*heads(f)) | st.one_of(*map(odd_heads, heads(f))),
        use_head,
        200,
        "head.safetensors",
    ),
    "images": Format(lambda _: bytes_like(*PICTURES), read_image, 300, "image.png"),
}
