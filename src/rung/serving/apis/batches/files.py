"""/v1/files: what batches are read from and written to. A tenant sees its own files alone."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rung.core.system.extras import require
from rung.serving.apis.wire.refused import Refused
from rung.store import Store, StoredFile

LARGEST = 64 * 1024 * 1024
"""Bytes of one file at most."""

PURPOSES = ("batch", "user_data", "fine-tune", "evals", "assistants", "vision")


def add_files(app: FastAPI, store: Store) -> None:
    """Put the addresses on the application."""
    require("python_multipart", "serving", "/v1/files")

    @app.post("/v1/files", response_model=None)
    async def upload(request: Request) -> dict[str, Any]:
        """Upload a file (multipart: file, purpose)."""
        name, purpose, content = await _read_form(request)
        file = StoredFile(f"file-{secrets.token_hex(12)}", _tenant(request), name, purpose, len(content), time.time())
        await asyncio.to_thread(store.files.put, file, content)
        return file_wire(file)

    @app.get("/v1/files", response_model=None)
    async def listed(request: Request, purpose: str = "") -> dict[str, Any]:
        """A tenant's files."""
        found = await asyncio.to_thread(store.files.all, _tenant(request))
        data = [file_wire(file) for file in found if purpose in ("", file.purpose)]
        return {"object": "list", "data": data, "has_more": False}

    @app.get("/v1/files/{id}", response_model=None)
    async def shown(request: Request, id: str) -> dict[str, Any]:
        """One file, without its content."""
        return file_wire(await _find(store, request, id))

    @app.get("/v1/files/{id}/content", response_model=None)
    async def content(request: Request, id: str) -> Response:
        """What a file holds."""
        file = await _find(store, request, id)
        text = await asyncio.to_thread(store.files.content, file.id)
        return Response(text, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"})

    @app.delete("/v1/files/{id}", response_model=None)
    async def delete(request: Request, id: str) -> dict[str, Any]:
        """Delete a file."""
        file = await _find(store, request, id)
        await asyncio.to_thread(store.files.delete, file.id, file.tenant)
        return {"id": file.id, "object": "file", "deleted": True}


def file_wire(file: StoredFile) -> dict[str, Any]:
    """A file as the protocol shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def _tenant(request: Request) -> str:
    return str(request.scope["rung.call"].caller.tenant)


async def _find(store: Store, request: Request, id: str) -> StoredFile:
    file = await asyncio.to_thread(store.files.get, id, _tenant(request))
    if file is None:
        raise Refused(404, f"there is no file {id[:100]!r}", param="file_id", code="not_found")
    return file


async def _read_form(request: Request) -> tuple[str, str, bytes]:
    """Name, purpose and content of an upload."""
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException

    if int(request.headers.get("content-length") or 0) > LARGEST + 65536:
        raise _too_large()
    size = 0

    async def receive() -> Any:
        nonlocal size
        event = await request.receive()
        size += len(event.get("body", b""))
        if size > LARGEST + 65536:  # whatever its head said
            raise _too_large()
        return event

    try:
        async with Request(request.scope, receive).form(max_files=1, max_fields=8, max_part_size=65536) as form:
            file, purpose = form.get("file"), form.get("purpose")
            if not isinstance(file, UploadFile):
                raise Refused(400, "file: field required", param="file", code="missing_required_parameter")
            if purpose not in PURPOSES:
                said = f"purpose: got {str(purpose)[:40]!r}, expected one of {', '.join(PURPOSES)}"
                raise Refused(400, said, param="purpose", code="invalid_value")
            content = await file.read()
            if not content:
                raise Refused(400, "file: it is empty", param="file", code="invalid_value")
            return (file.filename or "file")[:200], str(purpose), content
    except (MultiPartException, AssertionError, KeyError) as error:
        raise Refused(400, f"the body is no multipart form: {error}", code="invalid_form") from None


def _too_large() -> Refused:
    return Refused(413, f"a file may have {LARGEST:,} bytes", param="file", code="request_too_large", again=False)
