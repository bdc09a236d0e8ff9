"""The data that a configuration names: their features, and a digest of their content."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from evojax_prune.core.errors import UserError
from evojax_prune.data import FeatureTable
from evojax_prune.features import cache, content_key, load_table
from evojax_prune.methods.observer import Observer
from evojax_prune.run.config import RunConfig
from evojax_prune.version import __version__


def load_data(
    config: RunConfig, dataset: str, observer: Observer | None, extract: bool = True
) -> FeatureTable:
    """The features of one of a configuration's data sets.

    Args:
        config: says how they are made.
        dataset: ``config.dataset`` or ``config.ood``.
        observer: None shows no progress bars.
        extract: False looks no further than the cache.

    Raises:
        NotExtractedError: the cache does not have them, but ``extract`` is false.
        UserError: the data cannot be used.
    """
    return load_table(
        dataset,
        **data_options(config),
        extraction_batch=config.extraction_batch,
        progress=observer is not None,
        extract=extract,
    )


def data_options(config: RunConfig) -> dict[str, Any]:
    """All that a data set's features follow from but its name."""
    names = (
        *("data_dir", "backbone", "backbone_weights"),
        *("image_size", "skip_unreadable", "groups"),
    )
    return {name: getattr(config, name) for name in names}


def refuse_within_data(config: RunConfig, output: Path) -> None:
    """Refuse to write below a folder of data, where the next run would take it for data.

    Raises:
        UserError: the output folder or the cache would lie there.
    """
    places = {"--output": output, "EVOJAX_PRUNE_CACHE": cache.folder(None)}
    for data in (config.dataset, config.ood):
        if data is None or not Path(data).expanduser().is_dir():
            continue
        root = os.path.realpath(Path(data).expanduser())
        for called, place in places.items():
            inner = Path(os.path.realpath(place))
            if inner.is_relative_to(root) and not any(
                part.startswith(".")
                for part in inner.relative_to(root).parts  # passed over
            ):
                raise UserError(
                    f"{called} is {place}, inside the data {data}, where the next run would take "
                    "its files for data: give another folder"
                )


def content_digest(config: RunConfig) -> str:
    """Hex digest of the rows of a configuration's data sets; no image is decoded.

    Raises:
        UserError: the data cannot be used.
    """
    sets = [config.dataset] + ([config.ood] if config.ood is not None else [])
    return digest([content_key(name, **data_options(config)) for name in sets])


def run_digest(config: RunConfig, content: str | None = None, more: object = None) -> str:
    """Hex digest of all that decides a run's numbers: settings, data, version of this package.

    Args:
        config: the settings.
        content: of :func:`content_digest`, if it is known already.
        more: plain data that decides the numbers, too.

    Raises:
        UserError: the data cannot be used.
    """
    content = content_digest(config) if content is None else content
    return digest([config.repeatable(), content, __version__, more])


def digest(plain: object) -> str:
    """20 hexadecimal digits that tell plain data from other plain data."""
    text = json.dumps(plain, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
