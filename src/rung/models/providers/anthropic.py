"""Anthropic's Claude models, through Anthropic's own SDK: ``anthropic:MODEL``, or ``anthropic:MODEL@URL`` for a proxy.

Written against the SDK's ``messages`` (anthropic 2.12). The key is in ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN,
or in a profile of the SDK's. Models after Claude 4.6 take no temperature, top_p or top_k, and the SDK no longer names
them: they are sent to the older models only, and the newer ones decode as they see fit.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from typing import Any, ClassVar

from rung.core.errors import AuthError, Unsupported
from rung.core.types import Capabilities, Chunk, Finish, Message, Reply, Request, Usage
from rung.models.providers.access import Vendor
from rung.models.providers.hosted import Hosted, cut, schema_of, tool_call, unwrap

FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "filtered",
}
_SAMPLED = re.compile(r"claude-(3|(opus|sonnet|haiku)-4-[0-6](\b|-)|(opus|sonnet|haiku)-4-2)")


class AnthropicModel(Hosted):
    vendor = Vendor(
        "anthropic",
        "api.anthropic.com",
        ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        "ANTHROPIC_BASE_URL",
    )
    module = "anthropic"
    can = Capabilities(forms=frozenset({"labels", "json", "number"}), tools=True, context=200_000)
    spellings: ClassVar = {
        "json_schema": r"output_config|output_format|json_schema|structured.outputs?",
        "stop": "stop_sequences",
    }

    def check_key(self) -> None:
        if not self.access.own:
            self.access.key(self.name)  # at Anthropic's own address, the SDK may find a profile instead

    def connect(self) -> Any:
        sdk = self.sdk()
        # At an address of the person's own the SDK looks for its credentials itself; elsewhere it must not.
        key = None if self.access.own else self.access.key(self.name) or "none"
        return sdk.AsyncAnthropic(
            api_key=key,
            base_url=self.access.url or None,
            max_retries=0,
            timeout=self.timeout,
            open_telemetry=False,
            http_client=sdk.DefaultAsyncHttpxClient(timeout=self.timeout, **self.access.client_options()),
        )

    async def disconnect(self, client: Any) -> None:
        await client.close()

    async def send(self, body: Mapping[str, Any], *, stream: bool) -> Any:
        return await self.client().messages.create(**body, stream=stream)

    async def reply(self, request: Request) -> Reply:
        message, without = await self.ask(request, stream=False)
        self.errors.refuse_error(message)
        text = "".join(block.text for block in message.content if block.type == "text")
        return Reply(
            text=unwrap(request.form, cut(text, request.sampling.stop) if "stop" in without else text),
            finish=FINISH.get(message.stop_reason or "", "stop"),
            usage=_usage(message.usage),
            model=self.name,
            tool_calls=tuple(
                tool_call(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"
            ),
        )

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk]:
        text: list[str] = []
        calls: dict[int, list[str]] = {}
        finish: Finish | None = None
        usage = Usage(calls=1)
        whole = False
        pieces, without = await self.ask(request, stream=True)
        held = request.form.kind in ("labels", "number") or "stop" in without
        try:
            async for event in pieces:
                if event.type == "message_start":
                    usage = _usage(event.message.usage)
                elif event.type == "content_block_start" and event.content_block.type == "tool_use":
                    calls[event.index] = [event.content_block.id, event.content_block.name, ""]
                elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                    text.append(event.delta.text)
                    if not held:
                        yield Chunk(event.delta.text)
                elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                    calls[event.index][2] += event.delta.partial_json
                elif event.type == "message_delta":
                    finish = FINISH.get(event.delta.stop_reason or "", "stop")
                    usage = Usage(1, usage.prompt_tokens, event.usage.output_tokens, usage.cached_tokens)
                elif event.type == "message_stop":
                    whole = True
        except Exception as error:
            raise self.translate(error) from None
        finally:
            await pieces.close()
        if finish is None or not whole:
            raise self.errors.broken("it ended before message_stop")
        joined = "".join(text)
        answer = unwrap(request.form, cut(joined, request.sampling.stop) if "stop" in without else joined)
        yield Chunk(
            answer if held else "",
            Reply(
                text=answer,
                finish=finish,
                usage=usage,
                model=self.name,
                tool_calls=tuple(tool_call(*parts) for _, parts in sorted(calls.items())),
            ),
        )

    def body(self, request: Request, without: Set[str], *, stream: bool) -> dict[str, Any]:
        sampling = request.sampling
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        body: dict[str, Any] = {
            "model": self.model,
            "messages": wire_messages(request.messages),
            "max_tokens": sampling.max_tokens,
        }
        if system:
            body["system"] = system
        if sampling.stop and "stop" not in without:
            body["stop_sequences"] = list(sampling.stop)
        if request.tools:
            body["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": dict(t.schema) or {"type": "object"}}
                for t in request.tools
            ]
        schema = schema_of(request.form) if request.form.closed else None
        if schema is not None and "json_schema" not in without:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if _SAMPLED.match(self.model):
            extra: dict[str, Any] = {"temperature": sampling.temperature}
            if sampling.temperature > 0:  # greedy makes the others moot, and the 4.x models take one of them at a time
                extra |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
                extra |= {"top_k": sampling.top_k} if sampling.top_k else {}
            body["extra_body"] = {name: value for name, value in extra.items() if name not in without}
        elif sampling.top_p < 1 or sampling.top_k:
            raise Unsupported(f"{self.name} takes no top-p or top-k", remedy="drop them, or use another model")
        return body

    def optional(self, body: Mapping[str, Any]) -> Set[str]:
        renamed = {"stop_sequences": "stop", "output_config": "json_schema"}
        return {*(renamed[name] for name in renamed.keys() & body.keys()), *body.get("extra_body", ())}

    def complaint(self, error: Exception) -> tuple[int | None, str, str]:
        return getattr(error, "status_code", None), str(getattr(error, "message", "")), ""

    def translate(self, error: Exception) -> Exception:
        # What the SDK raises where it finds neither a key nor a profile: it has no class of its own.
        if isinstance(error, TypeError) and self.access.own and not any(map(os.environ.get, self.vendor.keys)):
            return AuthError(
                f"{self.name} needs a key and {' or '.join(self.vendor.keys)} is not set",
                remedy=f"type: export {self.vendor.keys[0]}=...",
            )
        return self.errors.shaped(error, self.sdk())


open_model = AnthropicModel.open


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as the messages API writes them: no system, tool results as blocks of a user turn, turns of one role
    joined."""
    out: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "tool":
            role = "user"
            blocks: list[dict[str, Any]] = [
                {"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": message.content}
            ]
        else:
            role = message.role
            blocks = [{"type": "text", "text": message.content}] if message.content else []
            blocks += [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
                for call in message.tool_calls
            ]
        if out and out[-1]["role"] == role:
            out[-1]["content"] += blocks
        else:
            out.append({"role": role, "content": blocks})
    return out


def _usage(usage: Any) -> Usage:
    # Anthropic counts cached tokens beside input_tokens, the others inside the prompt: here they are inside.
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Usage(1, usage.input_tokens + read + written, usage.output_tokens, read)
