"""``calendar:FILE``: look into a calendar's file (.ics), and with ``write: true`` put events in, move them and take
them out.

Nothing is put where something is. What the file holds besides (people, descriptions, other people's events) stays as it
is.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec
from zoneinfo import ZoneInfo

from pydantic import Field

from rung.agents.environments.office.calendar import (
    CalendarEvent,
    CalendarRefusal,
    OfficeCalendar,
    calendar_of,
    clock,
    component_of,
    local,
    moved,
    parse_ics,
    zone_of,
)
from rung.agents.tools.function import FunctionTool, tool
from rung.core.errors import InputError
from rung.core.parts.place import here
from rung.core.system.files import write_file
from rung.core.system.lock import file_lock

P = ParamSpec("P")
_NEW = b"BEGIN:VCALENDAR\r\nPRODID:-//rung//calendar//EN\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"

Day = Annotated[str, Field(description="a day, such as 2026-03-10", max_length=40)]
Start = Annotated[str, Field(description="a time, such as 2026-03-10 14:00", max_length=40)]
Minutes = Annotated[int, Field(description="how long", ge=5, le=1440)]
Uid = Annotated[str, Field(description="an event's uid", max_length=400, json_schema_extra={"x-seen": "uid"})]


class CalendarFile:
    """A calendar's file; times without a zone are in ``zone``."""

    def __init__(self, file: Path, zone: str) -> None:
        self.file, self.zone = file, zone

    def _locked(self) -> AbstractContextManager[None]:
        return file_lock(self.file.with_name(f".{self.file.name}.lock"), lambda _: time.sleep(0.05))

    def read(self) -> tuple[Any, OfficeCalendar]:
        """Its components, and what is when. Raises InputError."""
        try:
            components = parse_ics(self.file.read_bytes() if self.file.exists() else _NEW)
        except OSError as error:
            raise InputError(f"{self.file} cannot be read: {error.strerror}", remedy="name an .ics file") from None
        return components, calendar_of(components, self.zone)

    def day(self, day: str) -> str:
        zone = ZoneInfo(self.zone)
        found = [
            {"uid": event.uid, "title": event.title, "start": f"{begin.astimezone(zone):%Y-%m-%d %H:%M}",
             "minutes": event.minutes, "repeats": bool(event.rule)}
            for begin, _, event in self.read()[1].on(local(day).date())
        ]  # fmt: skip
        return json.dumps(found, ensure_ascii=False) if found else "Nothing is in the calendar on that day."

    def free(self, day: str, minutes: int, after: str, before: str) -> str:
        found = self.read()[1].free(local(day).date(), minutes, clock(after), clock(before))
        return f"{found:%Y-%m-%d %H:%M}" if found else "No such time is free on that day."

    def add(self, event: CalendarEvent) -> str:
        with self._locked():
            components, calendar = self.read()
            if event.uid not in calendar.events:  # else the same call was made before
                calendar.put(event)
                components.add_component(component_of(event))
                self._write(components)
        return f"{event.title} is in the calendar on {event.start:%Y-%m-%d %H:%M} ({event.zone}), uid {event.uid}"

    def move(self, uid: str, start: datetime) -> str:
        with self._locked():
            components, calendar = self.read()
            component, event = self._one(components, calendar, uid)
            calendar.put(moved(event, start, self.zone))
            for name in ("dtstart", "dtend", "duration", "exdate"):
                component.pop(name, None)
            component.add("dtstart", start.replace(tzinfo=ZoneInfo(self.zone)))
            component.add("duration", timedelta(minutes=event.minutes))
            self._write(components)
        return f"{event.title} is on {start:%Y-%m-%d %H:%M} now"

    def cancel(self, uid: str) -> str:
        with self._locked():
            components, calendar = self.read()
            component, event = self._one(components, calendar, uid)
            components.subcomponents.remove(component)
            self._write(components)
        return f"{event.title} is cancelled"

    def _one(self, components: Any, calendar: OfficeCalendar, uid: str) -> tuple[Any, CalendarEvent]:
        found = [one for one in components.walk("VEVENT") if str(one["uid"]) == uid]
        if uid not in calendar.events or not found:
            raise CalendarRefusal(f"There is no event {uid!r}: look at the day that it is on.")
        if len(found) > 1:
            raise CalendarRefusal(
                f"{uid!r} repeats, and single days of it were moved: change it in your calendar program."
            )
        return found[0], calendar.events[uid]

    def _write(self, components: Any) -> None:
        components.add_missing_timezones()
        write_file(self.file, bytes(components.to_ical()))


def _told(function: Callable[P, str]) -> Callable[P, Any]:
    """The function in a thread; what the calendar refuses is an InputError (code ``calendar``)."""

    @wraps(function)
    async def call(*given: P.args, **named: P.kwargs) -> str:
        try:
            return await asyncio.to_thread(function, *given, **named)
        except CalendarRefusal as refused:
            raise InputError(str(refused), remedy="take another time, or another event", code="calendar") from None

    return call


def open_calendar(target: str = "", *, write: bool = False, zone: str = "UTC") -> tuple[FunctionTool, ...]:
    """``target`` is an .ics file, looked up beside the task; with ``write`` it need not be there yet. ``zone`` is the
    owner's."""
    file = here().path(target)
    if not target or file.is_dir() or not (write or file.is_file()):
        raise InputError(f"tool calendar: there is no file {target!r}", remedy="write calendar:FILE.ics")
    try:
        book = CalendarFile(file, zone_of(zone))
    except CalendarRefusal as refused:
        raise InputError(f"tool calendar: {refused}", remedy="for example zone: Europe/Berlin") from None
    book.read()

    def calendar_day(day: Day) -> str:
        """What is in the calendar on a day."""
        return book.day(day)

    def calendar_free(day: Day, minutes: Minutes, after: str = "08:00", before: str = "18:00") -> str:
        """The first free time of a length on a day, after one time of day and before another."""
        return book.free(day, minutes, after, before)

    def calendar_add(
        title: Annotated[str, Field(min_length=1, max_length=300)], start: Start, minutes: Minutes, key: str,
        weeks: Annotated[int, Field(description="once a week, so many times", ge=1, le=520)] = 1,
    ) -> str:  # fmt: skip
        """Put an event into the calendar, where nothing is yet."""
        rule = f"FREQ=WEEKLY;COUNT={weeks}" if weeks > 1 else ""
        return book.add(
            CalendarEvent(f"{key or secrets.token_hex(8)}@rung", title, local(start), minutes, book.zone, rule)
        )

    def calendar_move(uid: Uid, start: Start) -> str:
        """Move an event to another time."""
        return book.move(uid, local(start))

    def calendar_cancel(uid: Uid) -> str:
        """Take an event out of the calendar."""
        return book.cancel(uid)

    looks = [tool(_told(function), returns="untrusted") for function in (calendar_day, calendar_free)]
    changes = [tool(_told(function), effect="keyed") for function in (calendar_add, calendar_move, calendar_cancel)]
    return (*looks, *(changes if write else ()))
