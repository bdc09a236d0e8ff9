"""Python files of the user's own, imported before anything is looked up by its name."""

from __future__ import annotations

import importlib.util
import operator
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evojax_prune.core.errors import UserError
from evojax_prune.core.files import checked_path

REGISTRIES = {
    "evojax_prune.methods": ("METHODS", "options.model_fields", "load.__call__"),
    "evojax_prune.objectives": ("OBJECTIVES", "objective.name", "of.__call__"),
    "evojax_prune.engine": ("OPTIMIZERS", "__call__"),
    "evojax_prune.data": ("SOURCES", "title", "claims", "load"),
    "evojax_prune.features.backbones": ("BACKBONES", "image_size", "weights_id", "load"),
    "evojax_prune.run.trackers": ("TRACKERS", "__call__"),
    "evojax_prune.report.writers": ("WRITERS", "__call__"),
}
"""Where plugins register, by module: the registry, and what everything in it has."""


def load_plugins(files: Sequence[str], settings: dict[str, Any]) -> None:
    """Import the files that the command line names.

    A settings file may come from anywhere, so the plugins that it names are not imported unless the
    command line names them, too.

    Args:
        files: of the command line, in order.
        settings: of ``--config``.

    Raises:
        UserError: a file cannot be imported, or only the settings name it.
    """
    wanted = settings.get("plugin") or ()
    trusted = [checked_path(file, "--plugin") for file in files]
    named = set(map(os.path.realpath, trusted))
    for file in wanted if isinstance(wanted, list | tuple) else ():
        if os.path.realpath(checked_path(str(file), "plugin")) not in named:
            raise UserError(
                f"the settings name the plugin {file}, which is code that would run here: add "
                f"--plugin {file} if you trust it"
            )
    for path in trusted:
        _load(path)


def _load(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"--plugin is {file}, and there is no file of that name: check the path")
    spec = importlib.util.spec_from_file_location(f"evojax_prune_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin is {file}, expected a Python file, FILE.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for it
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too
        del sys.modules[spec.name]
        said = " ".join(str(error).split())
        raise UserError(
            f"the plugin {file} cannot be imported ({type(error).__name__}: {said}): mend it"
        ) from error
    _check_registered(file)


def _check_registered(file: Path) -> None:
    """See that what was registered can be used; what nobody has imported yet is not looked at.

    Raises:
        UserError: it cannot, or has no name.
    """
    for module, (registry, *needed) in REGISTRIES.items():
        for name, value in getattr(sys.modules.get(module), registry, {}).items():
            for part in needed:
                try:
                    operator.attrgetter(part)(value)
                except AttributeError as error:
                    raise UserError(
                        f"the plugin {file} registers {name!r} in {registry}, which cannot be used "
                        f"({error}): see docs/extending.md for what goes there"
                    ) from None
            if not isinstance(name, str):
                raise UserError(
                    f"the plugin {file} registers {name!r} in {registry}, expected text as a name"
                )
