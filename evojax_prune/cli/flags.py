"""Flags and YAML files become one configuration: defaults < preset < file < flags.

The flags are made from the pydantic models of :mod:`evojax_prune.run.config`: tyro shows them and
takes the words apart, pydantic judges the values, so a wrong value is refused in the same words
wherever it comes from. Nothing here imports JAX: ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic.fields import FieldInfo

from evojax_prune.cli import distributed
from evojax_prune.cli.plugins import load_plugins
from evojax_prune.core.errors import UserError, shortened
from evojax_prune.core.options import PROGRAM, suggestion
from evojax_prune.run import config
from evojax_prune.run.config import RunConfig
from evojax_prune.run.presets import merged, preset
from evojax_prune.run.settings_file import load_settings, nested_fields

T = TypeVar("T")

DESCRIPTION = (
    "Prune the head of a transfer-learning network: backbone features are computed once, a genetic "
    "search finds the features or units worth keeping, and the result is compared with the dense "
    "head on data that nothing was selected on. What to do with a finished run: `python -m "
    "evojax_prune predict --help` and `export --help`; many runs: `sweep --help`."
)


def parse(args: Sequence[str] | None = None) -> RunConfig:
    """The configuration of a command line.

    Args:
        args: the words after the program's name; those of this process if None.

    Returns:
        The configuration, every value checked on its own.

    Raises:
        UserError: an unknown flag or key, an impossible value, an unreadable file.
        SystemExit: after ``--help`` (0) or a flag without its value (2).
    """
    args = list(sys.argv[1:] if args is None else args)
    _refuse_dropped(args)
    source = _source(args)
    file = load_settings(source.config) if source.config else {}
    load_plugins(source.plugin, file)
    asked = {k: v for k in ("protocol", "method", "mode") if (v := getattr(source, k)) is not None}
    given = merged(file, _flags(args, settled(merged(file, asked))))
    return config.validated(given)


def _source(args: list[str]) -> _Source:
    """The flags that decide what lies under the others; most commands name none of them."""
    names = {f"--{_dashed(field.name)}" for field in dataclasses.fields(_Source)}
    if names.isdisjoint(_flag_words(args)):
        return _Source()
    return _tyro(_Source, args, PROGRAM, None, add_help=False)[0]


def _refuse_dropped(args: list[str]) -> None:
    """Refuse files and NAME=VALUE that are given twice, as the first ones would be dropped."""
    named = [n for n, field in RunConfig.model_fields.items() if "=" in _metavar(field)]
    flags = {f"--{_dashed(name)}" for name in (*named, "config", "plugin")}
    given = _flag_words(args)
    for flag in flags.intersection(given):
        if given.count(flag) > 1:
            raise UserError(f"{flag} is given twice, of which only the last would count: join them")


def _flag_words(args: list[str]) -> list[str]:
    """The words that may be flags, without their values, in tyro's spelling."""
    return [_dashed(word.partition("=")[0]) for word in args if word.startswith("-")]


def settled(given: dict[str, Any]) -> dict[str, Any]:
    """Complete settings: the defaults, under the preset that is asked for, under what is given."""
    return merged(RunConfig().model_dump(), preset(given), given)


# --- flags ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Source:
    """The flags that decide what lies under the other flags."""

    config: Path | None = None
    plugin: tuple[str, ...] = ()
    protocol: str | None = None
    method: str | None = None
    mode: str | None = None


def _flags(args: list[str], under: dict[str, Any]) -> dict[str, Any]:
    """The settings that the flags change, as text; ``under`` is what they are laid over.

    Text, because pydantic is to judge it. Only switches are typed: one that is not given comes back
    as it was.
    """
    groups = _groups(under, _named(args))
    everything = dataclasses.make_dataclass(
        "Flags",
        [(g.title, g.described, dataclasses.field(default_factory=g.kind)) for g in groups],
    )
    parsed, unknown = _tyro(everything, args, PROGRAM, DESCRIPTION)
    if unknown:
        raise _unknown(unknown[0], _flag_names())
    changed: dict[str, Any] = {}
    for group in groups:
        given = getattr(parsed, group.title)
        if group.key is None:
            changed |= _changed(given, under)
        else:
            changed[group.key] = _changed(given, under[group.key])
    return changed


def _named(args: list[str]) -> set[str] | None:
    """The flags among the words, ``--no-`` apart; None, which stands for all, where help is asked.

    tyro takes a millisecond to make a flag, and there are a hundred.
    """
    words = set(_flag_words(args))
    if words & _OF_ALL:
        return None
    return {re.sub(r"^--(.*\.)?no-", r"--\1", word) for word in words} | words


_OF_ALL = {"-h", "--help"}
"""What tells of every flag."""


def parsed_words(kind: type[T], words: Sequence[str], command: str) -> T:
    """What a subcommand's words say.

    Args:
        kind: a dataclass of its arguments.
        words: after its name.
        command: its name.

    Raises:
        UserError: an unknown flag, or words that are missing or cannot be read.
    """
    parsed, unknown = _tyro(kind, list(words), f"python -m evojax_prune {command}", kind.__doc__)
    if unknown:
        names = [f"--{_dashed(field.name)}" for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        raise _unknown(unknown[0], names)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if getattr(parsed, field.name) == () and f"--{_dashed(field.name)}" in words:
            raise _without_value(field.name)
    return parsed


def _without_value(name: str) -> UserError:
    return UserError(f"--{_dashed(name)} is given without a value: give one, or drop it")


def _unknown(word: str, shown: list[str]) -> UserError:
    what = "unknown flag" if word.startswith("-") else "no flag takes the word"
    known = suggestion(word[:80], [flag for name in shown for flag in _in_full(name)], shown)
    return UserError(f"{what} {shortened(word)}{known}")


def _in_full(name: str) -> list[str]:
    """``--a.{b,c}`` as ``--a.b`` and ``--a.c``."""
    group, _, fields = name.rstrip("}").partition("{")
    return [group + field for field in fields.split(",")]


def _tyro(
    everything: type, args: list[str], prog: str, description: str | None, add_help: bool = True
) -> tuple[Any, list[str]]:
    """What tyro makes of the words; its boxed complaint becomes a sentence."""
    if args and _dashed(args[0]).startswith("--tyro-"):  # completion, which `python -m` has none of
        raise UserError(f"unknown flag {shortened(args[0])}: see {prog} --help")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                everything,
                prog=prog,
                description=description,
                args=args,
                return_unknown_args=True,
                add_help=add_help,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [line.strip("│╭╰─╮╯ ") for line in complaint.getvalue().splitlines()]
        words = " ".join(line for line in lines if line.strip("-"))
        if bad := _OF_NUMBERS.search(words):
            raise UserError(f"{bad[1]} is {bad[3]}, expected {_NUMBERS[bad[2]]}") from None
        if missing := _OF_NOTHING.search(words):
            name = missing[1]
            if not name.startswith("--"):
                raise UserError(f"there is no flag --{name}: give its value alone") from None
            raise UserError(
                f"{name} has no value; one that starts with - is written {name}=-..., "
                "and a path ./-..."
            ) from None
        if absent := _REQUIRED.search(words):
            names = [part.split()[0] for part in absent[1].split("(required)") if part.strip()]
            raise UserError(f"{' and '.join(names)} missing: see {prog} --help") from None
        raise UserError(words) from None


_REQUIRED = re.compile(r"Required options .*?: (.*) For full helptext")
_OF_NOTHING = re.compile(r"Missing value for argument '([\w.-]+)'")
_NUMBERS = {"INT": "a whole number", "FLOAT": "a number"}
_OF_NUMBERS = re.compile(r"Error parsing (--[\w-]+): .*?(INT|FLOAT) could .*? from \['(.*?)'\]")
"""How tyro says that a word is not a number."""


def _changed(parsed: Any, under: dict[str, Any]) -> dict[str, Any]:
    """The flags of one group that were given; a switch comes back as it was if it was not."""
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(parsed)}
    if empty := [name for name, value in values.items() if value == ()]:
        raise _without_value(empty[0])
    return {
        name: value
        for name, value in values.items()
        if name not in ("config", "distributed")
        and value is not None
        and not (isinstance(value, bool) and value == bool(under[name]))
    }


class _Group(typing.NamedTuple):
    """A titled group of ``--help``; ``key`` names the nested settings that it fills, if any."""

    title: str
    key: str | None
    kind: type

    @property
    def described(self) -> Any:
        """The kind with its description, for which tyro would search the source of this module."""
        return Annotated[self.kind, tyro.conf.arg(help=self.kind.__doc__)]


def _groups(under: dict[str, Any], named: set[str] | None) -> list[_Group]:
    """The groups of the flags that are named, or of all."""

    def wanted(flag: str) -> bool:
        return named is None or f"--{_dashed(flag)}" in named

    groups = []
    for options in config.GROUPS:
        own = options.model_fields
        nested = {n: fields for n, f in own.items() if (fields := nested_fields(f)) is not None}
        flags = [_flag(n, n, f, under[n]) for n, f in own.items() if n not in nested and wanted(n)]
        if options is config.SourceOptions and wanted("config"):
            flags.append(_CONFIG_FLAG)
        if options is config.TrainingOptions and wanted("distributed"):
            flags.append(_DISTRIBUTED_FLAG)
        if flags:
            title = options.__name__.removesuffix("Options").lower()
            groups.append(_Group(title, None, _group_class(title, options.__doc__, flags)))
        for name, fields in nested.items():
            inner = {n: f"{name}.{n}" for n in fields if wanted(f"{name}.{n}")}
            flags = [_flag(n, flag, fields[n], under[name][n]) for n, flag in inner.items()]
            if flags:
                made = _group_class(name, own[name].description, flags)
                groups.append(_Group(name, name, made))
    return groups


_CONFIG_FLAG = (
    "config",
    Annotated[
        str | None,
        tyro.conf.arg(
            name="config",
            prefix_name=False,
            metavar="FILE.yaml",
            help="file of settings; a flag overrides the file, an unknown key is refused",
            help_behavior_hint="(default: none)",
        ),
    ],
    dataclasses.field(default=None),
)


_DISTRIBUTED_FLAG = (
    "distributed",
    Annotated[bool, tyro.conf.arg(name="distributed", prefix_name=False, help=distributed.HELP)],
    dataclasses.field(default=False),
)
"""Decides where a run trains and nothing that it finds, so it is no setting: see ``cli.main``."""


def _group_class(name: str, description: str | None, flags: list[Any]) -> type:
    made = dataclasses.make_dataclass(name, flags)
    made.__doc__ = description
    return made


def _flag(name: str, flag: str, field: FieldInfo, default: Any) -> tuple[str, Any, Any]:
    """One field of a group's dataclass: name, type with tyro's marker, default."""
    if field.annotation is bool:
        shown = tyro.conf.arg(name=_dashed(flag), prefix_name=False, help=field.description)
        return name, Annotated[bool, shown], dataclasses.field(default=bool(default))
    shown = tyro.conf.arg(
        name=_dashed(flag),
        prefix_name=False,
        help=field.description,
        metavar=_metavar(field),
        help_behavior_hint=f"(default: {_shown(default)})",
    )
    kind = tuple[str, ...] | None if _is_many(field.annotation) else str | None
    return name, Annotated[kind, shown], dataclasses.field(default=None)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _shown(default: Any) -> str:
    if default is None:
        return "none"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _members(annotation: Any) -> list[Any]:
    """The types in an annotation, taken out of Optional and Annotated."""
    if typing.get_origin(annotation) is Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, type(int | None)):
        inner = typing.get_args(annotation)
        return [m for part in inner if part is not type(None) for m in _members(part)]
    return [annotation]


def _is_many(annotation: Any) -> bool:
    """Whether a flag takes several words."""
    return any(typing.get_origin(m) in (tuple, dict) for m in _members(annotation))


def _metavar(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "metavar" in extra:
        return str(extra["metavar"])
    if _is_many(field.annotation):
        return "INT [INT ...]"
    kind = _members(field.annotation)[0]
    if typing.get_origin(kind) is typing.Literal:
        return "{" + ",".join(typing.get_args(kind)) + "}"
    return {int: "INT", float: "FLOAT", bool: "{true,false}", Path: "PATH"}.get(kind, "TEXT")


def _flag_names() -> list[str]:
    names = ["--config", distributed.FLAG]
    for name, field in RunConfig.model_fields.items():
        nested = nested_fields(field)
        inner = f".{{{','.join(map(_dashed, nested))}}}" if nested else ""
        names.append(f"--{_dashed(name)}{inner}")
    return names
