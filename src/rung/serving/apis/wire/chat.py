"""The OpenAI wire format (platform.openai.com/docs/api-reference/chat): what is read.

Reading is strict about types (a string is not a number) and ignores fields that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import PydanticCustomError

from rung.core.types import Message, ToolCall, ToolSpec
from rung.serving.apis.wire.refused import Refused


class Readable(BaseModel):
    """What is read from a body: strict about types, without an eye for fields that it does not know."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


MESSAGES = 4096
TOOLS = 512
FIELDS = 1024
"""Most of each in a request, and of a message's parts: what comes is read on the event loop."""


def _flatten(content: Any) -> Any:
    """Content is a text or a list of text parts; other parts (images, audio) are refused by name."""
    if not isinstance(content, list):
        return content
    if len(content) > MESSAGES:
        raise PydanticCustomError(
            "too_long", "{count} parts, at most {most} can be read", {"count": len(content), "most": MESSAGES}
        )
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        text = part.get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            raise PydanticCustomError("part", "only text parts can be read, got {kind}", {"kind": str(kind)[:40]})
        texts.append(text)
    return "".join(texts)


def _few(input: Any) -> Any:
    if isinstance(input, dict) and len(input) > FIELDS:
        raise PydanticCustomError(
            "too_long", "{count} fields, at most {most} can be read", {"count": len(input), "most": FIELDS}
        )
    return input


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


class FunctionCall(Readable):
    name: str
    arguments: str = "{}"


class CallRead(Readable):
    id: str
    type: str = "function"
    function: FunctionCall


class ChatMessage(Readable):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_flatten)] = None
    tool_calls: list[CallRead] | None = Field(default=None, max_length=TOOLS, fail_fast=True)
    tool_call_id: str | None = None

    def message(self) -> Message:
        """As a core Message. Raises Refused when a tool call's arguments are not a JSON object."""
        calls = []
        for call in self.tool_calls or ():
            try:
                arguments = json.loads(call.function.arguments or "{}")
            except ValueError:
                arguments = None
            if not isinstance(arguments, dict):
                raise Refused(
                    400, f"the arguments of tool call {call.id!r} are not a JSON object", param="messages.tool_calls"
                )
            calls.append(ToolCall(call.id, call.function.name, arguments))
        role = "system" if self.role == "developer" else self.role
        return Message(role, self.content or "", tuple(calls), self.tool_call_id)


class StreamOptions(Readable):
    include_usage: bool | None = None


class JsonSchema(Readable):
    name: str = ""
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


class WireFormat(Readable):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Function(Readable):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolRead(Readable):
    type: Literal["function"]
    function: Function

    def spec(self) -> ToolSpec:
        schema = self.function.parameters or {"type": "object", "properties": {}}
        return ToolSpec(self.function.name, self.function.description or "", schema)


class ChatRequest(Readable):
    """The body of POST /v1/chat/completions. ``input``, ``rung`` and ``top_k`` are ours (``extra_body`` in OpenAI's
    client).

    ``input``: the program's input by field, instead of the last user message. ``rung``: ask for the extension object
    (parsed output, confidence, steps). The sampling fields steer a bare model; a program answers as it was evaluated.
    """

    model: str = Field(min_length=1, max_length=512)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MESSAGES, fail_fast=True)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_listed)] = Field(
        default=None, max_length=16, fail_fast=True
    )
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int | None = Field(default=None, ge=1, le=16)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, Any] | None = None
    response_format: WireFormat | None = None
    tools: list[ToolRead] | None = Field(default=None, max_length=TOOLS, fail_fast=True)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    modalities: list[Any] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    input: Annotated[str | dict[str, str] | None, BeforeValidator(_few)] = None
    rung: bool | None = None
    user: str | None = None

    _wire: bytes = PrivateAttr(default=b"")

    def wire(self, *without: str) -> bytes:
        """The fields that are set, as a JSON object in their order here, but for those that are no part of the question
        (the model's name, how the answer is sent, who asks) and ``without``. Made once: a cache asks for it, and an
        endpoint."""
        if any(getattr(self, name) is not None for name in without):
            return self._made(_CARRIAGE.union(without))
        kept = self.__pydantic_private__  # to ask for the attribute costs as much as half of making it
        assert kept is not None
        if not kept["_wire"]:
            kept["_wire"] = self._made(_CARRIAGE)
        made: bytes = kept["_wire"]
        return made

    def _made(self, exclude: set[str]) -> bytes:
        return self.__pydantic_serializer__.to_json(self, exclude_none=True, by_alias=True, exclude=exclude)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        made = super().model_copy(update=update, deep=deep)
        made._wire = b""
        return made


_CARRIAGE = {"model", "stream", "stream_options", "user", "rung"}


class Feedback(Readable):
    """The body of POST /v1/feedback: the id of a response, and how good it was (``score``, 0 to 1), what would have
    been right (``correction``), or what was done with it (``kind``: copy, retry, change, abandon, follow-up; survey,
    survey-shown; demonstration with its ``text``), ``value`` how much of it. ``user``: who says it."""

    id: str = Field(min_length=1, max_length=200)
    score: float | None = Field(default=None, ge=0, le=1)
    correction: str | None = Field(default=None, min_length=1)
    kind: str | None = Field(default=None, max_length=40)
    value: float = Field(default=1.0, ge=0, le=1)
    text: str = Field(default="", max_length=200_000)
    user: str | None = Field(default=None, max_length=512)


_Body = TypeVar("_Body", bound=Readable)


def read_chat(body: bytes) -> ChatRequest:
    """Parse a request body. Raises Refused (400, OpenAI's shape) that names the field and what was wrong with it."""
    return parse_body(ChatRequest, body)


def read_feedback(body: bytes) -> Feedback:
    """Parse a body of /v1/feedback. Raises Refused as ``read_chat`` does."""
    said = parse_body(Feedback, body)
    if said.score is None and said.correction is None and said.kind is None:
        told = "score: field required, or correction, or kind"
        raise Refused(400, told, param="score", code="missing_required_parameter")
    return said


def parse_body(kind: type[_Body], body: bytes) -> _Body:
    """A body as ``kind``. Raises Refused (400) that names the field and what was wrong with it."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    # Of a union's arms, the one that was read furthest is the one that was meant.
    first = max((one for one in errors if one["loc"][:1] == errors[0]["loc"][:1]), key=lambda one: len(one["loc"]))
    if first["type"] == "json_invalid":
        raise Refused(400, "the body is not valid JSON: " + first["msg"].partition(": ")[2], code="invalid_json")
    # Arms of a union (str, dict[str,str]) appear in the location as type names: they are no part of the field's path.
    path = [str(part) for part in first["loc"] if isinstance(part, int) or (part.isidentifier() and part not in _ARMS)]
    param = ".".join(path)
    if not param:
        raise Refused(400, "the body must be a JSON object", code="invalid_json")
    message = first["msg"][:1].lower() + first["msg"][1:]
    fault = first["type"]
    is_type = fault.endswith(("_type", "_parsing")) or fault in ("int_from_float", "part")
    code = "missing_required_parameter" if fault == "missing" else "invalid_type" if is_type else "invalid_value"
    raise Refused(400, f"{param}: {message}", param=param, code=code)


_ARMS = frozenset({"str", "dict"})
