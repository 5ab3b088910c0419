"""The parser of one verb: ``argparse``, with the values read by ``values.read``."""

import os
import textwrap
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from tenfold.errors import UsageError
from tenfold.settings.changes import checked
from tenfold.settings.options import SPELLED, documentation, options_of
from tenfold.settings.values import TRUTH, expected, nearest, read, write
from tenfold.settings.yaml_files import read_yaml

ASKED = "_ARGCOMPLETE"
"""Set in the environment by a shell that asks how a line goes on."""


def complete(parser: ArgumentParser, first: int) -> NoReturn:
    """Tell the shell how its line, of which ``parser`` reads the words from number ``first`` on, goes on; ends the
    process."""
    try:
        import argcomplete
    except ImportError:
        raise SystemExit(1) from None
    os.environ[ASKED] = str(first)
    argcomplete.autocomplete(parser)
    raise SystemExit(0)


class Given(Namespace):
    """What a line gave, and the defaults of the rest: ``given.out``, ``given["out"]``, ``given.train.steps``."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def as_dict(self) -> dict[str, Any]:
        """Nested dictionaries."""
        return {name: value.as_dict() if isinstance(value, Given) else value for name, value in vars(self).items()}

    def options(self, documented: Any) -> dict[str, Any]:
        """The options of ``CommandParser.add_options(documented)`` by their own names."""
        return {name: self[SPELLED.get(name, name)] for name in options_of(documented)}


class CommandParser(ArgumentParser):
    """The parser of one verb: a short usage line, the summary, typed options, and examples at the end.

    Options may be spelled with dashes or underscores. Switches stand bare (``--denoise``) or before one of the words
    for true and false; ``none`` is nothing; lists need no brackets (``--model.shape 1,8,8``). An option of action
    "config" names a YAML file of settings, which the rest of the line overrides. Every mistake is a UsageError.
    """

    def __init__(self, verb: str = "", arguments: str = "", summary: str = "", examples: str = "") -> None:
        line = f"tenfold {verb}"
        super().__init__(
            line,
            f"{line} {arguments}",
            summary,
            allow_abbrev=False,
            argument_default=SUPPRESS,
            formatter_class=_Unbroken,
        )
        self.register("action", "config", _Config)
        self._examples = examples.rstrip("\n")
        self._typed: dict[str, tuple[str, Any]] = {}
        self._settings: dict[str, Any] = {}
        self._initial: dict[str, Any] = {}
        self._read: dict[str, dict[str, Any]] = {}

    def switch(self, option: str, help: str) -> None:
        """An option without a value."""
        self.add_argument(option, action="store_true", help=help)
        self._initial[_plain(option)] = False

    def add_option(self, option: str, hint: Any, default: Any, help: str | None = None, group: Any = None) -> None:
        """One typed option, ``--out`` say."""
        name = option[2:]
        says = "" if default is None or default is False or default in ("", ()) else f"default: {write(default)}"
        about = "; ".join(part for part in ("" if hint is bool else expected(hint), says) if part)
        plain = (help or "").replace("``", "")  # names in docstrings stand in double backquotes
        shown = f"{plain} {f'({about})' if about else ''}".strip().replace("%", "%%")
        word = "true|false" if hint is bool else name.rpartition(".")[2].replace("-", "_").upper()
        bare: dict[str, Any] = {"nargs": "?", "const": "true"} if hint is bool else {}
        action = (group or self).add_argument(option, metavar=word, help=shown, **bare)
        kinds = (hint, *get_args(hint))
        self.offer(
            action, TRUTH if hint is bool else [c for k in kinds if get_origin(k) is Literal for c in get_args(k)]
        )
        self._typed[_plain(option)] = (option, hint)
        self._initial[_plain(option)] = default

    def offer(self, action: Action, words: Iterable[object]) -> None:
        """What the shell's completion offers as an argument's value; nothing for names of files."""
        if offered := [str(word) for word in words]:
            action.completer = lambda **_: offered  # type: ignore[attr-defined]  # argcomplete's name

    def add_options(self, documented: Any) -> None:
        """The options of a dataclass or of a reader, with its docstring as help; names already there stay."""
        for name, (hint, default, help, _) in options_of(documented).items():
            option = f"--{SPELLED.get(name, name.replace('_', '-'))}"
            if option not in self._option_string_actions:
                self.add_option(option, hint, default, help)

    def add_settings(self, settings: Any, group: str = "") -> None:
        """Every setting of a dataclass by its dotted name, its value as default, its docstring as help; of a group of
        settings as ``--group.setting``."""
        (title, helps), hints, section = documentation(settings), get_type_hints(type(settings)), None
        for f in fields(settings):
            value, name = getattr(settings, f.name), f"{group}.{f.name}".lstrip(".")
            if is_dataclass(value):
                self.add_settings(value, name)
                continue
            section = section or self.add_argument_group(title.replace("``", ""))
            self.add_option(f"--{name}", hints[f.name], value, helps.get(f.name), section)
            self._settings[name] = hints[f.name]

    def peek(self, argv: Sequence[str], bare: Collection[str] = ()) -> tuple[list[str], dict[str, str]]:
        """The positional arguments and the options of a line in text, before all options are known: unknown ones have
        a value, but for ``bare`` switches.

        >>> CommandParser().peek(["--json", "runs/a", "--num", "4", "--denoise", "true"], {"--json", "--denoise"})
        (['runs/a'], {'json': 'true', 'num': '4', 'denoise': 'true'})
        """
        arguments, options = self._split(argv, {_plain(name) for name in bare})
        known = self._option_string_actions
        names = {option: known[option].dest if option in known else _plain(option) for option, _ in options}
        return arguments, {names[option]: (values or ["true"])[-1] for option, values in options}

    def parse_args(self, argv: Sequence[str], namespace: Any = None) -> Given:  # type: ignore[override]
        """Read a line; ``--help`` prints the page and leaves."""
        if ASKED in os.environ:
            complete(self, len(self.prog.split()))
        arguments, options = self._split(argv)
        if any(option in ("-h", "--help") for option, _ in options):
            self.print_help()
            self.exit()
        needed = [a for a in self._actions if not a.option_strings and a.nargs != "?"]
        if len(arguments) < len(needed):
            missing = [f"{a.metavar} ({a.help})" if a.help else str(a.metavar) for a in needed[len(arguments) :]]
            self.error(f"missing {' and '.join(missing)}; '{self.prog} --help' shows examples")
        line = [*arguments]
        for option, values in options:
            if option not in self._option_string_actions:
                self._refuse(option)
            line += [f"{option}={values[0]}"] if len(values) == 1 else [option, *values]
        if any(argument.startswith("-") for argument in arguments):
            line = [*line[len(arguments) :], "--", *arguments]
        told, more = self.parse_known_args(line)
        if more:
            self._refuse(more[0])
        said = vars(told)
        for name, (option, hint) in self._typed.items():
            if name in said:
                said[name] = read(hint, said[name], option, text=True)
        nothing = {action.dest: None for action in self._actions if action.dest != "help"}
        return _nested({**nothing, **self._initial, **self._from_file(said), **said})

    def _split(self, argv: Sequence[str], bare: Collection[str] = ()) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """The positional arguments of a line, and its options, spelled as they are known, with their values."""
        known = {_plain(option): option for option in self._option_string_actions}
        arguments: list[str] = []
        options: list[tuple[str, list[str]]] = []
        rest = list(argv)
        while rest:
            token = rest.pop(0)
            if token == "--":
                return arguments + rest, options
            if not token.startswith("-") or token == "-":
                arguments.append(token)
                continue
            option, equals, value = token.partition("=")
            option = known.get(_plain(option), option)
            action = self._option_string_actions.get(option)
            values = [value] if equals else []
            if equals or (action is not None and action.nargs == 0):
                pass
            elif _plain(option) in bare or (action is not None and action.nargs == "?"):
                values = [rest.pop(0)] if rest and rest[0].lower() in TRUTH else []
            else:
                most = len(rest) if action is not None and action.nargs == "+" else 1
                while rest and len(values) < most and not rest[0].startswith("--"):
                    values.append(rest.pop(0))
                if not values and action is not None and action.nargs is None:
                    self.error(f"{option} needs a value")
            options.append((option, values))
        return arguments, options

    def settings_in(self, file: str) -> dict[str, Any]:
        """What a YAML file of settings holds; it is read once for a line, as a pipe can be."""
        if file not in self._read:
            try:
                self._read[file] = read_yaml(file)
            except UsageError as error:
                raise UsageError(f"--config: {error}") from None
        return self._read[file]

    def _from_file(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, and positional arguments by name, in the file that the line names."""
        for action in self._actions:
            if isinstance(action, _Config) and action.dest in said:
                content = self.settings_in(said[action.dest])
                self._read.clear()  # the next line may find another content
                return checked(content, self._settings | {a.dest: str for a in self._actions if not a.option_strings})
        return {}

    def _refuse(self, token: str) -> NoReturn:
        if not token.startswith("-"):
            raise UsageError(f"unexpected argument {token!r}; options start with --")
        raise UsageError(f"there is no option {token!r}{nearest(token, self._option_string_actions)}")

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of leaving the process."""
        raise UsageError(message)

    def format_help(self) -> str:
        """argparse's page, and the examples."""
        return f"{super().format_help().rstrip()}\n\nexamples:\n{self._examples}\n"


class _Unbroken(HelpFormatter):
    """argparse's layout, with names that hold hyphens in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


class _Config(Action):
    """An option whose value is a file of settings."""

    def __call__(self, parser: Any, namespace: Namespace, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, values)


def _plain(option: str) -> str:
    """An option's name in a dictionary: ``--train.batch-size`` is train.batch_size."""
    return option[2:].replace("-", "_") if option.startswith("--") else option


def _nested(values: Mapping[str, Any]) -> Given:
    found = Given()
    for name, value in values.items():
        *groups, leaf = name.split(".")
        inside = found
        for group in groups:
            inside = vars(inside).setdefault(group, Given())
        setattr(inside, leaf, value)
    return found
