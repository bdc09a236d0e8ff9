"""Settings from a YAML file, which is not trusted: bounded in size and depth, plain data only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic.fields import FieldInfo

from evojax_prune.core.errors import UserError, said_of, shortened
from evojax_prune.core.files import checked_path
from evojax_prune.core.options import suggestion
from evojax_prune.core.protocol import PROTOCOL_FIELDS, Protocol
from evojax_prune.data.files import open_file
from evojax_prune.run.config import RunConfig

Fields = Mapping[str, FieldInfo]
"""Options by name."""

MOST_BYTES = 2**20
MOST_VALUES = 10_000
DEEPEST = 20
LONGEST_NUMBER = 100
"""Characters: Python's time for reading a number grows with the square of them."""

_OLD_NUMBER = re.compile(r"[-+]?0[0-7_]+$|.*:")
"""What YAML 1.1 takes for a number, and people do not: ``010`` is 8, and ``1:30`` is 90."""


def nested_fields(field: FieldInfo) -> Fields | None:
    """The fields of a group within the settings, or None for a plain value."""
    return PROTOCOL_FIELDS if field.annotation is Protocol else None


def load_settings(path: Path) -> dict[str, Any]:
    """The settings of a YAML file.

    Raises:
        UserError: as for :func:`read_mapping`, or it has an unknown key.
    """
    settings = read_mapping(path, "--config", "configuration")
    _refuse_unknown_keys(settings, RunConfig.model_fields, str(checked_path(path, "--config")))
    return settings


def read_mapping(path: Path, called: str, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file, which is not trusted.

    Args:
        path: the file.
        called: what the user calls it, such as ``--config``.
        what: what it holds, such as ``configuration``.

    Raises:
        UserError: it cannot be read, is too large or too deep, is not YAML, has an alias, a tag
            or the same key twice, or does not hold a mapping.
    """
    path = checked_path(path, called)
    name = f"the {what} {path}"
    text = _read(path, name)
    try:
        _check_events(name, text)
        settings = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise UserError(f"{name} is not valid YAML: {said_of(error)}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(f"{name} holds a {type(settings).__name__}, expected 'key: value' lines")
    return settings


def _read(path: Path, name: str) -> str:
    """The file's text; never waits for a pipe, never reads more than is allowed."""
    try:
        with open_file(path) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{name} has more than {MOST_BYTES:,} bytes, so it is not a settings file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not valid YAML: {said_of(error)}") from None


def _check_events(name: str, text: str) -> None:
    """Refuse what would take long to build, before anything is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if count > MOST_VALUES:
            raise UserError(f"{name} has more than {MOST_VALUES:,} values")
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{name} uses YAML aliases: write the values out")
        if (tag := getattr(event, "tag", None)) is not None:
            raise UserError(f"{name} uses the YAML tag {tag}: write plain values")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UserError(f"{name} is nested deeper than {DEEPEST} levels")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that comes twice and numbers without end."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            self._refuse("<< merges keys: write the values out", node)
        for key, count in keys.most_common(1):
            if count > 1:
                self._refuse(f"the key {shortened(key)!r} is given twice", node)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and len(node.value) > LONGEST_NUMBER:
            self._refuse(f"a number has more than {LONGEST_NUMBER} characters", node)
        if number and _OLD_NUMBER.match(node.value):
            self._refuse(f"{node.value} is a number in base 8 or 60: write it in base 10", node)
        return super().construct_scalar(node)

    @staticmethod
    def _refuse(why: str, node: yaml.Node) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)


def _refuse_unknown_keys(settings: dict[str, Any], valid: Fields, where: str) -> None:
    for key, value in settings.items():
        if key not in valid:
            raise UserError(
                f"unknown key {shortened(repr(key))} in {where}{suggestion(str(key)[:80], valid)}"
            )
        nested = nested_fields(valid[key])
        if nested is None:
            continue
        if not isinstance(value, dict):
            raise UserError(
                f"{key} in {where} is {value!r}, expected keys of its own: {', '.join(nested)}"
            )
        _refuse_unknown_keys(value, nested, f"{where}, {key}")
