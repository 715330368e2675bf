"""YAML with the scalars of version 1.2, as people write it today: PyYAML reads ``no`` as false and ``010`` as eight
(1.1)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from rung.core.errors import InputError


class Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 (`no`, `on` and dates are text, 010 is ten) that refuses a mapping with a
    key twice, as YAML does (3.2.1.3)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                first = lines.setdefault((key.tag, key.value), key.start_mark.line)
                if first != key.start_mark.line:
                    what = f"`{key.value}` is given twice (first on line {first + 1})"
                    raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^(?:<<)$", "<"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _whole(loader: Loader, node: yaml.ScalarNode) -> int:
    return int(node.value.replace("_", ""))


Loader.add_constructor("tag:yaml.org,2002:int", _whole)


class _Whole(Loader):
    """With infinities and NaN."""


_Whole.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"), list("-+.")
)


def read_yaml(text: str) -> Any:
    """The value of a document. Raises yaml.YAMLError, ValueError or RecursionError."""
    return yaml.load(text, _Whole)  # noqa: S506  a SafeLoader


def load_yaml(path: Path, remedy: str, code: str = "") -> Any:
    """The value of a file's document. Raises InputError, with ``remedy``, for a file that cannot be read."""
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {error}", file=path, remedy=remedy, code=code) from None


def load_items(path: Path, key: str, example: str) -> list[Any]:
    """What a file lists under ``key``, at least one. Raises InputError, also for no list; ``example`` is one item."""
    document = load_yaml(path, "correct the file")
    listed = document.get(key) if isinstance(document, dict) else None
    if not isinstance(listed, list) or not listed:
        raise InputError(f"holds no {key}", file=path, remedy=f"{key}: [{example}]")
    return listed
