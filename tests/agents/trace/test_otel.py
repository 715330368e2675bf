"""An episode as spans: one for all, one for each decision and each call, times that fit into each other, nothing said without content."""

from __future__ import annotations

import json

import pytest

from rung.agents.policies.choice import make_policy
from rung.agents.program.program import AgentProgram
from rung.agents.trace.otel import spans_of
from rung.core.types.trail import MemoryTrail, recording
from rung.models import Pool


@pytest.mark.parametrize("content", [True, False])
async def test_spans_of_an_episode(content: bool) -> None:
    trail = MemoryTrail()
    program = AgentProgram(make_policy("model_based", Pool()), environment="desk", memory="lessons")
    with recording(trail):
        answer = await program({"scenario": "3"})
    events = trail.read(answer.episode)
    made = spans_of(events, content=content)
    assert json.loads(json.dumps(made)) == made == spans_of(events, content=content)
    whole, *inner = made["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert whole["name"] == "invoke_agent model_based"
    names = [span["name"].split()[0] for span in inner]
    kinds = [event.kind for event in events]
    assert names.count("chat") == kinds.count("said")
    assert names.count("execute_tool") == kinds.count("called")
    assert len({span["spanId"] for span in [whole, *inner]}) == len(inner) + 1
    for span in inner:
        assert (span["traceId"], span["parentSpanId"]) == (whole["traceId"], whole["spanId"])
        assert int(whole["startTimeUnixNano"]) <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert int(span["endTimeUnixNano"]) <= int(whole["endTimeUnixNano"])
    assert ("Ticket T-3" in json.dumps(made)) == content
    about = {one["key"]: one["value"] for one in whole["attributes"]}
    assert about["gen_ai.operation.name"] == {"stringValue": "invoke_agent"}
    assert about["gen_ai.conversation.id"] == {"stringValue": answer.episode}


def test_no_events_are_no_spans() -> None:
    assert spans_of([]) == {"resourceSpans": []}
