"""Settings in YAML files, read strictly: a name twice, an alias of a whole group, or no settings at all is refused.

Numbers, true, false and null are as in YAML 1.2, so that ``yes`` is text and ``1:30`` no number of seconds.
"""

import os
import re
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from tenfold.errors import UsageError
from tenfold.settings.checks import check_format
from tenfold.settings.values import shown

FORMAT = 1
"""The newest layout of settings files, their key "format"; a file without one is of the first."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  (PyYAML's way: filled below)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            # An alias of an alias of ... makes gigabytes of a small file.
            if not isinstance(self.anchors.get(event.anchor, yaml.ScalarNode("", "")), yaml.ScalarNode):
                raise ComposerError(
                    None, None, f"*{event.anchor} repeats a whole group; write it out", event.start_mark
                )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = set()
        for key, _ in node.value:
            if str(key.value) in names:
                raise ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            names.add(str(key.value))
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"(~|null|Null|NULL|)$", [*"~nN", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    ("int", r"[-+]?(0|[1-9][0-9]*)$", [*"-+0123456789"]),
    ("float", r"[-+]?[0-9]+\.[0-9]*([eE][-+][0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$", [*"-+.0123456789"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a YAML file as nested dictionaries, without the key "format", which is checked.

    Raises:
        UsageError: the file is missing, is not YAML, holds no settings by name, or is of a newer format.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _Loader)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:  # !!bool x is a KeyError
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        held = "nothing" if content is None else shown(content) if isinstance(content, str) else type(content).__name__
        raise UsageError(f"{path} holds {held}; expected settings by name, 'train: {{steps: 100}}' say")
    check_format(content.pop("format", 1), FORMAT, str(path))
    return content
