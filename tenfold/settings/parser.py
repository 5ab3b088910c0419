"""Typed settings: recipes and option dataclasses set from the command line, from YAML and from Python.

One parser (jsonargparse) checks the types on all three ways, and every mistake is one sentence that names the
setting, its value, what was expected and the nearest right name. Imports no PyTorch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from tenfold.errors import UsageError, suggest

T = TypeVar("T")

TRUTH = {"true", "false", "yes", "no"}


def as_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dictionaries and lists, ready for YAML and JSON."""
    return {f.name: _plain(getattr(settings, f.name)) for f in fields(settings)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_dict(value)
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def change(settings: T, changes: Mapping[str, Any]) -> T:
    """A copy of a settings dataclass with some values changed; nested ones by nested dictionaries.

    Raises UsageError for an unknown name (with a suggestion), a value of a wrong type, or values that the
    dataclass itself refuses.

    >>> from tenfold.recipes import recipe
    >>> change(recipe("tarflow-digits"), {"train": {"steps": 10}}).train.steps
    10
    """
    parser = SettingsParser(dotted="")
    parser.add_settings(settings)
    plain = {k: _plain(v) for k, v in changes.items()}
    return rebuild(settings, parser.parse_object(plain).as_dict())


def rebuild(settings: T, values: Mapping[str, Any]) -> T:
    """The settings dataclass made of already checked ``values`` (all names present)."""
    arguments = {}
    for f in fields(settings):  # type: ignore[arg-type]
        current, value = getattr(settings, f.name), values[f.name]
        if is_dataclass(current):
            if not isinstance(value, Mapping):
                raise UsageError(f"{f.name} is {value!r}; expected its settings by name, {fields(current)[0].name} say")
            value = rebuild(current, value)
        arguments[f.name] = value
    return type(settings)(**arguments)


def changed(before: Any, after: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The dotted names of two settings of one type whose values differ, with both values."""
    found: dict[str, tuple[Any, Any]] = {}
    for f in fields(before):
        old, new, name = getattr(before, f.name), getattr(after, f.name), f"{prefix}{f.name}"
        if is_dataclass(old):
            found |= changed(old, new, f"{name}.")
        elif old != new:
            found[name] = (old, new)
    return found


class SettingsParser(ArgumentParser):
    """jsonargparse's parser with one-line errors, bare switches (``--denoise``), ``none`` for nothing, lists
    without brackets (``--model.shape 1,8,8``), and a ``--config`` that the rest of the line overrides.

    ``dotted`` is what stands before a setting's name in messages: "--" on the command line.
    """

    def __init__(self, *args: Any, dotted: str = "--", **kwargs: Any) -> None:
        kwargs.setdefault("add_help", False)
        super().__init__(*args, print_config=None, allow_abbrev=False, **kwargs)
        self._dotted = dotted
        self._hints: dict[str, Any] = {}

    def add_settings(self, settings: Any) -> None:
        """Add every field of a settings dataclass, defaults from the instance, help from its docstring."""
        for f in fields(settings):
            value = getattr(settings, f.name)
            hint = get_type_hints(type(settings))[f.name]
            if is_dataclass(value):
                self.add_group(f.name, value)
            else:
                self.add_option(f"--{f.name}", hint, value)

    def add_group(self, name: str, settings: Any) -> None:
        """Add the fields of one dataclass as ``--name.field``."""
        self.add_argument(f"--{name}", type=type(settings), default=settings)
        self._hints |= _hints(settings, f"{name}.")

    def add_option(self, option: str, hint: Any, default: Any, help: str | None = None) -> None:
        """Add one typed option."""
        self.add_argument(option, type=hint, default=default, help=help)
        self._hints[option.removeprefix("--")] = hint

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Parse a command line; raises UsageError instead of leaving the process."""
        return super().parse_args(self._normalise(list(args or [])), *rest, **kwargs)

    def _normalise(self, argv: list[str]) -> list[str]:
        first: list[str] = []
        others: list[str] = []
        position = 0
        while position < len(argv):
            token = argv[position]
            position += 1
            if not token.startswith("--") or token == "--":
                others.append(token)
                continue
            option, equals, value = token.partition("=")
            option = self._spelling(option)
            hint = self._hints.get(option.removeprefix("--"))
            here = [option]
            if equals:
                here.append(_written(value, hint))
            elif hint is bool:
                follows = position < len(argv) and argv[position].lower() in TRUTH
                here.append(argv[position].lower() if follows else "true")
                position += follows
            elif (hint is not None or option == "--config") and position < len(argv):
                here.append(_written(argv[position], hint))
                position += 1
            joined = [f"{here[0]}={here[1]}"] if len(here) == 2 else here
            (first if option == "--config" else others).extend(joined)
        return first + others

    def _spelling(self, option: str) -> str:
        known = self._option_string_actions
        for other in (
            option,
            option.replace("-", "_").replace("__", "--", 1),
            f"--{option[2:].replace('_', '-')}",
        ):
            if other in known:
                return other
        return option

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UsageError with one sentence made of jsonargparse's message."""
        if isinstance(ex, UsageError):
            raise ex
        raise UsageError(self._sentence(message)) from None

    def _sentence(self, message: str) -> str:
        text = " ".join(message.split())
        names = [o.removeprefix("--") for o in self._option_string_actions if o.startswith("--")]
        if found := re.match(r"unrecognized arguments: (\S+)", text):
            token = found[1].partition("=")[0]
            if not token.startswith("-"):
                return f"unexpected argument {token!r}; options start with --"
            return f"there is no option {token!r}{_nearest(token, [f'--{n}' for n in names])}"
        if found := re.match(r"Group '([^']+)' does not accept option '([^']+)'", text):
            name = f"{found[1]}.{found[2]}"
            return f"there is no setting {name!r}{_nearest(name, names)}"
        if found := re.search(r"(?:Option|Key) ['\"]([^'\"]+)['\"] is not (?:accepted|expected)", text):
            return f"there is no setting {found[1]!r}{_nearest(found[1], names)}"
        if found := re.match(r"argument (\S+): expected one argument", text):
            return f"{found[1]} needs a value"
        if found := re.match(r"the following arguments are required: (.*)", text):
            return f"missing {found[1]}"
        if found := re.match(r"(?:Parser k|K)ey \"([^\"]+)\": (.*)", text):
            return self._value_sentence(found[1], found[2])
        if found := re.match(r"Problems parsing config: (.*)", text):
            return f"the configuration is not valid YAML: {found[1]}"
        if found := re.match(r"Unexpected config: (.*)", text):
            return f"the configuration holds {found[1]}; expected settings by name, 'train: {{steps: 100}}' say"
        return text

    def _value_sentence(self, name: str, detail: str) -> str:
        if name == "config":
            return f"cannot read --config: {detail[0].lower()}{detail[1:]}"
        name = name if name in self._hints else name.replace("_", "-")  # as it is written on the command line
        hint = self._hints.get(name)
        value = re.search(r"(?:Got|Given) value: (.*)$", detail)
        if hint is None or value is None:
            return f"{self._dotted}{name}: {detail}"
        end = ""
        if get_origin(hint) is Literal:
            end = _nearest(value[1], [str(a) for a in get_args(hint)], whole=False)
        return f"{self._dotted}{name} is {value[1]!r}; expected {expected(hint)}{end}"


def _hints(settings: Any, prefix: str) -> dict[str, Any]:
    """Dotted name and type of every setting of a dataclass, of nested ones too."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if is_dataclass(value):
            found |= _hints(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = hint
    return found


def _written(value: str, hint: Any) -> str:
    """A command line value as YAML of its type: brackets around lists, null for none."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if NoneType in options and value.lower() == "none":
        return "null"
    if any(get_origin(o) in (tuple, list) for o in options) and not value.startswith("["):
        return f"[{value.strip('()')}]"
    return value.lower() if hint is bool else value


def _nearest(name: str, names: Sequence[str], whole: bool = True) -> str:
    """``suggest``, or where to look when nothing is near (a list of a hundred settings helps nobody)."""
    sentence = suggest(name, names)
    if "did you mean" in sentence:
        return sentence
    leaf = name.rpartition(".")[2].lstrip("-")
    ends = [n for n in names if n.rpartition(".")[2].lstrip("-") == leaf]
    if ends:
        return f"; did you mean {ends[0]!r}?"
    return "; --help lists them" if whole else ""


def expected(hint: Any) -> str:
    """A type in words.

    >>> expected(tuple[int, ...]), expected(float | None)
    ('a list of whole numbers such as 1,2', 'a number or none')
    """
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(expected(a) for a in get_args(hint))
    if get_origin(hint) in (tuple, list):
        items = get_args(hint)
        several = "whole numbers" if items[0] is int else "numbers"
        if get_origin(hint) is tuple and Ellipsis not in items:
            return f"{len(items)} {several} such as {','.join('12345'[: len(items)])}"
        return f"a list of {several} such as 1,2"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "none"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))
