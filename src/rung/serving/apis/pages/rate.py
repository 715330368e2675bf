"""The page on which people rate answers blind: plain HTML made here, a form a question, keys by a few lines of script.

Nothing in the page says which rung an answer is of: the form carries the number of the question, and the server knows
the rest. What was rated is in the store before the next question is shown.
"""

from __future__ import annotations

import asyncio
import html
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from string import Template
from typing import Any, get_args
from urllib.parse import parse_qs, urlencode

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from rung.core.errors import InputError
from rung.metrics.statistics.rating import Verdict
from rung.serving.access.door import Door
from rung.serving.http.guard import RequestGuard
from rung.serving.http.process.server import address, is_loopback, listen
from rung.serving.observe.observers import Observers
from rung.store import Store, StoredRating
from rung.studies.runs.rating import Questions, RatedPair

NAME = 80
NOTE = 4000
BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Form:
    """What a form sent."""

    rater: str
    number: int
    verdict: str
    note: str


def make_page(study: Questions, store: Store) -> FastAPI:
    """The application. Only callers that name this machine as host are answered, and no other site's forms."""
    app = FastAPI(title="rung rate", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/", response_model=None)
    async def begin() -> Response:
        return _page(_WHO.substitute(task=html.escape(study.task), count=len(study.questions)))

    @app.get("/rate", response_model=None)
    async def show(rater: str = "", n: int | None = None) -> Response:
        name = _clean(rater, NAME)
        if not name:
            return RedirectResponse("/", 303)
        done = await asyncio.to_thread(_done, study, store, name)
        number = n if n is not None and 0 <= n < len(study.questions) else _next(study, done)
        if number is None:
            return _page(_END.substitute(rater=html.escape(name), count=len(done)))
        return _page(_question(study, study.questions[number], number, name, done))

    @app.post("/rate", response_model=None)
    async def rate(request: Request) -> Response:
        # Browsers say where a form comes from; a page of another site (or port) cannot rate in somebody's name.
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _page("<p>This form does not come from this page.</p>", 403)
        form = _read(await _body(request))
        if form is None or form.number >= len(study.questions):
            return _page("<p>That form is not complete. <a href='/'>Begin again</a></p>", 400)
        question = study.questions[form.number]
        rating = StoredRating(
            study.run,
            form.rater,
            question.example,
            question.one,
            question.other,
            study.left(question, form.rater),
            form.verdict,
            form.note,
            study.seed,
        )
        await asyncio.to_thread(store.ratings.put, rating)
        return RedirectResponse("/rate?" + urlencode({"rater": form.rater}), 303)

    app.add_middleware(RequestGuard, door=Door(), quick={}, observers=Observers(log=False))
    return app


def run_page(study: Questions, store: Store, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Raises InputError for an address that other machines can reach."""
    if not is_loopback(host):
        raise InputError(
            f"{host} can be reached from other machines, and the page asks nobody for a key",
            remedy="leave --host out; from elsewhere use: ssh -L 8322:localhost:8322 MACHINE",
        )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    bound = listen(host, port)
    try:
        say(f"rate at {address(bound).removesuffix('/v1')} (this machine only; Ctrl-C ends it, what was rated is kept)")
        config = uvicorn.Config(make_page(study, store), log_config=None, access_log=False, server_header=False)
        asyncio.run(uvicorn.Server(config).serve(sockets=[bound]))
    finally:
        bound.close()


def _done(study: Questions, store: Store, rater: str) -> dict[int, StoredRating]:
    """What this rater has rated of the study, by the question's number."""
    mine = {(row.example, row.one, row.other): row for row in store.ratings.of(study.run) if row.rater == rater}
    return {i: mine[q.key] for i, q in enumerate(study.questions) if q.key in mine}


def _next(study: Questions, done: dict[int, StoredRating]) -> int | None:
    return next((i for i in range(len(study.questions)) if i not in done), None)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= BODY:
            parts.append(part)
    return b"".join(parts) if size <= BODY else b""


def _read(body: bytes) -> _Form | None:
    """The form's fields, None where one is missing or out of range."""
    try:
        fields = {name: values[-1] for name, values in parse_qs(body.decode(), max_num_fields=10).items()}
        number = int(fields["n"])
    except (ValueError, KeyError):
        return None
    rater, verdict = _clean(fields.get("rater", ""), NAME), fields.get("verdict", "")
    if not rater or number < 0 or verdict not in get_args(Verdict):
        return None
    return _Form(rater, number, verdict, fields.get("note", "").replace("\r\n", "\n").strip()[:NOTE])


def _clean(name: str, longest: int) -> str:
    return " ".join(name.split())[:longest]


# ---------------------------------------------------------------- what is shown


def _page(body: str, status: int = 200) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cache-control": "no-store",
    }
    return HTMLResponse(_SHELL.substitute(nonce=nonce, body=body), status, headers)


def _question(study: Questions, question: RatedPair, number: int, rater: str, done: dict[int, StoredRating]) -> str:
    first, second = question.answers
    if study.left(question, rater) != question.one:
        first, second = second, first
    fields = "".join(
        f"<h2>{html.escape(name)}</h2><pre>{html.escape(text)}</pre>" for name, text in question.input.items()
    )
    before = [i for i in done if i < number]
    back = ""
    if before:
        link = html.escape("/rate?" + urlencode({"rater": rater, "n": max(before)}))
        back = f'<a id="back" href="{link}">Back <kbd>u</kbd></a>'
    given: dict[str, Any] = {"note": ""}
    if number in done:
        given = {"note": done[number].note}
    return _ASK.substitute(
        task=html.escape(study.task),
        rater=html.escape(rater),
        n=number,
        done=len(done),
        count=len(study.questions),
        fields=fields,
        first=html.escape(first),
        second=html.escape(second),
        note=html.escape(given["note"]),
        back=back,
        again=f"<p>You said: {_SAID[done[number].verdict]}. A new verdict replaces it.</p>" if number in done else "",
    )


_SAID = {"left": "left is better", "right": "right is better", "tie": "equally good", "bad": "both bad"}

_SHELL = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rate answers</title><style nonce="$nonce">
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; } h2 { font-size: .95rem; margin: .6rem 0 .2rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: 0; padding: .6rem; border: 1px solid #8886;
  border-radius: .3rem; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } .two pre { min-height: 6rem; }
@media (max-width: 40rem) { .two { grid-template-columns: 1fr; } }
.buttons { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
button { font: inherit; padding: .5rem 1rem; } textarea, input { font: inherit; width: 100%; box-sizing: border-box; }
kbd { border: 1px solid #8888; border-radius: .2rem; padding: 0 .3rem; font-size: .85em; }
</style></head><body><main>$body</main><script nonce="$nonce">
const keys = { "1": "left", ArrowLeft: "left", "2": "right", ArrowRight: "right", t: "tie", ArrowDown: "tie",
  b: "bad", ArrowUp: "bad" };
addEventListener("keydown", (event) => {
  const note = document.getElementById("note");
  if (event.target instanceof HTMLTextAreaElement) { if (event.key === "Escape") note.blur(); return; }
  if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "n" && note) { event.preventDefault(); note.focus(); return; }
  if (event.key === "u") { document.getElementById("back")?.click(); return; }
  const button = document.querySelector(`button[value="$${keys[event.key]}"]`);
  if (button) { event.preventDefault(); button.click(); }
});
</script></body></html>
""")

_WHO = Template("""<h1>Rate answers: $task</h1>
<p>You will see $count questions, each with two answers. Say which is better; where an answer comes from is not shown.</p>
<form action="/rate" method="get"><label>Your name <input name="rater" required maxlength="80" autofocus></label>
<p class="buttons"><button>Begin</button></p></form>""")

_END = Template("""<h1>Thank you, $rater</h1><p>You have rated all $count questions. This window can be closed.</p>
<p><a href="/">Another rater</a></p>""")

_ASK = Template("""<h1>$task</h1><p>$rater, $done of $count rated. $back</p>$again
<section aria-label="Input">$fields</section>
<form action="/rate" method="post"><input type="hidden" name="rater" value="$rater"><input type="hidden" name="n" value="$n">
<div class="two"><section><h2>Left answer</h2><pre id="left">$first</pre></section>
<section><h2>Right answer</h2><pre id="right">$second</pre></section></div>
<div class="buttons">
<button name="verdict" value="left">Left is better <kbd>1</kbd> <kbd>&larr;</kbd></button>
<button name="verdict" value="right">Right is better <kbd>2</kbd> <kbd>&rarr;</kbd></button>
<button name="verdict" value="tie">Equally good <kbd>t</kbd> <kbd>&darr;</kbd></button>
<button name="verdict" value="bad">Both bad <kbd>b</kbd> <kbd>&uarr;</kbd></button></div>
<label>Note, if you like <kbd>n</kbd> (<kbd>Esc</kbd> leaves it)
<textarea id="note" name="note" rows="2" maxlength="4000">
$note</textarea></label></form>""")
