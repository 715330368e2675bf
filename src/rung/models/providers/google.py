"""Google's Gemini models, through Google's own SDK (google-genai 3.4): ``google:MODEL``, or ``google:MODEL@URL`` for a
proxy.

The key comes from GOOGLE_API_KEY or GEMINI_API_KEY.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from typing import Any, ClassVar

from rung.core.errors import AuthError
from rung.core.types import Capabilities, Chunk, Finish, Message, Reply, Request, ToolCall, Usage
from rung.models.providers.access import Vendor
from rung.models.providers.hosted import Hosted, cut, schema_of, unwrap

FINISH: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "filtered",
    "RECITATION": "filtered",
    "LANGUAGE": "filtered",
    "BLOCKLIST": "filtered",
    "PROHIBITED_CONTENT": "filtered",
    "SPII": "filtered",
}


class GoogleModel(Hosted):
    vendor = Vendor(
        "google",
        "generativelanguage.googleapis.com",
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        "GOOGLE_GEMINI_BASE_URL",
    )
    module = "google.genai"
    can = Capabilities(
        forms=frozenset({"labels", "json", "number"}), tools=True, logprobs=True, seed=True, context=1_000_000
    )
    spellings: ClassVar = {
        "json_schema": r"response_?(json_?)?schema|response_?mime_?type|json mode|structured.outputs?",
        "stop": r"stop_?sequences?",
        "top_p": "top_?p",
        "top_k": "top_?k",
        "logprobs": "(response_?)?logprobs",
    }

    def connect(self) -> Any:
        import httpx  # the SDK's own

        sdk = self.sdk()
        types = sdk.types
        return sdk.Client(
            vertexai=False,  # that would take the credentials of the machine
            api_key=self.access.key(self.name) or "none",  # the SDK insists on one
            http_options=types.HttpOptions(
                base_url=self.access.url or f"https://{self.vendor.host}/",
                timeout=int(self.timeout * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
                # With a transport of its own the SDK keeps to httpx: aiohttp, where it is installed, would follow
                # redirects with the key, and knows none of these options.
                async_client_args={**self.access.client_options(), "transport": httpx.AsyncHTTPTransport()},
            ),
        )

    async def disconnect(self, client: Any) -> None:
        await client.aio.aclose()
        client.close()

    async def send(self, body: Mapping[str, Any], *, stream: bool) -> Any:
        models = self.client().aio.models
        return await (models.generate_content_stream if stream else models.generate_content)(**body)

    async def reply(self, request: Request) -> Reply:
        response, without = await self.ask(request, stream=False)
        gathered = _Gathered()
        gathered.add(response)
        if gathered.finish is None and not gathered.text:
            raise self.errors.unreadable("it has no candidates")
        return gathered.reply(request, self.name, without)

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk]:
        pieces, without = await self.ask(request, stream=True)
        held = request.form.kind in ("labels", "number") or "stop" in without
        gathered = _Gathered()
        try:
            async for response in pieces:
                piece = gathered.add(response)
                if piece and not held:
                    yield Chunk(piece)
        except Exception as error:
            raise self.translate(error) from None
        if gathered.finish is None:
            raise self.errors.broken("it ended without a finish reason")
        reply = gathered.reply(request, self.name, without)
        yield Chunk(reply.text if held else "", reply)

    def body(self, request: Request, without: Set[str], *, stream: bool) -> dict[str, Any]:
        types = self.sdk().types
        sampling = request.sampling
        schema = schema_of(request.form) if request.form.closed and "json_schema" not in without else None
        tools = [
            types.FunctionDeclaration(name=t.name, description=t.description, parameters_json_schema=dict(t.schema))
            for t in request.tools
        ]
        wanted = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p if sampling.top_p < 1 else None,
            "top_k": sampling.top_k or None,
            "seed": sampling.seed,
        }
        config = types.GenerateContentConfig(
            **{name: value for name, value in wanted.items() if name not in without},
            system_instruction="\n\n".join(m.content for m in request.messages if m.role == "system") or None,
            max_output_tokens=sampling.max_tokens,
            stop_sequences=(list(sampling.stop) or None) if "stop" not in without else None,
            response_logprobs=True if sampling.logprobs and "logprobs" not in without else None,
            response_mime_type="application/json" if schema else None,
            response_json_schema=schema,
            tools=[types.Tool(function_declarations=tools)] if tools else None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        return {"model": self.model, "contents": self._contents(request.messages), "config": config}

    def optional(self, body: Mapping[str, Any]) -> Set[str]:
        config = body["config"]
        sent = {name for name in ("temperature", "top_p", "top_k", "seed") if getattr(config, name) is not None}
        renamed = {"stop_sequences": "stop", "response_logprobs": "logprobs", "response_json_schema": "json_schema"}
        return sent | {name for field, name in renamed.items() if getattr(config, field)}

    def complaint(self, error: Exception) -> tuple[int | None, str, str]:
        return getattr(error, "code", None), str(getattr(error, "message", "")), ""

    def _contents(self, messages: Sequence[Message]) -> list[Any]:
        types = self.sdk().types
        names = {call.id: call.name for message in messages for call in message.tool_calls}
        out: list[Any] = []
        for message in messages:
            if message.role == "system":
                continue
            parts = []
            if message.role == "tool":
                id = message.tool_call_id or ""
                response = types.FunctionResponse(name=names.get(id, id), response={"result": message.content})
                parts.append(types.Part(function_response=response))
            else:
                if message.content:
                    parts.append(types.Part(text=message.content))
                for call in message.tool_calls:
                    part = types.Part(function_call=types.FunctionCall(name=call.name, args=dict(call.arguments)))
                    part.thought_signature = _signature(call.id)
                    parts.append(part)
            role = "model" if message.role == "assistant" else "user"
            if out and out[-1].role == role:
                out[-1].parts.extend(parts)
            else:
                out.append(types.Content(role=role, parts=parts))
        return out

    def translate(self, error: Exception) -> Exception:
        if not isinstance(error, self.sdk().errors.APIError):
            return self.errors.shaped(error, None)
        said = str(error.message or error.details)
        status = int(error.code or 0) or None
        if status == 400 and re.search(r"API.?key", said, re.I):
            return AuthError(
                f"{self.name} answered 400: the key is not valid",
                remedy=self.access.remedy,
                status=400,
            )
        headers = getattr(error.response, "headers", None)
        return self.errors.problem(status, said, headers=headers, retry_after=_retry_delay(error.details))


class _Gathered:
    """What the parts of one or many responses add up to."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: list[ToolCall] = []
        self.finish: Finish | None = None
        self.logprobs: list[float] = []
        self.tokens: list[str] = []
        self.usage = Usage(calls=1)

    def add(self, response: Any) -> str:
        """Take in a response; the text that it added."""
        if response.usage_metadata is not None:
            seen = response.usage_metadata
            self.usage = Usage(
                1,
                seen.prompt_token_count or 0,
                (seen.candidates_token_count or 0) + (seen.thoughts_token_count or 0),
                seen.cached_content_token_count or 0,
            )
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason is not None:
            self.finish = "filtered"
        if not response.candidates:
            return ""
        candidate = response.candidates[0]
        added = ""
        for part in (candidate.content.parts or ()) if candidate.content is not None else ():
            if part.function_call is not None:
                call = part.function_call
                id = (call.id or f"call_{len(self.calls)}") + _carried(part.thought_signature)
                self.calls.append(ToolCall(id, call.name or "", dict(call.args or {})))
            elif part.text and not part.thought:
                added += part.text
        if candidate.logprobs_result is not None:
            chosen = candidate.logprobs_result.chosen_candidates or ()
            self.logprobs += [t.log_probability for t in chosen]
            self.tokens += [t.token or "" for t in chosen]
        if candidate.finish_reason is not None:
            self.finish = FINISH.get(str(candidate.finish_reason.value), "stop")
        self.text.append(added)
        return added

    def reply(self, request: Request, name: str, without: Set[str]) -> Reply:
        text = "".join(self.text)
        return Reply(
            text=unwrap(request.form, cut(text, request.sampling.stop) if "stop" in without else text),
            finish="tool_calls" if self.calls else self.finish or "stop",
            usage=self.usage,
            model=name,
            tool_calls=tuple(self.calls),
            logprobs=tuple(self.logprobs) if request.sampling.logprobs else None,
            tokens=tuple(self.tokens) if request.sampling.logprobs else (),
        )


open_model = GoogleModel.open

# Gemini wants the signature of its thought back with the call that followed it; it travels inside the call's id.


def _carried(signature: bytes | None) -> str:
    return "#" + base64.b64encode(signature).decode() if signature else ""


def _signature(id: str) -> bytes | None:
    _, mark, encoded = id.partition("#")
    return base64.b64decode(encoded) if mark else None


def _retry_delay(details: Any) -> float | None:
    """Seconds of google.rpc.RetryInfo in an error's details."""
    inner = details.get("error", details) if isinstance(details, dict) else {}
    for item in inner.get("details", ()) if isinstance(inner, dict) else ():
        if isinstance(item, dict) and str(item.get("@type", "")).endswith("RetryInfo"):
            found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(item.get("retryDelay", "")))
            return float(found.group(1)) if found else None
    return None
