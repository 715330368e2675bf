"""A process that is killed with SIGKILL loses nothing that was acknowledged and does nothing twice."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from rung.agents.loop.episode import Episode, Start
from rung.core.protocols import Effect
from rung.core.types.trail import Fenced
from rung.store import Durability, open_store
from tests.agents.crash import agent, kill_and_resume

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


@pytest.mark.parametrize(("effect", "durability"), [("keyed", "normal"), ("keyed", "full"), ("once", "normal")])
def test_nothing_is_lost_or_done_twice(tmp_path: Path, effect: Effect, durability: Durability) -> None:
    out = kill_and_resume(tmp_path, effect, 1, 3, durability)
    assert (out.lost, out.twice) == (0, [])
    assert out.whole


async def test_of_two_that_resume_at_once_one_goes_on(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'a.db'}") as one, open_store(f"sqlite:///{tmp_path / 'a.db'}") as other:
        whole = Episode(agent(one, tmp_path / "sent", "keyed", 6), "whole", one.episodes.trail("normal"))
        await whole.run(Start("post"))
        head = [event._replace(episode="e") for event in one.episodes.read("whole")[:3]]
        await one.episodes.trail().append(head)
        episodes = [
            Episode(agent(store, tmp_path / "sent", "keyed", 6), "e", store.episodes.trail()) for store in (one, other)
        ]
        done = await asyncio.gather(*(episode.run(Start("post")) for episode in episodes), return_exceptions=True)
        assert sum(isinstance(view, Fenced) for view in done) == 1
        assert sum(not isinstance(view, BaseException) and view.ended is not None for view in done) == 1
