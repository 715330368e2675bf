"""One's own calendar: looked into, changed without loss, never booked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rung.agents.environments.office.calendar import read_ics
from rung.agents.tools import open_tools
from rung.core.errors import InputError

MINE = b"""BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//somebody//else//EN\r
BEGIN:VEVENT\r
UID:weekly\r
SUMMARY:Choir\r
DTSTART;TZID=Europe/Berlin:20260303T190000\r
DURATION:PT90M\r
RRULE:FREQ=WEEKLY;COUNT=10\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:weekly\r
RECURRENCE-ID;TZID=Europe/Berlin:20260310T190000\r
SUMMARY:Choir\r
DTSTART;TZID=Europe/Berlin:20260311T190000\r
DURATION:PT90M\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:dentist\r
SUMMARY:Dentist\r
DTSTART;TZID=Europe/Berlin:20260305T100000\r
DTEND;TZID=Europe/Berlin:20260305T110000\r
ATTENDEE:mailto:dr.dent@example.org\r
DESCRIPTION:Bring the X-rays\r
END:VEVENT\r
END:VCALENDAR\r
"""


def opened(file: Path, **options: Any) -> dict[str, Any]:
    return {
        tool.name: tool
        for tool in open_tools({"name": "calendar", "target": str(file), "zone": "Europe/Berlin", **options})
    }


async def test_a_calendar_is_changed_without_loss(tmp_path: Path) -> None:
    file = tmp_path / "mine.ics"
    file.write_bytes(MINE)
    tools = opened(file, write=True)
    assert '"title": "Dentist", "start": "2026-03-05 10:00", "minutes": 60' in await tools["calendar_day"].call(
        {"day": "2026-03-05"}, key=""
    )
    assert "Nothing" in await tools["calendar_day"].call(
        {"day": "2026-03-10"}, key=""
    )  # that day of the choir was moved
    assert "19:00" in await tools["calendar_day"].call({"day": "2026-03-11"}, key="")
    add = {"title": "Lunch", "start": "2026-03-05 10:30", "minutes": 60}
    with pytest.raises(InputError) as refused:
        await tools["calendar_add"].call(add, key="e-7")
    assert refused.value.code == "calendar"
    assert "Dentist" in refused.value.message
    assert file.read_bytes() == MINE
    assert "15:00" in await tools["calendar_free"].call({"day": "2026-03-05", "minutes": 60, "after": "15:00"}, key="")
    for _ in range(2):  # the same call made again, after a crash for instance, adds nothing
        await tools["calendar_add"].call({**add, "start": "2026-03-05 12:00"}, key="e-7")
    await tools["calendar_move"].call({"uid": "dentist", "start": "2026-03-05 08:00"}, key="e-8")
    calendar = read_ics(file.read_bytes(), "Europe/Berlin")
    assert sorted((event.title, f"{event.start:%d %H:%M}", event.minutes) for event in calendar.events.values()) == [
        ("Choir", "03 19:00", 90), ("Choir", "11 19:00", 90), ("Dentist", "05 08:00", 60), ("Lunch", "05 12:00", 60),
    ]  # fmt: skip
    text = file.read_text()
    assert "ATTENDEE:mailto:dr.dent@example.org" in text
    assert "Bring the X-rays" in text
    await tools["calendar_cancel"].call({"uid": "e-7@rung"}, key="e-9")
    assert "Lunch" not in file.read_text()
    for uid in ("nobody", "weekly"):
        with pytest.raises(InputError):
            await tools["calendar_cancel"].call({"uid": uid}, key="e-9")


async def test_who_may_only_look_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.ics"
    file.write_bytes(MINE)
    assert sorted(opened(file)) == ["calendar_day", "calendar_free"]
    for bad in ("2026-13-40", "tomorrow"):
        with pytest.raises(InputError):
            await opened(file)["calendar_day"].call({"day": bad}, key="")
    (tmp_path / "bad.ics").write_bytes(b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n")
    for given in (
        {"target": str(tmp_path / "none.ics")},
        {"target": str(tmp_path / "bad.ics")},
        {"zone": "Mars/Olympus", "target": str(file)},
    ):
        with pytest.raises(InputError):
            open_tools({"name": "calendar", **given})
