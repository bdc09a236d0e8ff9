"""Python files of the user's own, imported before anything is looked up by its name."""

from __future__ import annotations

import contextlib
import importlib.util
import operator
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import SOURCE_SUFFIXES, SourceFileLoader
from pathlib import Path
from typing import Any

from evojax_prune.core.errors import PLUGINS, UserError, described, plugin_error, said_of
from evojax_prune.core.files import checked_path

REGISTRIES = {
    "method": ("methods", "METHODS", "options.model_fields", "load.__call__"),
    "objective": ("objectives", "OBJECTIVES", "objective.name", "of.__call__"),
    "optimizer": ("engine", "OPTIMIZERS", "__call__"),
    "source": ("data", "SOURCES", "title", "claims", "load"),
    "backbone": ("features.backbones", "BACKBONES", "image_size", "weights_id", "load"),
    "tracker": ("run.trackers", "TRACKERS", "__call__"),
    "file": ("report.writers", "WRITERS", "__call__"),
}
"""What plugins register: the module, the registry in it, and what everything in that has."""


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


class _PluginLoader(SourceFileLoader):
    """Leaves no ``__pycache__`` beside a file that is not ours."""

    def set_data(self, path: str, data: bytes, **_: Any) -> None:  # type: ignore[override]
        """Keep no bytecode."""


def _load(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"--plugin is {file}, and there is no file of that name: check the path")
    if file.suffix not in SOURCE_SUFFIXES:
        raise UserError(f"--plugin is {file}, expected a Python file, FILE.py")
    name = f"evojax_prune_plugin_{file.stem}"
    loader = _PluginLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None  # as it has a loader
    before = _registered()
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for it
    try:
        with contextlib.chdir("."):  # paths stay what they were, wherever it goes
            loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too
        del sys.modules[spec.name]
        raise UserError(
            f"the plugin {file} cannot be imported ({described(error)}): mend it"
        ) from error
    after = _registered()
    if gone := sorted(f"{kind} {name}" for kind, name in before.keys() - after.keys()):
        raise UserError(f"the plugin {file} removes {gone[0]}: add to the registries only")
    new = {key: value for key, value in after.items() if before.get(key) is not value}
    _check_registered(file, new)
    names = ", ".join(f"{kind} {name}" for kind, name in new)
    PLUGINS[str(spec.origin)] = f"{file} ({names})" if names else f"{file}"


def _registered() -> dict[tuple[str, Any], Any]:
    """Everything that is registered, by kind and name."""
    return {
        (kind, name): value
        for kind, (module, registry, *_) in REGISTRIES.items()
        for name, value in getattr(
            importlib.import_module(f"evojax_prune.{module}"), registry
        ).items()
    }


def _check_registered(file: Path, new: dict[tuple[str, Any], Any]) -> None:
    """See that what was registered can be used.

    Raises:
        UserError: it cannot, or has no name.
    """
    from evojax_prune.report.writers import ESSENTIAL

    for (kind, name), value in new.items():
        _, registry, *needed = REGISTRIES[kind]
        for part in needed:
            try:
                operator.attrgetter(part)(value)
            except AttributeError as error:
                raise UserError(
                    f"the plugin {file} registers {name!r} in {registry}, which cannot be used "
                    f"({said_of(error)}): see docs/extending.md for what goes there"
                ) from None
        if not isinstance(name, str):
            raise UserError(
                f"the plugin {file} registers {name!r} in {registry}, expected text as a name"
            )
        if kind == "file" and (Path(name).name != name or name in ESSENTIAL):
            raise UserError(
                f"the plugin {file} registers {name!r} in {registry}, expected the name of a new "
                "file in the run's folder"
            )


@contextlib.contextmanager
def plugin_errors() -> Iterator[None]:
    """Turn what a plugin raises while it runs into a :class:`PluginError`."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a plugin that leaves has no result either
        if (told := plugin_error(error)) is None:
            raise
        raise told from error
