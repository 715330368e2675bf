"""/v1/batches: a file of requests, worked off beside those of people who wait.

Each line's answer is in the store before the next thing happens, so that a batch whose process was killed goes on by
another one with the lines that are not there yet. Output and error file are put together from the store, in the order
of the lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rung.core.codec import canonical
from rung.core.errors import RungError
from rung.serving.access.call import RequestCall
from rung.serving.apis.batches.lines import BatchLine, read_lines
from rung.serving.apis.wire.refused import Refused
from rung.serving.http.limits import RequestQueue
from rung.store import Store, StoredBatch, StoredFile, StoredResult
from rung.store.engine.process import Process, died, this

logger = logging.getLogger("rung.serving")

SHARE = 0.75
"""Of the places at work that batches may have: the rest is kept for people who wait."""

LOOK = 2.0
"""Seconds between two looks for batches that nobody works on."""

TRIES = 3
"""How often a line is asked when the fault is not its own."""

OPEN = ("validating", "in_progress", "finalizing", "cancelling")

STOPPABLE = ("validating", "in_progress")
"""What its caller may still end."""

BEFORE = {
    "in_progress": STOPPABLE,
    "finalizing": ("in_progress",),
    "completed": ("finalizing",),
    "cancelled": ("cancelling",),
}
"""What a status may follow: whoever ends a batch does so at any moment, in any process."""

Inside = Callable[[str, bytes, RequestCall], Awaitable[tuple[int, dict[str, Any]]]]
"""Asks an address of this server: (path, body, call) -> status and answer."""


@dataclass
class BatchRunner:
    """Works off the batches of a store, this process's and those of processes that died. ``call`` makes the call of a
    tenant's key."""

    store: Store
    inside: Inside
    queue: RequestQueue
    addresses: Sequence[str]
    call: Callable[[str, str], Awaitable[RequestCall]]
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    owner: str = field(default_factory=lambda: canonical(asdict(this())))

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                with suppress(RungError):
                    await self._look()
                await asyncio.sleep(LOOK)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _look(self) -> None:
        for status in OPEN:
            for batch in await asyncio.to_thread(self.store.batches.all, None, status):
                if batch.id in self._running or (batch.owner and not _gone(batch.owner, self.owner)):
                    continue
                if await asyncio.to_thread(self.store.batches.claim, batch, self.owner):
                    self.start(replace(batch, owner=self.owner))

    def start(self, batch: StoredBatch) -> None:
        """Work on a batch, if nobody in this process does."""
        if batch.id in self._running:
            return
        task = self._running[batch.id] = asyncio.create_task(self._work(batch))
        task.add_done_callback(lambda _: self._running.pop(batch.id, None))

    async def _work(self, batch: StoredBatch) -> None:
        try:
            await self._through(batch)
        except RungError as error:
            logger.error("batch %s waits: %s", batch.id, error.message)
            with suppress(RungError):
                now = await asyncio.to_thread(self.store.batches.get, batch.id)
                if now is not None and now.owner == self.owner:
                    await asyncio.to_thread(self.store.batches.claim, now, "")
        except Exception:
            logger.exception("batch %s failed", batch.id)
            errors = {
                "object": "list",
                "data": [{"code": "internal_error", "message": "the server failed on this batch"}],
            }
            await self._save(batch, "failed", errors=errors, failed_at=int(time.time()))

    async def _through(self, batch: StoredBatch) -> None:
        shown = json.loads(batch.payload)
        content = await asyncio.to_thread(self.store.files.content, shown["input_file_id"])
        lines, errors = await asyncio.to_thread(read_lines, content, shown["endpoint"])
        if errors:
            told = {"object": "list", "data": errors}
            await self._save(batch, "failed", errors=told, failed_at=int(time.time()))
            return
        if batch.status in STOPPABLE:
            now = {"in_progress_at": int(time.time()), "request_counts": counts(len(lines))}
            batch = await self._save(batch, "in_progress", **now)
        if batch.status == "in_progress":
            done = await asyncio.to_thread(self.store.results.get, batch.id, [line.custom_id for line in lines])
            todo = [line for line in lines if line.custom_id not in done or done[line.custom_id].failed]
            batch = await self._ask_all(batch, todo, len(lines))
            batch = await self._save(batch, "finalizing", finalizing_at=int(time.time()))
        await self._finish(batch, lines)

    async def _ask_all(self, batch: StoredBatch, lines: Sequence[BatchLine], total: int) -> StoredBatch:
        """Ask what is left, some at a time, until the batch is cancelled. The batch as it is then."""
        waiting = asyncio.Queue[BatchLine]()
        for line in lines:
            waiting.put_nowait(line)

        async def worker() -> None:
            while not waiting.empty() and batch.status == "in_progress":
                await self._ask(batch, waiting.get_nowait())

        async def watch() -> None:
            nonlocal batch
            while batch.status == "in_progress":
                await asyncio.sleep(1)
                done = await asyncio.to_thread(self.store.results.count, batch.id)
                batch = await self._save(batch, "in_progress", request_counts=counts(total, *done))

        watching = asyncio.create_task(watch())
        try:
            many = max(1, int(self.queue.limits.running * SHARE))
            await asyncio.gather(*(worker() for _ in range(min(many, len(lines)))))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return batch

    async def _ask(self, batch: StoredBatch, line: BatchLine) -> None:
        shown = json.loads(batch.payload)
        body = json.dumps(line.body).encode()
        status = 500
        answer: dict[str, Any] = {}
        for attempt in range(TRIES):
            await self._room()
            try:
                call = await self.call(batch.tenant, shown["key"])
                status, answer = await self.inside(shown["endpoint"], body, call)
            except Refused as refused:
                status, answer = refused.status, refused.body()
            if status < 500 and status != 429:
                break
            await asyncio.sleep(0.5 * 2**attempt)
        payload = {"status_code": status, "request_id": f"req-{secrets.token_hex(8)}", "body": answer}
        row = StoredResult(batch.id, line.custom_id, json.dumps(payload, ensure_ascii=False), status != 200)
        await self.store.results.put([row])

    async def _room(self) -> None:
        """Wait until people who wait leave room."""
        while self.queue.running > self.queue.limits.running * SHARE or self.queue.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def _finish(self, batch: StoredBatch, lines: Sequence[BatchLine]) -> None:
        found = await asyncio.to_thread(self.store.results.get, batch.id, [line.custom_id for line in lines])
        parts: dict[bool, list[str]] = {False: [], True: []}
        for line in lines:
            if (row := found.get(line.custom_id)) is None:
                continue
            entry = {
                "id": f"batch_req_{batch.id[6:18]}_{line.number}",
                "custom_id": line.custom_id,
                "response": json.loads(row.payload),
                "error": None,
            }
            parts[row.failed].append(json.dumps(entry, ensure_ascii=False))
        named: dict[str, Any] = {}
        for failed, name in ((False, "output"), (True, "error")):
            if parts[failed]:
                # The same name each time: what was killed while it finished does not leave a second file.
                file = StoredFile(
                    f"file-{name}-{batch.id[6:]}",
                    batch.tenant,
                    f"{batch.id}_{name}.jsonl",
                    "batch_output",
                    0,
                    time.time(),
                )
                text = ("\n".join(parts[failed]) + "\n").encode("utf-8", "backslashreplace")
                await asyncio.to_thread(self.store.files.put, file, text)
                named[f"{name}_file_id"] = file.id
        counted = counts(len(lines), len(parts[False]) + len(parts[True]), len(parts[True]))
        status = "cancelled" if batch.status == "cancelling" else "completed"
        named[f"{status}_at"] = int(time.time())
        await self._save(batch, status, request_counts=counted, **named)

    async def _save(self, batch: StoredBatch, status: str, **changes: Any) -> StoredBatch:
        """The batch with a new status, or as it is where that may not follow."""
        shown = {**json.loads(batch.payload), "status": status, **changes}
        saved = replace(batch, status=status, payload=json.dumps(shown))
        if await asyncio.to_thread(self.store.batches.change, saved, BEFORE.get(status, OPEN)):
            return saved
        return await asyncio.to_thread(self.store.batches.get, batch.id) or batch


def counts(total: int, done: int = 0, failed: int = 0) -> dict[str, int]:
    return {"total": total, "completed": done - failed, "failed": failed}


def _gone(owner: str, mine: str) -> bool:
    """Whether a process that had a batch is gone (or is this one, started anew)."""
    return owner == mine or died(Process(**json.loads(owner)))
