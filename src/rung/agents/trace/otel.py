"""An episode as OpenTelemetry spans: OTLP in JSON, with the names of the conventions for generative AI."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rung.core.types.trail import Event

_STATUS_ERROR = 2


def spans_of(events: Sequence[Event], *, content: bool = True) -> dict[str, Any]:
    """The OTLP export request of an episode: one span ``invoke_agent`` over all, one ``chat`` for each decision, one
    ``execute_tool`` for each call, and what people and the harness said as events of the first. Trace and span ids are
    made of the episode's id, so that the same episode is the same trace. Without ``content`` no texts, arguments and
    results are in it.

    Source: OpenTelemetry semantic conventions for generative AI (``gen_ai.*``), OTLP/JSON encoding.
    """
    if not events:
        return {"resourceSpans": []}
    episode, begun, last = events[0].episode, events[0].payload, events[-1]
    trace = hashlib.blake2b(episode.encode(), digest_size=16).hexdigest()
    root = _span_id(episode, 0)
    spec = (begun.get("spec") or {}).get("spec") or {}
    policy = spec.get("policy") or {}
    ended = last.payload if last.kind == "ended" else {}
    about: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": str(begun.get("agent", "")),
        "gen_ai.agent.name": str(policy.get("name", "agent")),
        "gen_ai.conversation.id": episode,
        **({"gen_ai.request.model": policy["model"]} if policy.get("model") else {}),
        **(
            {"rung.environment": str(spec["environment"]), "rung.scenario": begun.get("scenario", "")}
            if "environment" in spec
            else {}
        ),
        **({"rung.stopped": ended["stopped"]} if ended.get("stopped") else {}),
        **({"rung.solved": bool(ended["verdict"]["solved"])} if ended.get("verdict") else {}),
        **({"rung.parent": begun["parent"]} if begun.get("parent") else {}),
    }
    if content:
        about["gen_ai.input.messages"] = _text([{"role": "user", "content": begun.get("request", "")}])
        if ended.get("output") is not None:
            about["gen_ai.output.messages"] = _text([{"role": "assistant", "content": ended["output"]}])
    whole = span(trace, root, "", f"invoke_agent {about['gen_ai.agent.name']}", (events[0].at, last.at), about)
    whole["events"] = [
        {
            "timeUnixNano": _nano(event.at),
            "name": event.kind,
            "attributes": attributes(
                {"text": str(event.payload.get("text", event.payload.get("do", "")))} if content else {}
            ),
        }
        for event in events
        if event.kind in ("asked", "decided", "warned", "steered", "learned", "resumed")
    ]
    inner = [*_decisions(events, trace, root, policy, content), *_calls(events, trace, root, content)]
    spans = [whole, *sorted(inner, key=lambda span: (span["startTimeUnixNano"], span["spanId"]))]
    resource = {"attributes": attributes({"service.name": "rung"})}
    return {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "rung.agents"}, "spans": spans}]}]
    }


def _decisions(
    events: Sequence[Event], trace: str, root: str, policy: Mapping[str, Any], content: bool
) -> list[dict[str, Any]]:
    out, before = [], events[0].at
    for event in events:
        if event.kind == "said":
            usage = event.payload.get("usage") or {}
            model = policy.get("model", "")
            about: dict[str, Any] = {
                "gen_ai.operation.name": "chat",
                **(
                    {"gen_ai.request.model": model, "gen_ai.provider.name": str(model).partition(":")[0]}
                    if model
                    else {}
                ),
                **({"gen_ai.usage.input_tokens": usage["prompt_tokens"]} if "prompt_tokens" in usage else {}),
                **({"gen_ai.usage.output_tokens": usage["completion_tokens"]} if "completion_tokens" in usage else {}),
            }
            if content and (text := event.payload.get("reply") or event.payload.get("thought")):
                about["gen_ai.output.messages"] = _text([{"role": "assistant", "content": text}])
            name = f"chat {model}".strip()
            out.append(span(trace, _span_id(event.episode, event.seq), root, name, (before, event.at), about))
        before = event.at
    return out


def _calls(events: Sequence[Event], trace: str, root: str, content: bool) -> list[dict[str, Any]]:
    out = []
    results = {event.payload.get("call"): event for event in events if event.kind == "observed"}
    for event in events:
        made = event.kind == "called"
        if not made and not (event.kind == "observed" and "tool" in event.payload):
            continue
        shown = results.get(event.seq) if made else event
        about: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.payload["tool"],
            "gen_ai.tool.call.id": event.payload.get("key") or f"{event.episode}-{event.seq}",
        }
        if content:
            about["gen_ai.tool.call.arguments"] = _text(event.payload["arguments"])
            if shown is not None:
                about["gen_ai.tool.call.result"] = str(shown.payload.get("text", ""))
        end = shown.at if shown is not None else event.at
        shut = span(
            trace,
            _span_id(event.episode, event.seq),
            root,
            f"execute_tool {event.payload['tool']}",
            (event.at, end),
            about,
        )
        if shown is not None and shown.payload.get("refused"):
            blocked = "blocked" if shown.payload.get("blocked") else "refused"
            shut["status"] = {"code": _STATUS_ERROR, "message": blocked}
            shut["attributes"] += attributes({"error.type": blocked})
        out.append(shut)
    return out


def span(
    trace: str, id: str, parent: str, name: str, when: tuple[float, float], about: Mapping[str, Any]
) -> dict[str, Any]:
    """A span in OTLP's JSON; ``when`` is its begin and end in Unix seconds. Kind 1 is internal."""
    return {
        "traceId": trace,
        "spanId": id,
        **({"parentSpanId": parent} if parent else {}),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": _nano(when[0]),
        "endTimeUnixNano": _nano(max(when)),
        "attributes": attributes(about),
    }


def attributes(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes in OTLP's JSON."""
    return [{"key": key, "value": _value(value)} for key, value in given.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    if isinstance(value, int):
        return {"intValue": str(value)}  # 64 bits are texts in OTLP's JSON
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _nano(at: float) -> str:
    return str(int(at * 1e9))


def _span_id(episode: str, seq: int) -> str:
    return hashlib.blake2b(f"{episode}#{seq}".encode(), digest_size=8).hexdigest()
