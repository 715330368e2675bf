"""The lines of a batch's file, read and checked before anything is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LINES = 50_000
"""Requests of one batch at most."""

SHOWN = 50
"""Mistakes that are told of one file."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch: line ``number`` (1-based) of its file."""

    number: int
    custom_id: str
    body: dict[str, Any]


def read_lines(content: bytes, endpoint: str) -> tuple[list[BatchLine], list[dict[str, Any]]]:
    """The requests of a file, and its mistakes as the protocol shows them. With mistakes nothing is asked."""
    lines: list[BatchLine] = []
    errors: list[dict[str, Any]] = []
    first: dict[str, int] = {}

    def wrong(number: int, code: str, message: str, param: str | None = None) -> None:
        if len(errors) < SHOWN:
            errors.append({"code": code, "line": number, "message": message, "param": param})

    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not raw.strip():
            continue
        if len(lines) >= LINES:
            wrong(number, "too_many_lines", f"a batch may have {LINES:,} requests")
            break
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            wrong(number, "invalid_json_line", "this line is not valid JSON")
            continue
        if not isinstance(line, dict):
            wrong(number, "invalid_json_line", "this line is no JSON object")
            continue
        if found := _fault(line, first, endpoint):
            wrong(number, *found)
        else:
            lines.append(BatchLine(number, line["custom_id"], line["body"]))
        if isinstance(line.get("custom_id"), str):
            first.setdefault(line["custom_id"], number)
    if not lines and not errors:
        wrong(1, "empty_file", "the file holds no requests")
    return lines, errors


def _fault(line: dict[str, Any], first: dict[str, int], endpoint: str) -> tuple[str, str, str] | None:
    """Code, message and parameter of what is wrong with a request; ``first``: the line on which each id stands."""
    id, body = line.get("custom_id"), line.get("body")
    if not isinstance(id, str) or not id or len(id) > 512:
        return "missing_required_parameter", "custom_id: expected a text of 1 to 512 characters", "custom_id"
    if id in first:
        return "duplicate_custom_id", f"custom_id {id!r} is on line {first[id]} too", "custom_id"
    if line.get("method", "POST") != "POST":
        return "invalid_method", "method: expected POST", "method"
    if line.get("url") != endpoint:
        return "mismatched_endpoint", f"url: expected {endpoint}, the batch's endpoint", "url"
    if not isinstance(body, dict):
        return "missing_required_parameter", "body: expected an object", "body"
    return ("invalid_value", "body.stream: a batch cannot stream", "body.stream") if body.get("stream") else None
