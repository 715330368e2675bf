"""Research without a model: search, search again with the names that were found, and answer in the documents' own
sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from rung.agents.loop.move import Decision, act, finish
from rung.agents.loop.view import View
from rung.core.errors import InputError
from rung.foundations.text.sentences import sentences

_SHOWN = re.compile(r"^\[\d+\] (.+) (\d+)-\d+: (.*)$", re.MULTILINE)
"""A passage as the tool ``index`` shows it."""
_NAMES = re.compile(r"\b[A-Z][\w'’.-]+(?: (?:of |the |de |von )?[A-Z][\w'’.-]+)*")


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
    ``most`` sentences. Every sentence is followed by its citation: the document and the characters that it is."""

    name: ClassVar[str] = "research"

    tool: str = "index_search"
    hops: int = 2
    most: int = 3
    count: int = 5

    async def decide(self, view: View) -> Decision:
        if all(spec.name != self.tool for spec in view.tools):
            raise InputError(
                f"policy research needs the tool {self.tool}",
                remedy="name a collection: --tool index:NAME (rung index list)",
            )
        made = [call for turn in view.turns for call in turn.calls if call.tool == self.tool]
        if len(made) >= self.hops:
            return finish(self._answer(view), f"{len(made)} searches were made")
        if not made:
            return act(self.tool, query=view.request[:2000], count=self.count, because="the question as it is")
        fresh = self._fresh(view)
        if not fresh:
            return finish(self._answer(view), "nothing new is named in what was found")
        query = f"{view.request} {' '.join(fresh)}"[:2000]
        return act(self.tool, query=query, count=self.count, because=f"found and not asked yet: {', '.join(fresh)}")

    async def conclude(self, view: View) -> Any:
        """The best sentences so far."""
        return self._answer(view)

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

    def _answer(self, view: View) -> str:
        from rung.retrieval.keyword.keyword import KeywordIndex

        found = self._found(view)
        if not found:
            return "Nothing was found."
        index = KeywordIndex()
        index.add([str(at) for at in range(len(found))], [one.text for one in found])
        fresh = " ".join(self._fresh(view))
        best = [int(id) for id, _ in index.search(f"{view.request} {view.request} {fresh}", self.most)]
        lines = [f"{found[at].text} [{number}]" for number, at in enumerate(best, 1)]
        sources = [
            f"[{number}] {found[at].document} {found[at].start}-{found[at].end}" for number, at in enumerate(best, 1)
        ]
        return "\n".join([" ".join(lines) or "Nothing was found.", "", *sources]).strip()


def _read(text: str) -> Iterator[FoundSentence]:
    for shown in _SHOWN.finditer(text):
        document, start, passage = shown[1], int(shown[2]), shown[3]
        for span in sentences(passage):
            yield FoundSentence(passage[span.start : span.end], document, start + span.start, start + span.end)
