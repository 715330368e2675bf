"""Any server that speaks the OpenAI chat completions API, through OpenAI's own SDK.

``openai:MODEL`` asks OpenAI (or ``OPENAI_BASE_URL``); ``openai:MODEL@http://127.0.0.1:8000/v1`` asks that address:
vLLM, llama.cpp, Ollama and others. Written against the SDK's ``chat.completions`` (openai 3.54) and OpenAI's API
reference.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from contextlib import aclosing
from typing import Any, ClassVar

from rung.core.errors import ModelError, Unsupported
from rung.core.types import Capabilities, Chunk, Finish, Message, Reply, Request, ResponseFormat, ToolCall, Usage
from rung.models.providers.access import Vendor
from rung.models.providers.hosted import Hosted, add_call, cut, schema_of, text_of, tool_call, unwrap

FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filtered",
}
_OPTIONAL = frozenset(
    {"temperature", "top_p", "seed", "stop", "logprobs", "stream_options", "max_tokens", "max_completion_tokens"}
)


class OpenaiModel(Hosted):
    vendor = Vendor("openai", "api.openai.com", ("OPENAI_API_KEY",), "OPENAI_BASE_URL")
    module = "openai"
    can = Capabilities(
        forms=frozenset({"labels", "json", "number"}), tools=True, logprobs=True, seed=True, context=128_000
    )
    spellings: ClassVar = dict.fromkeys(
        ("json_schema", "json_object"), r"response[_ ]?format|json[_ ](schema|object|mode)|structured.outputs?"
    )

    def connect(self, *, blocking: bool = False) -> Any:
        sdk = self.sdk()
        http = (sdk.DefaultHttpxClient if blocking else sdk.DefaultAsyncHttpxClient)(
            timeout=self.timeout, **self.access.client_options(blocking=blocking)
        )
        return (sdk.OpenAI if blocking else sdk.AsyncOpenAI)(
            api_key=self.access.key(self.name) or "none",  # the SDK insists on one
            base_url=self.access.url or "https://api.openai.com/v1",
            max_retries=0,
            timeout=self.timeout,
            http_client=http,
        )

    async def disconnect(self, client: Any) -> None:
        await client.close()

    async def send(self, body: Mapping[str, Any], *, stream: bool) -> Any:
        return await self.client().chat.completions.create(**body)

    async def reply(self, request: Request) -> Reply:
        return self._whole(request, *await self.ask(request, stream=False))

    def _whole(self, request: Request, completion: Any, without: Set[str]) -> Reply:
        """The reply of a completion in one piece."""
        self.errors.refuse_error(completion)
        if not completion.choices:
            raise self.errors.unreadable("it has no choices")
        choice = completion.choices[0]
        message = choice.message
        calls = tuple(tool_call(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ())
        content = choice.logprobs.content if choice.logprobs is not None else None
        text = text_of(message.content) or message.refusal or ""
        return Reply(
            text=unwrap(request.form, cut(text, request.sampling.stop) if "stop" in without else text),
            finish="filtered" if message.refusal else FINISH.get(choice.finish_reason, "stop"),
            usage=_usage(completion.usage),
            model=self.name,
            tool_calls=calls,
            logprobs=None if content is None else tuple(token.logprob for token in content),
            tokens=tuple(token.token for token in content or ()),
        )

    async def chunks(self, request: Request) -> AsyncGenerator[Chunk]:
        pieces, without = await self.ask(request, stream=True)
        if (completion := await self._unstreamed(pieces)) is not None:
            reply = self._whole(request, completion, without)
            yield Chunk(reply.text, reply)
            return
        async with aclosing(self._events(request, pieces, without)) as events:
            async for chunk in events:
                yield chunk

    async def _events(self, request: Request, pieces: Any, without: Set[str]) -> AsyncGenerator[Chunk]:
        text: list[str] = []
        calls: dict[int, list[str]] = {}
        logprobs: list[float] = []
        tokens: list[str] = []
        finish: Finish | None = None
        usage = Usage()
        # JSON around the answer, and text that may have to be cut: given out at the end.
        held = request.form.kind in ("labels", "number") or "stop" in without
        try:
            async for event in pieces:
                if event.usage is not None:
                    usage = _usage(event.usage)
                if not event.choices:
                    continue
                choice = event.choices[0]
                _add_calls(calls, choice.delta.tool_calls or ())
                if choice.logprobs is not None:
                    told = choice.logprobs.content or ()
                    logprobs += [token.logprob for token in told]
                    tokens += [token.token for token in told]
                if piece := text_of(choice.delta.content) or choice.delta.refusal or "":
                    text.append(piece)
                    if not held:
                        yield Chunk(piece)
                if choice.delta.refusal:
                    finish = "filtered"
                if choice.finish_reason:
                    finish = finish or FINISH.get(choice.finish_reason, "stop")
        except Exception as error:
            raise self.translate(error) from None
        finally:
            await pieces.close()
        if finish is None:
            raise self.errors.broken("it ended without a finish reason")
        whole = "".join(text)
        answer = unwrap(request.form, cut(whole, request.sampling.stop) if "stop" in without else whole)
        yield Chunk(
            answer if held else "",
            Reply(
                text=answer,
                finish=finish,
                usage=usage,
                model=self.name,
                tool_calls=tuple(tool_call(*parts) for _, parts in sorted(calls.items())),
                logprobs=tuple(logprobs) if request.sampling.logprobs else None,
                tokens=tuple(tokens),
            ),
        )

    async def _unstreamed(self, pieces: Any) -> Any:
        """The completion of a server that answers in one piece although a stream was asked for; None: it streams."""
        kind = pieces.response.headers.get("content-type", "")
        if not kind.startswith(("application/json", "text/html")):
            return None  # events, whatever some servers call them
        try:
            document = json.loads(await pieces.response.aread())
        except (ValueError, RecursionError):
            raise self.errors.unreadable(f"it is neither a stream nor JSON that can be read ({kind})") from None
        except Exception as error:
            raise self.translate(error) from None
        finally:
            await pieces.close()
        if not isinstance(document, dict):
            raise self.errors.unreadable(f"it is {document!r:.60}")
        return self.sdk().types.chat.ChatCompletion.construct(**document)

    def body(self, request: Request, without: Set[str], *, stream: bool) -> dict[str, Any]:
        sampling = request.sampling
        wanted: dict[str, Any] = {"temperature": sampling.temperature}
        # OpenAI's newer models take only the new name, older compatible servers only the old one.
        names = ["max_completion_tokens", "max_tokens"]
        limit = next((name for name in (names[::-1] if self.access.url else names) if name not in without), "")
        if limit:
            wanted[limit] = sampling.max_tokens
        if sampling.top_p < 1:
            wanted["top_p"] = sampling.top_p
        if sampling.top_k and not self.access.url:
            raise Unsupported(f"{self.name} has no top-k", remedy="drop --top-k, or use --top-p")
        if sampling.seed is not None:
            wanted["seed"] = sampling.seed
        if sampling.stop:
            wanted["stop"] = list(sampling.stop)
        if sampling.logprobs:
            wanted["logprobs"] = True
        if stream:
            wanted["stream_options"] = {"include_usage": True}
        body = {name: value for name, value in wanted.items() if name not in without}
        body |= {"model": self.model, "messages": wire_messages(request.messages)}
        if stream:
            body["stream"] = True
        if sampling.top_k and "top_k" not in without:
            body["extra_body"] = {"top_k": sampling.top_k}
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description, "parameters": dict(t.schema)},
                }
                for t in request.tools
            ]
        return {**body, **_answer_format(request.form, without)}

    def optional(self, body: Mapping[str, Any]) -> Set[str]:
        kind = {body["response_format"]["type"]} if "response_format" in body else set()
        return {*(_OPTIONAL & body.keys()), *kind, *body.get("extra_body", ())}

    def complaint(self, error: Exception) -> tuple[int | None, str, str]:
        return (
            getattr(error, "status_code", None),
            str(getattr(error, "message", "")),
            str(getattr(error, "param", None) or ""),
        )

    def translate(self, error: Exception) -> Exception:
        if getattr(error, "code", None) == "insufficient_quota":
            return ModelError(
                f"{self.name}: the account has no quota left",
                remedy="add credit at the provider, or use another key",
                status=429,
            )
        return self.errors.shaped(error, self.sdk())


open_model = OpenaiModel.open


def _add_calls(calls: dict[int, list[str]], pieces: Sequence[Any]) -> None:
    for piece in pieces:
        function = piece.function
        add_call(calls, piece.index, piece.id, getattr(function, "name", ""), getattr(function, "arguments", ""))


def _answer_format(form: ResponseFormat, without: Set[str]) -> dict[str, Any]:
    schema = schema_of(form) if form.closed else None
    if schema is not None and "json_schema" not in without:
        named = {"name": "answer", "schema": schema, "strict": strict(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if form.kind == "json" and "json_object" not in without else {}


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as the chat completions API writes them."""
    out: list[dict[str, Any]] = []
    for message in messages:
        wire: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            wire["tool_calls"] = [_wire_call(call) for call in message.tool_calls]
            wire["content"] = message.content or None
        if message.role == "tool":
            wire["tool_call_id"] = message.tool_call_id or ""
        out.append(wire)
    return out


def _wire_call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def strict(schema: Any) -> bool:
    """Whether a schema keeps the rules of OpenAI's strict mode: every object closed, every property required."""
    if isinstance(schema, list):
        return all(strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", ())) != set(schema.get("properties", {}))
    ):
        return False
    return all(strict(item) for item in schema.values())


def _usage(usage: Any) -> Usage:
    if usage is None:
        return Usage(calls=1)
    details = usage.prompt_tokens_details
    return Usage(
        calls=1,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
    )
