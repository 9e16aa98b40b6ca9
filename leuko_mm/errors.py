"""Errors that a user can fix; everything else that is raised is a bug."""


class LeukoError(Exception):
    """A command cannot go on; the message says what to do, and no traceback is shown.

    The base of every such error of the package. ``exit_code`` is what the command
    ends with: 1 some items failed, 2 wrong use or missing input, 3 not available.
    """

    exit_code = 2

    # KeyError would show the message in quotes.
    __str__ = Exception.__str__


class UsageError(LeukoError, ValueError):
    """The user asked for something that does not exist or does not fit."""
