"""Groups of options: pydantic models whose fields are YAML keys and, with dashes, flags.

Bounds stand once, here in the fields; so do the descriptions that ``--help`` shows.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo

from evojax_prune.core.errors import shortened
from evojax_prune.core.files import checked_path

PROGRAM = "python -m evojax_prune.run"
"""What a user types, for help and messages."""

Unit = Annotated[float, Field(ge=0, le=1)]
"""A number in [0, 1]."""


def _usable(path: Path, info: ValidationInfo) -> Path:
    return checked_path(path, str(info.field_name))


def _not_empty(path: Any, info: ValidationInfo) -> Any:
    if path == "":  # which Path takes for the current folder
        raise ValueError(f"{info.field_name} is '', expected a path")
    return path


def _named(text: str, info: ValidationInfo) -> str:
    checked_path(text, str(info.field_name))
    return text


def _layers(hidden: Any) -> Any:
    return () if hidden in ("linear", ["linear"], ("linear",)) else hidden


UserPath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_usable)]
"""A path that could be one."""

NameOrPath = Annotated[str, AfterValidator(_named)]
"""A name that may be a path."""

Layers = Annotated[tuple[Annotated[int, Field(ge=1, le=2**16)], ...], BeforeValidator(_layers)]
"""Units of each hidden layer; the word ``linear`` stands for none."""


class Options(BaseModel):
    """A group of options; unknown names, infinities and NaN are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_for_numbers(cls, given: Any) -> Any:
        refuse_truth_for_numbers(given, cls.model_fields)
        return given


def refuse_truth_for_numbers(given: Any, fields: Mapping[str, FieldInfo]) -> None:
    """Refuse ``true`` where a number is meant, which Python would take for 1.

    Args:
        given: settings by name; anything else is left to pydantic.
        fields: what they are for.

    Raises:
        ValueError: one is true or false, or holds it, and is to be a number.
    """
    for name, value in given.items() if isinstance(given, dict) else ():
        if name in fields and _is_number(fields[name].annotation):
            for part in value if isinstance(value, list | tuple) else (value,):
                if isinstance(part, bool):
                    raise ValueError(f"{name} is {str(part).lower()}, expected a number")


def _is_number(annotation: Any) -> bool:
    """Whether a field takes numbers, or several of them, and no truth values."""
    if typing.get_origin(annotation) is Annotated:
        return _is_number(typing.get_args(annotation)[0])
    kinds = typing.get_args(annotation)
    if not kinds:
        return annotation in (int, float)
    return all(_is_number(kind) for kind in kinds if kind not in (type(None), Ellipsis))


def metavar(name: str) -> dict[str, Any]:
    """What ``--help`` calls a flag's value."""
    return {"metavar": name}


def suggestion(word: str, valid: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """The end of a sentence on an unknown word: what may have been meant, and what there is.

    Args:
        word: the unknown one.
        valid: those that there are.
        shown: the same in fewer words, where they are many.
    """
    valid = list(valid)
    near = difflib.get_close_matches(word, valid, n=1)
    meant = f", did you mean {near[0]!r}?" if near else ";"
    return f"{meant} valid: {', '.join(valid if shown is None else shown)}"


def shares(value: Any, info: ValidationInfo) -> Any:
    """As :func:`assignments`, of names of classes, which may hold ``=``."""
    if isinstance(value, tuple | list):
        value = [str(part).rpartition("=") for part in value]
    return _mapping(value, info)


def assignments(value: Any, info: ValidationInfo) -> Any:
    """``("a=1", "b=2")``, as flags have it, as a mapping."""
    if isinstance(value, tuple | list):
        value = [str(part).partition("=") for part in value]
    return _mapping(value, info)


def _mapping(value: Any, info: ValidationInfo) -> Any:
    """Names, equals signs and values as a mapping; a mapping as it is."""
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(
                    f"{info.field_name} names {shortened(repr(name))}, which is not text: write "
                    "the name in quotes"
                )
    if not isinstance(value, tuple | list):
        return value
    if not all(name and equals for name, equals, _ in value):
        given = shortened(" ".join(map("".join, value)))
        raise ValueError(f"{info.field_name} is {given}, expected NAME=VALUE ...")
    names = [name for name, _, _ in value]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{info.field_name} has {shortened(twice[0])} twice: give it once")
    return {name: number for name, _, number in value}


_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "one of {expected}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "int_parsing_size": "a whole number of fewer digits",
    "too_short": "at least {min_length}",
    "string_too_long": "at most {max_length} characters",
    "tuple_type": "a list",
    "dict_type": "names with values",
    "dataclass_type": "keys of its own, such as epochs",
    "missing": "two numbers",
    "too_long": "at most {max_length} numbers",
}

MOST = 10
"""Most impossible values that are told of one by one."""


def sentences(error: ValidationError, known: Mapping[str, FieldInfo]) -> list[str]:
    """What pydantic complains of, one sentence per impossible value, and how many are not told.

    Args:
        error: of the values of some options.
        known: all options by name, of which one may be meant by an unknown name.
    """
    first: dict[str, dict[str, Any]] = {}  # of several complaints about one value
    for number, e in enumerate(error.errors()):
        first.setdefault(_place(e["loc"]) or str(number), dict(e))
    unknown = [name for name, e in first.items() if e["type"] == "extra_forbidden"]
    told = [_sentence(e, known) for name, e in first.items() if name not in unknown[1:]][:MOST]
    if unknown[1:]:  # the names that there are once
        told.append(f"unknown settings {shortened(', '.join(unknown[1:]), 300)}")
    left = len(first) - len(unknown[1:]) - MOST
    return told if left <= 0 else [*told, f"and {left} more like these"]


def _place(loc: tuple[int | str, ...]) -> str:
    return shortened(".".join(str(part) for part in loc if not isinstance(part, int)))


def _shown(value: Any) -> str:
    """A value in one line; text, and the words of a command line, as they were given."""
    if isinstance(value, tuple) and all(isinstance(word, str) for word in value):
        value = " ".join(value) or value
    return value if isinstance(value, str) and value.strip() else " ".join(repr(value).split())


def _fields_of(error: dict[str, Any], known: Mapping[str, FieldInfo]) -> list[str]:
    """Names that a group of settings has, when it is given another one."""
    group = str(error["loc"][0])
    fields = getattr(known[group].annotation, "__pydantic_fields__", {}) if group in known else {}
    return [f"{group}.{name}" for name in fields]


def _sentence(error: dict[str, Any], known: Mapping[str, FieldInfo]) -> str:
    """One line for one pydantic error: which option, its value, what was expected."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    name = _place(error["loc"])
    if error["loc"] and error["loc"][-1] == "[key]":
        where = name.removesuffix(".[key]")
        return f"{where} has the name {error['input']!r}, which is not text: write it in quotes"
    shown = shortened(_shown(error["input"]))
    expected = _EXPECTED.get(error["type"])
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name}{suggestion(name, known)}"
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown setting {name}{suggestion(name, _fields_of(error, known))}"
    if error["type"] == "missing" and isinstance(error["loc"][-1], str):
        return f"{name} is missing"
    if expected is None:
        return f"{name} is {shown}: {error['msg']}"
    return f"{name} is {shown}, expected {expected.format(**error.get('ctx', {}))}"
