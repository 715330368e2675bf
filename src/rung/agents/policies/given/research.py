"""Research: search, search again with the names that were found, and answer in the documents' own sentences, or in a
model's words as far as those stand in one of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from rung.agents.loop.move import Decision, act, finish
from rung.agents.loop.view import View
from rung.agents.policies.transcript import ask
from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.types import Message, Sampling
from rung.foundations.text.sentences import sentences

_SHOWN = re.compile(r"^\[\d+\] (.+) (\d+)-\d+: (.*)$", re.MULTILINE)
"""A passage as the tool ``index`` shows it."""
_NAMES = re.compile(r"\b[A-Z][\w'’.-]+(?: (?:of |the |de |von )?[A-Z][\w'’.-]+)*")

_SHORT = "Answer with a name, a date or a number that stands above, and nothing else."


class FoundSentence(NamedTuple):
    """A sentence and where it stands: ``document`` from character ``start`` up to, not including, ``end``."""

    text: str
    document: str
    start: int
    end: int


@dataclass(frozen=True)
class Research:
    """Makes ``hops`` searches, each after the first with the two names that stand most often in what was found and not
    yet in the question (as multi-hop retrieval by pseudo relevance feedback does: Rocchio 1971), and answers in at most
    ``most`` sentences. Every sentence is followed by its citation: the document and the characters that it is.

    A ``model`` reads these sentences and says what the answer is. Its words are taken where they stand in a sentence,
    which is then cited; else the sentences answer."""

    name: ClassVar[str] = "research"

    tool: str = "index_search"
    hops: int = 2
    most: int = 3
    count: int = 5
    model: Model | None = None

    async def decide(self, view: View) -> Decision:
        if all(spec.name != self.tool for spec in view.tools):
            raise InputError(
                f"policy research needs the tool {self.tool}",
                remedy="name a collection: --tool index:NAME (rung index list)",
            )
        made = [call for turn in view.turns for call in turn.calls if call.tool == self.tool]
        if len(made) >= self.hops:
            return await self._finish(view, f"{len(made)} searches were made")
        if not made:
            return act(self.tool, query=view.request[:2000], count=self.count, because="the question as it is")
        fresh = self._fresh(view)
        if not fresh:
            return await self._finish(view, "nothing new is named in what was found")
        query = f"{view.request} {' '.join(fresh)}"[:2000]
        return act(self.tool, query=query, count=self.count, because=f"found and not asked yet: {', '.join(fresh)}")

    async def conclude(self, view: View) -> Any:
        """The best sentences so far."""
        return _cited([(one.text, one) for one in self._best(view)])

    async def _finish(self, view: View, why: str) -> Decision:
        best = self._best(view)
        shown = _cited([(one.text, one) for one in best])
        if self.model is None or not best:
            return finish(shown, why)
        text = "\n".join(one.text for one in best)
        said = (Message("user", f"{text}\n\nQuestion: {view.request}\n{_SHORT}"),)
        reply, request = await ask(view, self.model, said, Sampling(max_tokens=24))
        words = next((line.strip(" .\"'") for line in reply.text.splitlines() if line.strip()), "")
        holds = next((one for one in best if words and words.casefold() in one.text.casefold()), None)
        output = shown if holds is None else _cited([(words, holds)])
        why = f"{why}; {words!r} stands in {'none of them' if holds is None else holds.document}"
        return replace(finish(output, why), request=request, reply=reply.text)

    def _found(self, view: View) -> list[FoundSentence]:
        texts = [
            call.text or "" for turn in view.turns for call in turn.calls if call.tool == self.tool and not call.refused
        ]
        return list(dict.fromkeys(one for text in texts for one in _read(text)))

    def _fresh(self, view: View) -> list[str]:
        asked = view.request.casefold()
        counts = Counter(
            name
            for one in self._found(view)
            for name in _NAMES.findall(one.text)
            if name.casefold() not in asked and len(name) > 3
        )
        return [name for name, _ in counts.most_common(2)]

    def _best(self, view: View) -> list[FoundSentence]:
        from rung.retrieval.keyword.keyword import KeywordIndex

        found = self._found(view)
        index = KeywordIndex()
        index.add([str(at) for at in range(len(found))], [one.text for one in found])
        fresh = " ".join(self._fresh(view))
        return [found[int(id)] for id, _ in index.search(f"{view.request} {view.request} {fresh}", self.most)]


def _cited(lines: Sequence[tuple[str, FoundSentence]]) -> str:
    """Each text with the sentence that it stands in."""
    said = " ".join(f"{text} [{number}]" for number, (text, _) in enumerate(lines, 1))
    sources = [f"[{number}] {one.document} {one.start}-{one.end}" for number, (_, one) in enumerate(lines, 1)]
    return "\n".join([said or "Nothing was found.", "", *sources]).strip()


def _read(text: str) -> Iterator[FoundSentence]:
    for shown in _SHOWN.finditer(text):
        document, start, passage = shown[1], int(shown[2]), shown[3]
        for span in sentences(passage):
            yield FoundSentence(passage[span.start : span.end], document, start + span.start, start + span.end)
