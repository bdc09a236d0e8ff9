"""The one exception that is shown to the user as a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can mend: bad input, a missing file, an impossible setting.

    The message is one clear sentence: what is wrong, what was expected, what to do. The command
    line prints it to standard error and exits with status 2.
    """


class HostLostError(UserError):
    """A host of a distributed run is gone; what was done so far stays, to be gone on from."""


def one_line(text: str) -> str:
    """Text as one line without control characters, which names of files may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, most: int = 80) -> str:
    """Text for a sentence: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
