"""The one exception that is shown to the user as a sentence instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import re
import traceback
from collections.abc import Iterator


class UserError(Exception):
    """Something the user can mend: bad input, a missing file, an impossible setting.

    The message is one clear sentence: what is wrong, what was expected, what to do. The command
    line prints it to standard error and exits with status 2.
    """


class HostLostError(UserError):
    """A host of a distributed run is gone; what was done so far stays, to be gone on from."""


class PluginError(UserError):
    """Code of a plugin failed while it ran; what was done so far stays, to be gone on from."""


PLUGINS: dict[str, str] = {}
"""By absolute path: a plugin's file and the names that it registered, as a sentence calls them."""

TRACEBACK = "EVOJAX_PRUNE_TRACEBACK"
"""Environment variable that asks for the traceback behind each sentence."""


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an exception that only a sentence tells of, if it is asked for."""
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        traceback.print_exception(error)


def plugin_error(error: BaseException) -> PluginError | None:
    """The sentence on an exception that a plugin raised; None if it came from elsewhere."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        plugin = PLUGINS.get(frame.f_code.co_filename)
        if plugin is not None:
            return PluginError(
                f"the plugin {plugin} failed in line {line} ({described(error)}): "
                f"mend it; {TRACEBACK}=1 shows the whole traceback"
            )
    return None


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Sentences name settings as Python has them, ``final_protocol.epochs``, and no flags."""
    try:
        yield
    except UserError as error:
        error.args = (_FLAG.sub(lambda flag: flag[1].replace("-", "_"), str(error)),)
        raise


_FLAG = re.compile(r"(?<![\w-])--([a-z][\w.-]*)")


def one_line(text: str) -> str:
    """Text as one line without control characters, which names of files may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def said_of(error: BaseException) -> str:
    """What an exception of a library says, in one line; of a long one the beginning."""
    said = one_line(" ".join(str(error).split()))
    return shortened(said, 300) if said else type(error).__name__


def described(error: BaseException) -> str:
    """The same after the name of its type, which unexpected ones are told by."""
    said = said_of(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"


def shortened(text: str, most: int = 80) -> str:
    """Text for a sentence: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
