"""Settings from a YAML file, which is not trusted: bounded in size and depth, plain data only."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from evojax_prune.core.errors import UserError
from evojax_prune.core.options import suggestion
from evojax_prune.core.protocol import Protocol
from evojax_prune.run.config import RunConfig

Fields = Mapping[str, FieldInfo]
"""Options by name."""

PROTOCOL: Fields = getattr(Protocol, "__pydantic_fields__")  # noqa: B009
"""The options of a protocol."""

MOST_BYTES = 2**20
DEEPEST = 20


def nested_fields(field: FieldInfo) -> Fields | None:
    """The fields of a group within the settings, or None for a plain value."""
    return PROTOCOL if field.annotation is Protocol else None


def load_settings(path: Path) -> dict[str, Any]:
    """The settings of a YAML file.

    Raises:
        UserError: it cannot be read, is too large or too deep, is not YAML, has an alias or the
            same key twice, does not hold a mapping, or has an unknown key.
    """
    text = _read(path.expanduser())
    try:
        _check_events(path, text)
        settings = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"the configuration {path} is not valid YAML: {detail}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(
            f"the configuration {path} holds a {type(settings).__name__}, expected 'key: value' "
            "lines"
        )
    _refuse_unknown_keys(settings, RunConfig.model_fields, str(path))
    return settings


def _read(path: Path) -> str:
    """The file's text; never waits for a pipe, never reads more than is allowed."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UserError(f"the configuration {path} is not a file")
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the configuration {path}: {reason}") from None
    if len(content) > MOST_BYTES:
        raise UserError(
            f"the configuration {path} has more than {MOST_BYTES:,} bytes, so it is not a settings "
            "file"
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"the configuration {path} is not valid YAML: {error}") from None


def _check_events(path: Path, text: str) -> None:
    """Refuse what would take long to build, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"the configuration {path} uses YAML aliases: write the values out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UserError(f"the configuration {path} is nested deeper than {DEEPEST} levels")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _refuse_unknown_keys(settings: dict[str, Any], valid: Fields, where: str) -> None:
    for key, value in settings.items():
        if key not in valid:
            raise UserError(f"unknown key {key!r} in {where}{suggestion(str(key), valid)}")
        nested = nested_fields(valid[key])
        if nested is None:
            continue
        if not isinstance(value, dict):
            raise UserError(
                f"{key} in {where} is {value!r}, expected keys of its own: {', '.join(nested)}"
            )
        _refuse_unknown_keys(value, nested, f"{where}, {key}")
