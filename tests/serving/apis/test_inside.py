from __future__ import annotations

import json
from contextlib import aclosing

from rung.models.providers.fake import Fake
from rung.serving.access.call import RequestCall
from rung.serving.apis.inside import InsideClient
from rung.serving.endpoints.endpoint import Piece
from rung.serving.http.chat import ChatApp, Offer
from rung.serving.http.limits import Limits, RequestQueue
from rung.serving.observe.metrics import Metrics
from rung.serving.observe.observers import Observers
from rung.serving.observe.spans import Spans, export
from tests.serving.loopback import bare

TRACE, OUTER = "a" * 32, "b" * 16


def body(model: str, *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": "one two three"}]
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


async def test_what_is_asked_from_inside_is_counted_and_stands_in_the_span_of_who_asked() -> None:
    metrics, spans = Metrics(), Spans("http://127.0.0.1:9")
    chat = ChatApp(Offer({"fake:echo": bare(Fake())}), RequestQueue(Limits()))
    client = InsideClient(chat, chat.path, Observers(False, False, metrics, spans))
    outer = RequestCall(trace=(TRACE, "", OUTER))
    status, answer = await client.ask(body("fake:echo"), outer)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "one two three")
    assert (await client.ask(body("none"), outer))[0] == 404
    assert outer.served_by == ""  # which way it went is the inner request's
    async with aclosing(client.stream(body("fake:echo", stream=True), outer)) as events:
        assert "".join([event.text async for event in events if isinstance(event, Piece)]) == "one two three"
    async with aclosing(client.stream(body("fake:echo", stream=True), outer)) as events:
        assert isinstance(await anext(events), Piece)  # and closed before its end
    text = metrics.text().decode()
    assert 'rung_requests_total{code="",model="fake:echo",status="200"} 3.0' in text
    assert 'rung_requests_total{code="model_not_found",model="-",status="404"} 1.0' in text
    made = export(list(spans._waiting))["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert {span["traceId"] for span in made} == {TRACE}
    whole = [span for span in made if span["name"] == "POST /v1/chat/completions"]
    assert [span["parentSpanId"] for span in whole] == [OUTER] * 4
    assert [span["parentSpanId"] for span in made if span["name"] == "chat fake:echo"] == [
        span["spanId"] for span in (whole[0], whole[2], whole[3])
    ]
