"""``openapi:FILE``: the operations of an OpenAPI 3 document, a tool each.

Arguments are checked against the document before anything is sent. References inside the document are followed; those
that lead out of it are refused, as is a document for OpenAPI 2. What a server says is untrusted, and so is what the
document says of its operations.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

import yaml

from rung.agents.tools.function import demand
from rung.agents.tools.net.address import Reach, fetch, place
from rung.core.errors import InputError, RungError
from rung.core.parts.place import here
from rung.core.protocols import Effect
from rung.foundations.text.yaml import read_yaml

METHODS: dict[str, Effect] = {
    "get": "pure", "head": "pure", "put": "keyed", "delete": "keyed", "post": "once", "patch": "once",
}  # fmt: skip
"""What HTTP says of repeating each method."""
SHOWN = 16_000
"""Characters of an answer."""
_LEFT_OUT = frozenset(
    (
        "nullable",
        "example",
        "xml",
        "discriminator",
        "$id",
        "$schema",
        "$anchor",
        "$dynamicRef",
        "$dynamicAnchor",
        "$defs",
    )
)
"""Keywords of a schema that check nothing, or that would lead somewhere else."""
_PLACES = ("path", "query", "header")


@dataclass(frozen=True)
class Operation:
    """One operation. ``places`` tells for each argument but ``body`` where it goes; ``headers`` are sent with every
    call."""

    name: str
    description: str
    schema: Mapping[str, Any]
    method: str
    server: str
    path: str
    places: Mapping[str, str]
    reach: Reach
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    returns: Literal["trusted", "untrusted"] = "untrusted"

    @property
    def effect(self) -> Effect:
        return METHODS[self.method]

    @property
    def volatile(self) -> bool:
        return self.effect == "pure"

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        """The server's answer. Raises InputError (code ``arguments``), before anything is sent, for arguments that the
        document refuses; RungError for an answer that is an error."""
        demand(self.name, self.schema, arguments)
        return await asyncio.to_thread(self._send, arguments, key)

    def _send(self, arguments: Mapping[str, Any], key: str) -> str:
        url, headers = self._address(arguments)
        body = None
        if "body" in arguments:
            body = json.dumps(arguments["body"], ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json"
        if self.effect != "pure" and key:
            headers["Idempotency-Key"] = key
        page = fetch(url, self.reach, method=self.method.upper(), headers=headers, body=body)
        text = page.text[:SHOWN]
        if page.status >= 400:
            raise RungError(f"{self.name}: the server answered {page.status}: {text[:500]}", code=f"http-{page.status}")
        return text or f"done ({page.status})"

    def _address(self, arguments: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        path, query, headers = self.path, [], {"Accept": "application/json", **self.headers}
        for name, value in arguments.items():
            at = self.places.get(name, "")
            texts = [_plain(item) for item in value] if isinstance(value, list) else [_plain(value)]
            if at == "path":
                text = ",".join(texts)
                if text in ("", ".", ".."):
                    raise InputError(f"{self.name}: {name} is {text!r}, which is no part of a path", code="arguments")
                path = path.replace(f"{{{name}}}", quote(text, safe=""))
            elif at == "query":
                query += [(name, text) for text in texts]
            elif at == "header":
                text = ",".join(texts)
                if not text.isascii() or not text.isprintable():
                    raise InputError(f"{self.name}: {name} cannot be a header's value", code="arguments")
                headers[name] = text
        return f"{self.server}{path}{'?' + urlencode(query) if query else ''}", headers


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else "" if value is None else str(value)


class _Document:
    """An OpenAPI document while it is read."""

    def __init__(self, document: Any, file: Path) -> None:
        self.file = file
        if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3."):
            got = "swagger 2.0" if isinstance(document, dict) and "swagger" in document else "no OpenAPI document"
            raise self.wrong(f"it is {got}, expected openapi: 3.x", "convert it to OpenAPI 3")
        self.root = document

    def wrong(self, why: str, remedy: str = "correct the document") -> InputError:
        return InputError(f"tool openapi: {why}", remedy=remedy, file=self.file, code="openapi")

    def find(self, value: Any) -> Any:
        """A value with its own reference followed. Raises InputError for one that leads out, nowhere or in a circle."""
        seen = set()
        while isinstance(value, dict) and "$ref" in value:
            reference = value["$ref"]
            if not isinstance(reference, str) or not reference.startswith("#/"):
                raise self.wrong(
                    f"the reference {str(reference)[:100]!r} leads out of the document", "put it into the document"
                )
            if reference in seen:
                raise self.wrong(f"the reference {reference!r} leads to itself")
            seen.add(reference)
            value = self.root
            for part in reference[2:].split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(value, dict) or name not in value:
                    raise self.wrong(f"the reference {reference!r} leads nowhere")
                value = value[name]
        return value

    def schema(self, value: Any, used: dict[str, Any], depth: int = 0) -> Any:
        """A schema in the form of JSON Schema 2020-12; what it refers to goes into ``used``, so that it may be
        recursive."""
        if depth > 40:
            raise self.wrong("a schema is nested too deeply")
        if isinstance(value, list):
            return [self.schema(item, used, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            target = self.find(value)
            name = re.sub(r"\W", "_", str(value["$ref"])[2:])
            if name not in used:
                used[name] = {}
                used[name] = self.schema(target, used, depth + 1)
            return {"$ref": f"#/$defs/{name}"}
        made: dict[str, Any] = {}
        for key, item in value.items():
            if key in ("properties", "patternProperties") and isinstance(item, dict):
                made[key] = {name: self.schema(inner, used, depth + 1) for name, inner in item.items()}
            elif key in ("enum", "const", "default", "examples", "required"):
                made[key] = item
            elif key not in _LEFT_OUT:
                made[key] = self.schema(item, used, depth + 1)
        return _as_2020(made, nullable=value.get("nullable") is True)

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any], list[Any]]]:
        for path, item in self.root.get("paths", {}).items():
            found = self.find(item)
            for method in METHODS:
                if isinstance(found, dict) and isinstance(found.get(method), dict):
                    operation = found[method]
                    yield path, method, operation, [*found.get("parameters", ()), *operation.get("parameters", ())]


def _as_2020(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """What OpenAPI 3.0 writes in another way than JSON Schema 2020-12: exclusive bounds, null."""
    for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(bound), bool) and schema.pop(bound) and plain in schema:
            schema[bound] = schema.pop(plain)
    if nullable and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    return schema


def open_openapi(
    target: str = "", *, server: str = "", only: list[str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[Operation, ...]:
    """``target`` is a JSON or YAML file. ``server`` is where to ask in place of the document's own servers; only one
    named here may be private. ``only``: the operations wanted, by name. ``headers``: header -> the environment variable
    that holds its value.

    Raises InputError for a document that is none, or an operation that cannot be called.
    """
    file = here().path(target)
    if not target or not file.is_file():
        raise InputError(f"tool openapi: there is no file {target!r}", remedy="write openapi:FILE")
    try:
        if file.stat().st_size > 20 << 20:
            raise InputError(
                "tool openapi: the document has more than 20 MB", file=file, remedy="cut it", code="openapi"
            )
        document = _Document(read_yaml(file.read_text(encoding="utf-8")), file)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"tool openapi: it cannot be read: {str(error)[:200]}", file=file, code="openapi") from None
    base = _server(document, server)
    secret = {name: _variable(variable) for name, variable in (headers or {}).items()}
    reach = Reach.of(server)
    made = [_operation(document, item, base, reach, secret) for item in document.operations()]
    names = [operation.name for operation in made]
    unknown = sorted(set(only or ()) - set(names))
    if unknown or not made:
        raise document.wrong(
            f"there is no operation {unknown[0] if unknown else ''}".rstrip(), f"known: {', '.join(names[:30])}"
        )
    return tuple(operation for operation in made if not only or operation.name in only)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InputError(f"tool openapi: the variable {name} is not set", remedy=f"export {name}=...")
    return value


def _server(document: _Document, named: str) -> str:
    servers = document.root.get("servers") or [{}]
    url = named or str(document.find(servers[0]).get("url", "") if isinstance(servers[0], dict) else "")
    if "{" in url or not url.startswith(("http://", "https://")):
        raise document.wrong(f"its server is {url or 'not named'!r}", "name one: server: https://...")
    place(url)
    return url.rstrip("/")


def _operation(
    document: _Document, item: tuple[str, str, dict[str, Any], list[Any]], server: str, reach: Reach, headers: Mapping[str, str]
) -> Operation:  # fmt: skip
    path, method, operation, parameters = item
    title = str(operation.get("operationId") or f"{method}_{path}")
    name = re.sub(r"[\W_]+", "_", title, flags=re.ASCII).strip("_")[:64] or method
    used: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    places: dict[str, str] = {}
    required: list[str] = []
    for given in parameters:
        parameter = document.find(given)
        label, at = str(parameter.get("name", "")), str(parameter.get("in", ""))
        if at not in _PLACES:
            if parameter.get("required"):
                raise document.wrong(
                    f"{name}: the parameter {label!r} goes into {at!r}, which is not sent", "leave the operation out"
                )
            continue
        schema = document.schema(parameter.get("schema", {}), used)
        about = {"description": str(parameter["description"])[:300]} if parameter.get("description") else {}
        properties[label], places[label] = {**schema, **about} if "$ref" not in schema else schema, at
        if parameter.get("required") or at == "path":
            required.append(label)
    body = document.find(operation.get("requestBody") or {})
    if body:
        content = next((value for kind, value in body.get("content", {}).items() if "json" in kind), None)
        if content is None:
            raise document.wrong(f"{name}: its body is no JSON", "leave the operation out")
        properties["body"] = document.schema(content.get("schema", {}), used)
        required += ["body"] if body.get("required") else []
    missing = sorted(set(re.findall(r"\{([^{}]+)\}", path)) - set(places))
    if missing:
        raise document.wrong(f"{name}: the path names {missing[0]!r}, which is no parameter")
    schema = {
        "type": "object",
        "properties": properties,
        "required": sorted(set(required)),
        "additionalProperties": False,
    }
    if used:
        schema["$defs"] = used
    told = str(operation.get("summary") or operation.get("description") or f"{method.upper()} {path}")[:500]
    return Operation(name, told, schema, method, server, path, places, reach, headers)
