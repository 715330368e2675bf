"""Handlebars, in which dotprompt is written, to Jinja2 and back: values, if/unless/each, role, comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from rung.core.errors import InputError
from rung.prompts.template.template import TURN

_TAG = re.compile(r"(?s)\{\{\{?\s*(!--.*?--|![^}]*|.*?)\s*\}?\}\}")


def read(body: str, file: str) -> str:
    """Handlebars as Jinja2: values, if/unless/each with else, role, comments. Raises InputError at what has no like."""
    out: list[str] = []
    blocks: list[tuple[str, str]] = []
    at = 0
    for found in _TAG.finditer(body):
        out.append(_raw(body[at : found.start()]))
        at = found.end()
        tag = found[1].strip("~ ")
        line = body.count("\n", 0, found.start()) + 1

        def refuse(what: str, line: int = line) -> NoReturn:
            raise InputError(
                f"body, line {line}: {what} has no like in a template here",
                remedy="use values, #if, #unless, #each and role; or write the template in Jinja2 (FILE.md)",
                file=file or None,
            )

        if tag.startswith("!"):
            continue
        if role := re.fullmatch(r"""role\s+["'](system|user|model|assistant)["']""", tag):
            out.append(f"\n{'assistant' if role[1] == 'model' else role[1]}:\n")
        elif block := re.fullmatch(r"#(if|unless|each)\s+([\w.@]+)", tag):
            name = _path(block[2], blocks) or refuse(block[2])
            blocks.append((block[1], name))
            loop = "{% for " + _item(blocks) + " in " + name + " %}"
            out.append({"if": "{% if " + name + " %}", "unless": "{% if not " + name + " %}", "each": loop}[block[1]])
        elif tag == "else" and blocks:
            out.append("{% else %}")
        elif close := re.fullmatch(r"/(if|unless|each)", tag):
            if not blocks or blocks[-1][0] != close[1]:
                refuse(f"the end {tag}")
            blocks.pop()
            out.append("{% endfor %}" if close[1] == "each" else "{% endif %}")
        elif re.fullmatch(r"(this|@index|@first|@last|[A-Za-z_][\w.]*|this\.[\w.]+)", tag) and tag != "history":
            value = _path(tag, blocks)
            if not value:
                refuse(tag)
            out.append("{{ " + value + " }}")
        else:
            refuse("{{" + tag + "}}")
    if blocks:
        raise InputError(
            f"body: #{blocks[-1][0]} is not closed", remedy=f"write {{{{/{blocks[-1][0]}}}}}", file=file or None
        )
    out.append(_raw(body[at:]))
    return "".join(out).strip("\r\n")


def _raw(text: str) -> str:
    """Literal text that would be read as Jinja2, or as the beginning of a turn, kept as literal text."""
    text = re.sub(r"\{[%#]", lambda found: "{{ '" + found[0] + "' }}", text)
    return TURN.sub(lambda found: "{{ '' }}" + found[0], text)


def _item(blocks: Sequence[tuple[str, str]]) -> str:
    return f"item{sum(kind == 'each' for kind, _ in blocks)}"


def _path(name: str, blocks: Sequence[tuple[str, str]]) -> str:
    inside = any(kind == "each" for kind, _ in blocks)
    if name == "this" or name.startswith("this."):
        return f"{_item(blocks)}{name[4:]}" if inside else ""
    if name.startswith("@"):
        return {"@index": "loop.index0", "@first": "loop.first", "@last": "loop.last"}.get(name, "") if inside else ""
    return name


_JINJA = re.compile(r"(?s)\{\{-?\s*(.*?)\s*-?\}\}|\{%-?\s*(.*?)\s*-?%\}|\{#.*?#\}")


def write(text: str, name: str) -> str:
    """Jinja2 as Handlebars. Raises InputError at what dotprompt has no form for."""
    blocks: list[tuple[str, str]] = []

    def refuse(what: str) -> NoReturn:
        raise InputError(
            f"{name}: {what} has no form in dotprompt", remedy="write it as prompty: rung prompt export --as prompty"
        )

    def swap(found: re.Match[str]) -> str:
        value, tag = found[1], found[2]
        if value is not None:
            if re.fullmatch(r"[A-Za-z_][\w.]*", value):
                loops = [item for kind, item in blocks if kind == "each"]
                head, dot, rest = value.partition(".")
                if loops and head == loops[-1]:
                    return "{{this" + dot + rest + "}}"
                if value == "loop.index0":
                    return "{{@index}}"
                if head not in (*loops, "loop", "parts"):
                    return "{{" + value + "}}"
            if quoted := re.fullmatch(r"'(\{[%#]|)'", value):
                return quoted[1]
            refuse("{{ " + value + " }}")
        if tag is None:
            return ""
        if opened := re.fullmatch(r"if\s+(not\s+)?([A-Za-z_][\w.]*)", tag):
            kind = "unless" if opened[1] else "if"
            blocks.append((kind, ""))
            return "{{#" + kind + " " + opened[2] + "}}"
        if opened := re.fullmatch(r"for\s+(\w+)\s+in\s+([A-Za-z_][\w.]*)", tag):
            blocks.append(("each", opened[1]))
            return "{{#each " + opened[2] + "}}"
        if tag == "else" and blocks:
            return "{{else}}"
        if tag in ("endif", "endfor") and blocks:
            return "{{/" + blocks.pop()[0] + "}}"
        return refuse("{% " + tag + " %}")

    return _JINJA.sub(swap, text)
