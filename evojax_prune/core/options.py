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
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo

from evojax_prune.core.files import checked_path

PROGRAM = "python -m evojax_prune.run"
"""What a user types, for help and messages."""

Unit = Annotated[float, Field(ge=0, le=1)]
"""A number in [0, 1]."""


def _usable(path: Path, info: ValidationInfo) -> Path:
    return checked_path(path, str(info.field_name))


def _named(text: str, info: ValidationInfo) -> str:
    checked_path(text, str(info.field_name))
    return text


def _layers(hidden: Any) -> Any:
    return () if hidden in ("linear", ["linear"], ("linear",)) else hidden


UserPath = Annotated[Path, AfterValidator(_usable)]
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


def suggestion(word: str, valid: Iterable[str]) -> str:
    """The end of a sentence on an unknown word: what may have been meant, and what there is."""
    valid = list(valid)
    near = difflib.get_close_matches(word, valid, n=1)
    meant = f", did you mean {near[0]!r}?" if near else ";"
    return f"{meant} valid: {', '.join(valid)}"


def assignments(value: Any, info: ValidationInfo) -> Any:
    """``("a=1", "b=2")``, as flags have it, as a mapping."""
    if not isinstance(value, tuple | list):
        return value
    pairs = [str(part).partition("=") for part in value]
    if not all(name and equals for name, equals, _ in pairs):
        given = " ".join(map(str, value))
        raise ValueError(f"{info.field_name} is {given}, expected NAME=VALUE ...")
    return {name: number for name, _, number in pairs}
