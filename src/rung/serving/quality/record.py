"""Served requests and their answers, kept in the store so that they can become training rows; and what came back about
them.

An answer never waits for this: it is noted after it was sent, in memory, and is on disk within half a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rung.core.codec import encode
from rung.core.errors import RungError
from rung.serving.access.call import current
from rung.serving.apis.wire.chat import ChatRequest, Feedback
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint
from rung.store import Store, StoredServed, StoredSignal
from rung.store.people.forgetting import forget_old

logger = logging.getLogger("rung.serving")

DAY = 86400.0
HOUR = 3600.0


@dataclass
class Recorder:
    """Keeps what is asked and answered: the conversation, the answers, the model id and the program's hash. Never a
    key, a header, or who asked. ``days``: what is older is deleted (None: nothing is). ``lost`` counts what the full
    queue left out."""

    store: Store
    days: int | None = None
    lost: int = field(default=0, init=False)

    def note(self, id: str, endpoint: Endpoint, asked: ChatRequest, choices: Sequence[ChatChoice]) -> None:
        """Keep an answer that was given whole. Whatever goes wrong here is told in the log, and nobody else notices."""
        try:
            payload = {
                "program": endpoint.fingerprint,
                "messages": [encode(message) for message in endpoint.heard(asked)],
                "answers": [
                    {
                        "text": choice.text,
                        **({"finish": choice.finish} if choice.finish != "stop" else {}),
                        **({"tool_calls": encode(choice.tool_calls)} if choice.tool_calls else {}),
                    }
                    for choice in sorted(choices, key=lambda choice: choice.index)
                ],
            }
            kept = self.store.served.note(
                id, endpoint.id, json.dumps(payload, ensure_ascii=False, separators=(",", ":")), current().subject
            )
        except Exception:
            logger.exception("a request was not recorded")
            return
        if not kept:
            self.lost += 1
            if self.lost & (self.lost - 1) == 0:
                logger.error("%d requests were not recorded: the store does not keep up", self.lost)

    async def hear(self, said: Feedback, person: str) -> StoredServed | None:
        """Keep what came back about an answer; None: it is not recorded. Raises Refused for a kind that there is not,
        StoreError when the store is in trouble."""
        await self.store.settle()  # the answer may have been given a moment ago
        return await asyncio.to_thread(self._hear, said, person)

    def _hear(self, said: Feedback, person: str) -> StoredServed | None:
        from rung.alignment.people.feedback import EXPLICIT, IMPLICIT, SHOWN, keep

        rows = [StoredSignal(said.id, "rating", said.score, "", person)] if said.score is not None else []
        if said.correction is not None:
            rows.append(StoredSignal(said.id, "edit", 1.0, said.correction, person))
        if said.kind is not None:
            known = (*EXPLICIT, *IMPLICIT, SHOWN)
            if said.kind not in known:
                told = f"kind: got {said.kind[:40]!r}, expected one of {', '.join(known)}"
                raise Refused(400, told, param="kind", code="invalid_value")
            if said.kind in ("edit", "demonstration") and not said.text.strip():
                raise Refused(400, f"text: {said.kind} needs it", param="text", code="missing_required_parameter")
            rows.append(StoredSignal(said.id, said.kind, said.value, said.text, person))
        if self.store.served.get(said.id) is None:
            return None
        keep(self.store, rows)
        return self.store.served.get(said.id)

    async def tidy(self) -> None:
        """Delete what is too old, now and every hour, until cancelled."""
        while self.days is not None:
            try:
                gone = await asyncio.to_thread(forget_old, self.store.database, time.time() - self.days * DAY)
                if gone:
                    logger.info("%d recorded requests and decisions were older than %d days: deleted", gone, self.days)
            except RungError as error:
                logger.error("old recorded requests could not be deleted: %s", error.message)
            await asyncio.sleep(HOUR)
