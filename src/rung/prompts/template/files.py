"""Template files: YAML front matter and a body, in our own format or Prompty's (see prompty.py), read and written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from rung.core.errors import InputError
from rung.core.types import Example
from rung.foundations import sandbox
from rung.foundations.text.yaml import read_yaml
from rung.prompts.template import prompty
from rung.prompts.template.prompt import PARTS, Prompt, Shot
from rung.prompts.template.prompty import described, read_variables
from rung.prompts.template.render import style_of
from rung.prompts.template.template import TURN, Template, sources, split

FileFormat = Literal["rung", "prompty"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
SUFFIXES: Mapping[str, FileFormat] = {
    ".prompty": "prompty",
    ".md": "rung",
    ".j2": "rung",
    ".jinja2": "rung",
    ".txt": "rung",
}

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_KEYS = ("name", "description", "root", "drop", "style", "variables", "parts")


def format_of(path: Path) -> FileFormat:
    """The format that a file's name stands for."""
    return SUFFIXES.get(path.suffix.lower(), "rung")


def read_file(path: Path) -> Template:
    """The template in a file, not yet joined to its root. Raises InputError with file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file", remedy="name a template file, or a saved one: rung prompt list"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the template: {error}", file=path, remedy="give a text file in UTF-8") from None
    return read(text, format_of(path), file=str(path))


def read(text: str, format: FileFormat = "rung", *, file: str = "") -> Template:
    """A template from its text. Raises InputError: not YAML, unknown keys or kinds, or text that is no template."""
    found = _FRONT.match(text)
    source, body = (found[1], text[found.end() :]) if found else ("", text)
    first = text[: found.end()].count("\n") + 1 if found else 1
    front = _front_matter(source, file)
    if not isinstance(front, Mapping):
        raise InputError("front matter: expected keys and values", remedy="name: my-prompt", file=file or None)
    name = str(front.get("name") or (Path(file).name.partition(".")[0] if file else ""))
    template = _READERS[format](front, body, name, file)
    where = file or name
    for _, turn in split(template.body) if template.body else ():
        sandbox.parse(turn, where, first)
    for _, part in sources(template):
        sandbox.parse(part, where, first)
    return template


def _front_matter(source: str, file: str) -> Any:
    """The YAML between the lines ``---``. Aliases are refused: a few lines of them stand for more text than fits
    anywhere."""
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(source)):
            raise InputError(
                "front matter: aliases (*name) are not read", remedy="write the text out", file=file or None
            )
        return read_yaml(source) or {}
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error)
        line = at.line + 2 if at is not None else None
    except (ValueError, RecursionError) as error:  # a date that there is not; lists in lists without end
        said, line = str(error) or type(error).__name__, None
    raise InputError(
        f"front matter: {said}", remedy="correct the YAML between the lines ---", file=file or None, line=line
    )


def _own(front: Mapping[str, Any], body: str, name: str, file: str) -> Template:
    for key in front:
        if key not in (*_KEYS, "version", "extra"):
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            raise InputError(
                f"front matter: unknown key {key!r}",
                remedy=f"did you mean {near[0]}?" if near else f"keys: {', '.join(_KEYS)}; others go under extra:",
                file=file or None,
            )
    parts = _parts(front.get("parts") or {}, file)
    turns = TURN.search(body) is not None
    if not turns and body.strip():
        if parts.instruction:
            raise InputError(
                "there is a body and a part instruction: the body is the instruction",
                remedy="keep one of them",
                file=file or None,
            )
        parts = parts.replace("instruction", body.strip())
    drop = front.get("drop") or []
    dropped = tuple(str(part) for part in ([drop] if isinstance(drop, str) else drop))
    Prompt().drop(*dropped)
    style = str(front.get("style") or "")
    return Template(
        name=name,
        parts=parts,
        body=body.strip("\r\n") if turns else "",
        variables=read_variables(front.get("variables") or {}, file),
        root=str(front.get("root") or ""),
        drop=dropped,
        style=style_of(style) if style else "",
        about=str(front.get("description") or ""),
        extra=dict(front.get("extra") or {}),
    )


def _parts(given: Any, file: str) -> Prompt:
    if not isinstance(given, Mapping):
        raise InputError("front matter: parts must be a mapping", remedy="parts: {persona: ...}", file=file or None)
    prompt = Prompt()
    for part, value in given.items():
        if part not in PARTS:
            raise InputError(
                f"front matter: a prompt has no part {part}", remedy=f"parts: {', '.join(PARTS)}", file=file or None
            )
        if part == "examples":
            prompt = prompt.replace("examples", [_shot(item, file) for item in value or ()])
        elif part == "constraints":
            rules = [value] if isinstance(value, str) else list(value or ())
            prompt = prompt.replace("constraints", [str(rule) for rule in rules])
        else:
            prompt = prompt.replace(part, str(value).strip())
    return prompt


def _shot(item: Any, file: str) -> Example:
    if not isinstance(item, Mapping) or "input" not in item or "output" not in item:
        raise InputError(
            "front matter: an example has no input or output",
            remedy="write: - {input: hello, output: greeting}",
            file=file or None,
        )
    given = item["input"]
    fields = {str(k): str(v) for k, v in given.items()} if isinstance(given, Mapping) else {"text": str(given)}
    return Example(
        "", fields, item["output"] if isinstance(item["output"], str | list | Mapping) else str(item["output"])
    )


# ---------------------------------------------------------------- writing


def write(template: Template, format: FileFormat = "rung") -> str:
    """The template as a file. Our own format keeps everything (also a root that is not joined); Prompty's needs a flat
    template in the chat rendering. Raises InputError for what the format cannot say."""
    import yaml

    front, body = _WRITERS[format](template)
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120) if front else ""
    return f"---\n{text}---\n{body}\n" if body else f"---\n{text}---\n"


def _own_out(template: Template) -> tuple[dict[str, Any], str]:
    parts: dict[str, Any] = {}
    for part in PARTS:
        value = getattr(template.parts, part)
        if not value or (part == "instruction" and not template.body):
            continue
        if part == "examples":
            value = [{"input": _input(shot), "output": shot.output} for shot in value]
        parts[part] = list(value) if isinstance(value, tuple) else value
    variables: dict[str, Any] = {}
    for variable in template.variables:
        what: dict[str, Any] = {"type": variable.kind}
        if variable.default is not None:
            what["default"] = variable.default
        if variable.required != (variable.default is None):
            what["required"] = variable.required
        if variable.about:
            what["description"] = variable.about
        if variable.trusted:
            what["trusted"] = True
        variables[variable.name] = variable.kind if len(what) == 1 else what
    front: dict[str, Any] = {
        "name": template.name,
        **described(template),
        "root": template.root,
        "drop": list(template.drop),
        "style": template.style,
        "variables": variables,
        "parts": parts,
        "extra": dict(template.extra),
    }
    return {key: value for key, value in front.items() if value}, template.body or template.parts.instruction


def _input(shot: Shot) -> Any:
    return shot.input[0][1] if [name for name, _ in shot.input] == ["text"] else dict(shot.input)


_READERS = {"rung": _own, "prompty": prompty.read}
_WRITERS = {"rung": _own_out, "prompty": prompty.write}
