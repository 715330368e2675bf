"""Answers that are written straight to the server's events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import to_bytes

if TYPE_CHECKING:
    from starlette.types import Scope, Send

JSON = b"application/json"


async def send_bytes(
    send: Send, body: bytes, kind: bytes = JSON, status: int = 200, headers: Mapping[str, str] = {}
) -> None:
    """A whole answer of one content type."""
    more = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    head = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> None:
    await send_bytes(send, to_bytes(value), JSON, status, headers)


async def send_refused(send: Send, refused: Refused, headers: Mapping[str, str] = {}) -> None:
    await send_json(send, refused.body(), refused.status, {**refused.headers(), **headers})


def defect(scope: Scope) -> Refused:
    """What a caller is told of a fault of ours."""
    said = f"the server failed on this request ({scope.get('rung.id', '')}); its log says why"
    return Refused(500, said, code="internal_error", again=False)
