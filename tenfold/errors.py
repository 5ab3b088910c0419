"""The one exception that users see: a sentence that names the value, what was expected and the fix."""

import difflib
from collections.abc import Iterable


class TenfoldError(Exception):
    """A failure with a one-sentence explanation; the command line prints it and exits with 1."""

    exit_code = 1


class UsageError(TenfoldError, ValueError):
    """A bad argument, file or option, found before any work started; the command line exits with 2."""

    exit_code = 2


def suggest(name: str, choices: Iterable[str]) -> str:
    """The end of an error sentence: the nearest choice when one is close, else the whole list.

    >>> suggest("tarflow-digit", ["tarflow-digits", "tarflow-mnist"])
    "; did you mean 'tarflow-digits'?"
    """
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose one of {', '.join(choices)}"
