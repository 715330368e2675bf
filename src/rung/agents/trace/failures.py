"""Episodes that ended unsolved and were not corrected: what is to be mended by hand, as data and as a page to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rung.agents.trace.steps import judged, line
from rung.core.types.trail import LABELS, Event
from rung.foundations.text.page import write_page
from rung.store.trail.trail import EpisodeTable, StoredEpisode


@dataclass(frozen=True, slots=True)
class FailedEpisode:
    """What it was about, why it is not solved, and all of its events."""

    episode: str
    title: str
    verdict: Mapping[str, Any]
    events: tuple[Event, ...]

    @property
    def calls(self) -> list[Event]:
        return [event for event in self.events if event.kind == "called"]

    @property
    def why(self) -> str:
        return judged(self.verdict)

    @property
    def mend(self) -> str:
        """The command that changes the last call and goes on from there; empty where there is no call."""
        last = self.calls[-1].seq if self.calls else 0
        how = f"--from {last} --set tool=NAME --set 'arguments={{NAME: VALUE}}'"
        return f"rung replay {self.episode} {how}" if last else ""


def find_failures(episodes: EpisodeTable, limit: int) -> list[FailedEpisode]:
    """The newest first, at most ``limit``, of the last 1,000 episodes. One is corrected where a child of it is
    solved."""

    def verdict(one: StoredEpisode) -> Mapping[str, Any]:
        return (one.last.payload.get("verdict") or {}) if one.last is not None and one.state == "ended" else {}

    every = episodes.all(max(1000, limit))
    corrected = {one.parent for one in every if verdict(one).get("solved")}
    found = [one for one in every if verdict(one).get("solved") is False and one.id not in corrected][:limit]
    return [FailedEpisode(one.id, one.title, verdict(one), tuple(episodes.read(one.id))) for one in found]


def write_failures(found: Sequence[FailedEpisode], path: Path) -> None:
    """One self-contained HTML file: the reasons, most frequent first, and each episode with its events. Raises
    InputError where it cannot be written."""
    reasons = Counter(why for one in found for why in one.verdict.get("missing", ()))
    rows = {
        one.episode: [(event.seq, LABELS.get(event.kind, event.kind), line(event)) for event in one.events]
        for one in found
    }
    values = {"found": found, "reasons": reasons.most_common(), "rows": rows}
    write_page(files("rung.agents.trace") / "failures.html.j2", values, path, "--to")
