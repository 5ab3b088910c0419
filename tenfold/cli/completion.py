"""Completion of lines in a shell, by argcomplete: ``eval "$(register-python-argcomplete tenfold)"``."""

import os
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress

from tenfold.settings.command import ASKED, complete

Verbs = Mapping[str, tuple[Callable[[list[str]], int], str]]


def completes(verbs: Verbs, frame: Sequence[str]) -> bool:
    """Whether this process was started by a shell that asks how a line goes on; if so it is told, and the process ends
    here or when the verb's parser is complete (``CommandParser.parse_args``), before any work.

    ``frame`` are the options before a verb."""
    if ASKED not in os.environ:
        return False
    before = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = before.split()[1:]
    done = words if before[-1:].isspace() else words[:-1]  # the word at the cursor may go on
    if not done or done == ["help"]:
        parser = ArgumentParser("tenfold", add_help=False)
        parser.add_argument("verb", choices=[*verbs, *(() if done else ("help",))])
        for option in () if done else frame:
            parser.add_argument(option, action="store_true")
        complete(parser, 1 + len(done))
    elif done[0] in verbs:
        # A line that is not whole yet may be refused, which says nothing about how it goes on.
        with suppress(Exception), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            verbs[done[0]][0](done[1:])
    return True
