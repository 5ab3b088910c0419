"""What the verbs' parsers share: help with examples, settings of a recipe, ``--json``."""

import re
from collections.abc import Collection
from typing import Any

from tenfold.settings.parser import TRUTH, SettingsParser


class CommandParser(SettingsParser):
    """The parser of one verb: a short usage line, the summary, the options, and examples at the end."""

    def __init__(self, verb: str, arguments: str, summary: str, examples: str) -> None:
        super().__init__(
            prog=f"tenfold {verb}",
            usage=f"tenfold {verb} {arguments}",
            description=summary,
            add_help=True,
        )
        self._examples = examples.rstrip("\n")

    def switch(self, option: str, help: str) -> None:
        """An option without a value."""
        self.add_argument(option, action="store_true", help=help)

    def format_help(self, *args: Any) -> str:
        """argparse's page without its empty defaults, and the examples."""
        page = re.sub(r"\s*\(default:\s+(null|False)\)", "", super().format_help(*args))
        return f"{page.rstrip()}\n\nexamples:\n{self._examples}\n"


def positionals(argv: list[str], switches: Collection[str]) -> list[str]:
    """The arguments of a line that are neither options nor their values, before its parser exists.

    Every option but ``switches`` is taken to have a value; a switch may have one of the words for true and false.

    >>> positionals(["--json", "runs/a", "--num", "4", "--denoise", "true"], {"--json", "--denoise"})
    ['runs/a']
    """
    bare = {_spelled(switch) for switch in switches}
    found, previous = [], ""
    for token in argv:
        value_of, previous = previous, ""
        if value_of and (_spelled(value_of) not in bare or token.lower() in TRUTH):
            continue
        if token.startswith("-"):
            previous = token if token.startswith("--") and "=" not in token else ""
        else:
            found.append(token)
    return found


def _spelled(option: str) -> str:
    return option[2:].replace("-", "_")


def option_value(argv: list[str], option: str) -> str | None:
    """The value of an option of a line, before its parser exists; None without it.

    >>> option_value(["a", "--config=x.yaml"], "--config")
    'x.yaml'
    """
    for position, token in enumerate(argv):
        if token == option and position + 1 < len(argv):
            return argv[position + 1]
        if token.startswith(f"{option}="):
            return token.partition("=")[2]
    return None


def wants_help(argv: list[str]) -> bool:
    """Whether the line asks for help."""
    return "-h" in argv or "--help" in argv
