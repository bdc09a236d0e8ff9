"""The one exception that is shown to the user as a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can mend: bad input, a missing file, an impossible setting.

    The message is one clear sentence: what is wrong, what was expected, what to do. The command
    line prints it to standard error and exits with status 2.
    """
