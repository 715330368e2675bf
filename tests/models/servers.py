"""A server on loopback that speaks the wire formats of OpenAI, Anthropic and Google, with real sockets.

What it does is chosen by the model's name in the request: ``ok``, or one of the faults below. It answers "Hello brave world"
in three pieces, calls the first tool it is offered, and fills the JSON schema it is given. ``seen`` keeps every request.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECES = ("Hello", " brave", " world")
ODD: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"hello"',
    "empty": b"{}",
    "error": b'{"error": {"message": "out of credit", "code": 500}}',
    "none": b'{"choices": [], "content": null, "candidates": []}',
    "nested": b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": {"a": 1}}}], "stop_reason": "end_turn",'
    b'"content": [{"type": "text", "text": 7}], "candidates": [{"content": {"parts": [{"text": 7}]}, "finishReason": "STOP"}]}',
}


COUNTS: dict[str, Any] = {
    "none": None,
    "negative": {"prompt_tokens": -3, "completion_tokens": 2},
    "texts": {"prompt_tokens": "eleven", "completion_tokens": "3"},
    "cached": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}},
}


@dataclass(frozen=True)
class Seen:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


@dataclass
class Said:
    """What the model says, before it is put into one vendor's words."""

    pieces: Sequence[str] = PIECES
    finish: str = "stop"
    call: tuple[str, dict[str, Any]] | None = None


@dataclass
class Server:
    url: str
    seen: list[Seen] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What a request may not hold, as its JSON spells it: the status and the words that it gets."""
    free: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve() -> Iterator[Server]:
    """A running server; its threads end with it."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}")
    http.state = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.free.set()
        http.shutdown()
        http.server_close()
        thread.join(5)


class _Embeddings:
    """The embeddings API: a vector of letter counts a text, answered in another order than asked."""

    def error(self, status: int, said: str) -> dict[str, Any]:
        return {"error": {"message": said, "type": "error", "param": None, "code": None}}

    def answer(self, body: dict[str, Any]) -> Said:
        return Said()

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        width = body.get("dimensions", 26)
        data = [
            {
                "object": "embedding",
                "index": at,
                "embedding": [float(text.lower().count(chr(97 + i))) for i in range(width)],
            }
            for at, text in enumerate(body["input"])
        ]
        if body["model"] == "short":
            data.pop()
        tokens = sum(len(text.split()) for text in body["input"])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": body["model"], "data": data[::-1], "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        try:
            self._post()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has gone, which is its right

    def _post(self) -> None:
        server: Server = self.server.state  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        server.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body, time.monotonic()))
        vendor: Any
        if path.endswith("/embeddings"):
            vendor, model, streamed = _Embeddings(), body["model"], False
        elif path.endswith("/chat/completions"):
            vendor, model, streamed = _Openai(), body["model"], bool(body.get("stream"))
        elif path.endswith("/messages"):
            vendor, model, streamed = _Anthropic(), body["model"], bool(body.get("stream"))
        else:
            vendor, streamed = _Google(), "streamGenerateContent" in path
            model = path.rpartition("/models/")[2].partition(":")[0]
        count = server.counts[model] = server.counts.get(model, 0) + 1
        if self._fault(server, vendor, model, count, str(body)):
            return
        said = vendor.answer(body)
        if model == "filtered":
            said = Said(("I will not.",), "filtered")
        if not streamed or model == "unstreamed":
            document = vendor.whole(body, said)
            if model.startswith("counts-"):
                document["usage"] = COUNTS[model[7:]]
            self._send(200, document)
            return
        events = list(vendor.events(body, said))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for i, event in enumerate(events):
            if model in ("cut", "vanish") and i >= len(events) // 2:
                break
            if model == "spoiled" and i >= len(events) // 2:
                self._chunk(vendor.spoiled())
                break
            if model == "stalling" and i >= len(events) // 2:
                server.free.wait(20)
                break
            self._chunk(event)
        if model == "vanish":  # the connection dies without the end that HTTP asks for
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _fault(self, server: Server, vendor: Any, model: str, count: int, body: str) -> bool:
        refused = next((answer for name, answer in server.refuse.items() if name in body), None)
        if refused is not None:
            self._send(refused[0], vendor.error(*refused))
        elif model == "denied":
            self._send(401, vendor.error(401, f"invalid key {self._key()}"))
        elif model == "forbidden":
            self._send(403, vendor.error(403, "not yours"))
        elif model == "limited" and count == 1:
            self._send(429, vendor.error(429, "slow down"), {"retry-after": "0.4"})
        elif model == "always-limited":
            self._send(429, vendor.error(429, "slow down"), {"retry-after": "60"})
        elif model == "down" or (model == "flaky" and count <= 2):
            self._send(500, vendor.error(500, "oh no"))
        elif model == "busy" and count == 1:
            self._send(503, vendor.error(503, "overloaded"))
        elif model == "long":
            self._send(400, vendor.error(400, vendor.overflow))
        elif model == "missing":
            self._send(404, vendor.error(404, "no such model"))
        elif model == "picky" and "bad item" in body:
            self._send(400, vendor.error(400, "cannot read that"))
        elif model.startswith("moved-"):
            self._send(int(model[6:]), {}, {"location": f"{server.url}/elsewhere{self.path}"})
        elif model == "garbled":
            self._send(200, b"<html>it works</html>")
        elif model.startswith("odd-"):  # JSON, and no answer
            self._send(200, ODD[model[4:]])
        elif model == "slow":
            server.free.wait(20)
            return False
        else:
            return False
        return True

    def _key(self) -> str:
        for name in ("authorization", "x-api-key", "x-goog-api-key"):
            if self.headers[name]:
                return str(self.headers[name])
        return ""

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _chunk(self, data: str) -> None:
        raw = data.encode()
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()


def fill(schema: dict[str, Any]) -> Any:
    """A value valid under the simple schemas that the tests use."""
    if "enum" in schema:
        return schema["enum"][-1]
    if schema.get("type") == "object":
        return {name: fill(inner) for name, inner in schema.get("properties", {}).items()}
    if schema.get("type") in ("number", "integer"):
        return 7
    return "Paris"


def shape(schema: dict[str, Any] | None, tool: tuple[str, bool] | None, limit: int, stops: Sequence[str]) -> Said:
    """``tool``: the first tool's name, and whether its result is there already."""
    if tool is not None and not tool[1]:
        return Said((), "tools", (tool[0], {"city": "Paris"}))
    text = json.dumps(fill(schema)) if schema is not None else "".join(PIECES)
    pieces = [text[:4], text[4:9], text[9:]] if schema is not None else list(PIECES)
    for stop in stops:
        if stop in text:
            return Said((text.partition(stop)[0],), "stop")
    if limit < len(pieces):
        return Said(pieces[:limit], "length")
    return Said(pieces)


class _Openai:
    overflow = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."

    def answer(self, body: dict[str, Any]) -> Said:
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        tools = body.get("tools")
        done = body["messages"][-1]["role"] == "tool"
        tool = (tools[0]["function"]["name"], done) if tools else None
        return shape(
            schema, tool, body.get("max_tokens") or body.get("max_completion_tokens", 9), body.get("stop") or ()
        )

    def error(self, status: int, said: str) -> dict[str, Any]:
        return {"error": {"message": said, "type": "error", "param": None, "code": None}}

    def spoiled(self) -> str:
        return 'data: {"error": {"message": "engine died", "type": "server_error", "code": 500}}\n\n'

    def _finish(self, said: Said) -> str:
        return {"stop": "stop", "length": "length", "tools": "tool_calls", "filtered": "content_filter"}[said.finish]

    def _usage(self, said: Said) -> dict[str, Any]:
        return {
            "prompt_tokens": 11,
            "completion_tokens": len(said.pieces) or 4,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 5},
        }

    def _logprobs(self, said: Said, wanted: bool) -> Any:
        if not wanted:
            return None
        return {"content": [{"token": p, "logprob": -0.5, "bytes": None, "top_logprobs": []} for p in said.pieces]}

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(said.pieces) or None}
        if said.call:
            function = {"name": said.call[0], "arguments": json.dumps(said.call[1])}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": self._finish(said)}
        choice["logprobs"] = self._logprobs(said, body.get("logprobs", False))
        return {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": self._usage(said),
        }

    def events(self, body: dict[str, Any], said: Said) -> Iterator[str]:
        def chunk(choices: list[Any], usage: Any = None) -> str:
            event = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
            return f"data: {json.dumps({**event, 'choices': choices, 'usage': usage})}\n\n"

        def delta(content: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> Any:
            return [{"index": 0, "delta": content, "finish_reason": finish, "logprobs": logprobs}]

        yield chunk(delta({"role": "assistant", "content": ""}))
        for piece in said.pieces:
            yield chunk(delta({"content": piece}, None, self._logprobs(Said((piece,)), body.get("logprobs", False))))
        if said.call:
            name, text = said.call[0], json.dumps(said.call[1])
            head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
            yield chunk(delta({"tool_calls": [head]}))
            for part in (text[:5], text[5:]):
                yield chunk(delta({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))
        yield chunk(delta({}, self._finish(said)))
        yield chunk([], self._usage(said))
        yield "data: [DONE]\n\n"


class _Anthropic:
    overflow = "prompt is too long: 210000 tokens > 200000 maximum"

    def answer(self, body: dict[str, Any]) -> Said:
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        last = body["messages"][-1]["content"]
        done = any(block["type"] == "tool_result" for block in last)
        tools = body.get("tools")
        tool = (tools[0]["name"], done) if tools else None
        return shape(schema, tool, body["max_tokens"], body.get("stop_sequences") or ())

    def error(self, status: int, said: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "api_error", "message": said}}

    def spoiled(self) -> str:
        return (
            'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
        )

    def _finish(self, said: Said) -> str:
        return {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filtered": "refusal"}[said.finish]

    def _usage(self, written: int) -> dict[str, Any]:
        return {
            "input_tokens": 6,
            "output_tokens": written,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 0,
        }

    def _message(self, body: dict[str, Any], content: list[Any], finish: str | None, written: int) -> dict[str, Any]:
        return {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": finish,
            "stop_sequence": None,
            "usage": self._usage(written),
        }

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        content: list[Any] = [{"type": "text", "text": "".join(said.pieces)}] if said.pieces else []
        if said.call:
            content.append({"type": "tool_use", "id": "call_1", "name": said.call[0], "input": said.call[1]})
        return self._message(body, content, self._finish(said), len(said.pieces) or 4)

    def events(self, body: dict[str, Any], said: Said) -> Iterator[str]:
        def event(kind: str, data: dict[str, Any]) -> str:
            return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"

        yield event("message_start", {"message": self._message(body, [], None, 1)})
        if said.call:
            block = {"type": "tool_use", "id": "call_1", "name": said.call[0], "input": {}}
            yield event("content_block_start", {"index": 0, "content_block": block})
            text = json.dumps(said.call[1])
            for part in (text[:5], text[5:]):
                delta = {"type": "input_json_delta", "partial_json": part}
                yield event("content_block_delta", {"index": 0, "delta": delta})
        else:
            yield event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
            for piece in said.pieces:
                yield event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}})
        yield event("content_block_stop", {"index": 0})
        ending = {"stop_reason": self._finish(said), "stop_sequence": None}
        yield event("message_delta", {"delta": ending, "usage": {"output_tokens": len(said.pieces) or 4}})
        yield event("message_stop", {})


class _Google:
    overflow = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."

    def answer(self, body: dict[str, Any]) -> Said:
        config = body.get("generationConfig", {})
        tools = body.get("tools")
        done = any("functionResponse" in part for part in body["contents"][-1]["parts"])
        tool = (tools[0]["functionDeclarations"][0]["name"], done) if tools else None
        return shape(
            config.get("responseJsonSchema"), tool, config["maxOutputTokens"], config.get("stopSequences") or ()
        )

    def error(self, status: int, said: str) -> dict[str, Any]:
        names = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 400: "INVALID_ARGUMENT"}
        return {"error": {"code": status, "message": said, "status": names.get(status, "INTERNAL")}}

    def spoiled(self) -> str:
        return 'data: {"error": {"code": 500, "message": "engine died", "status": "INTERNAL"}}\n\n'

    def _finish(self, said: Said) -> str:
        return {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "filtered": "SAFETY"}[said.finish]

    def _response(self, body: dict[str, Any], said: Said, pieces: Sequence[str], *, last: bool) -> dict[str, Any]:
        parts: list[Any] = [{"text": piece} for piece in pieces]
        if said.call and last:
            call = {"name": said.call[0], "args": said.call[1]}
            parts.append({"functionCall": call, "thoughtSignature": "c2lnbmVk"})
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
        if last:
            candidate["finishReason"] = self._finish(said)
        if body.get("generationConfig", {}).get("responseLogprobs"):
            chosen = [{"token": piece, "tokenId": 1, "logProbability": -0.5} for piece in pieces]
            candidate["logprobsResult"] = {"chosenCandidates": chosen}
        usage = {
            "promptTokenCount": 11,
            "candidatesTokenCount": len(said.pieces) or 4,
            "cachedContentTokenCount": 5,
            "totalTokenCount": 15,
        }
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        return self._response(body, said, said.pieces, last=True)

    def events(self, body: dict[str, Any], said: Said) -> Iterator[str]:
        pieces = list(said.pieces) or [""]
        for i, piece in enumerate(pieces):
            shown = (piece,) if piece else ()
            yield f"data: {json.dumps(self._response(body, said, shown, last=i == len(pieces) - 1))}\n\n"
