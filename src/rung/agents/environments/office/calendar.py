"""A calendar as iCalendar (RFC 5545) writes it: events with time zones and recurrence, none of which may overlap.

Files are read and written by ``icalendar``, recurrence is ``dateutil``'s; a time without a zone is in the owner's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from rung.core.errors import InputError
from rung.core.system.extras import require

HORIZON = timedelta(days=400)
"""How far a recurrence without an end is looked ahead."""
MOST = 2000
"""Occurrences of one event that are looked at."""


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """``start`` is local time in ``zone``; ``rule`` an RRULE (empty: once), ``without`` the starts that it leaves
    out."""

    uid: str
    title: str
    start: datetime
    minutes: int
    zone: str
    rule: str = ""
    without: tuple[datetime, ...] = ()

    def times(self, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Begin and end of each occurrence in UTC, up to those that begin after ``until`` (UTC). Local times are kept
        over a change of the clock."""
        length = timedelta(minutes=self.minutes)
        for local in self._locals(until):
            begin = local.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)
            yield begin, begin + length

    def _locals(self, until: datetime) -> Iterator[datetime]:
        if not self.rule:
            yield self.start
            return
        last = until.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        rrulestr = require("dateutil.rrule", "office", "a recurrence").rrulestr
        for local in islice(rrulestr(self.rule, dtstart=self.start, ignoretz=True), MOST):
            if local > last:
                return
            if local not in self.without:
                yield local


class CalendarRefusal(Exception):
    """What cannot be put into a calendar, as a sentence."""


@dataclass
class OfficeCalendar:
    """Events by uid; ``zone`` is the owner's. What would overlap with something is refused."""

    zone: str
    events: dict[str, CalendarEvent]

    def put(self, event: CalendarEvent) -> None:
        """Add an event, or put it in the place of the one with its uid. Raises CalendarRefusal where one of its times
        is taken."""
        for begin, end in event.times(_utc(event.start, event.zone) + HORIZON):
            taken = self.busy(begin, end, but=event.uid)
            if taken is not None:
                at = begin.astimezone(ZoneInfo(self.zone))
                raise CalendarRefusal(f"{at:%Y-%m-%d %H:%M} is taken by {taken.title!r}: find a free time.")
        self.events[event.uid] = event

    def busy(self, begin: datetime, end: datetime, but: str = "") -> CalendarEvent | None:
        """An event that has some of the time between two moments in UTC."""
        for event in self.events.values():
            if event.uid != but and any(one < end and other > begin for one, other in event.times(end)):
                return event
        return None

    def on(self, day: date) -> list[tuple[datetime, datetime, CalendarEvent]]:
        """What is on a day of the owner's, by time."""
        begin = _utc(datetime.combine(day, datetime.min.time()), self.zone)
        end = _utc(datetime.combine(day + timedelta(1), datetime.min.time()), self.zone)
        return sorted(
            (
                (one, other, event)
                for event in self.events.values()
                for one, other in event.times(end)
                if one < end and other > begin
            ),
            key=lambda found: (found[0], found[2].uid),
        )

    def free(self, day: date, minutes: int, after: int, before: int) -> datetime | None:
        """The first local time from ``after`` (minutes of the day), on a quarter of an hour, at which so many minutes
        are free until ``before``."""
        for at in range(-(-after // 15) * 15, before - minutes + 1, 15):
            local = datetime.combine(day, datetime.min.time()) + timedelta(minutes=at)
            begin = _utc(local, self.zone)
            if self.busy(begin, begin + timedelta(minutes=minutes)) is None:
                return local
        return None

    def ics(self) -> bytes:
        """The calendar as a file."""
        library = require("icalendar", "office", "a calendar's file")
        calendar = library.Calendar()
        calendar.add("prodid", "-//rung//office//EN")
        calendar.add("version", "2.0")
        for event in self.events.values():
            calendar.add_component(component_of(event))
        calendar.add_missing_timezones()
        return bytes(calendar.to_ical())


def component_of(event: CalendarEvent) -> Any:
    """An event as a component of a file."""
    library = require("icalendar", "office", "a calendar's file")
    made, zone = library.Event(), ZoneInfo(event.zone)
    made.add("uid", event.uid)
    made.add("summary", event.title)
    made.add("dtstamp", datetime(2026, 1, 1, tzinfo=UTC))
    made.add("dtstart", event.start.replace(tzinfo=zone))
    made.add("duration", timedelta(minutes=event.minutes))
    if event.rule:
        made.add("rrule", library.vRecur.from_ical(event.rule))
    for left in event.without:
        made.add("exdate", left.replace(tzinfo=zone))
    return made


def read_ics(data: bytes, zone: str) -> OfficeCalendar:
    """The calendar of a file; whole days and times without a zone are the owner's. Raises InputError for what is
    none."""
    return calendar_of(parse_ics(data), zone)


def parse_ics(data: bytes) -> Any:
    """The components of a file, an ``icalendar.Calendar``. Raises InputError for what is none."""
    try:
        return require("icalendar", "office", "a calendar's file").Calendar.from_ical(data)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise _no_calendar(error) from None


def calendar_of(components: Any, zone: str) -> OfficeCalendar:
    """What is when in an ``icalendar.Calendar``. An occurrence that was moved is an event of its own, and its old time
    is free. Raises InputError for an event that cannot be read."""
    events: dict[str, CalendarEvent] = {}
    instead: list[tuple[str, datetime]] = []
    try:
        for component in components.walk("VEVENT"):
            event = _event(component, zone)
            if "recurrence-id" in component:
                old = component.decoded("recurrence-id")
                old = old if isinstance(old, datetime) else datetime.combine(old, datetime.min.time())
                instead.append((event.uid, old.replace(tzinfo=None)))
                event = replace(event, uid=f"{event.uid}#{old:%Y%m%dT%H%M}", rule="")
            events[event.uid] = event
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise _no_calendar(error) from None
    for uid, old in instead:
        if uid in events:
            events[uid] = replace(events[uid], without=(*events[uid].without, old))
    return OfficeCalendar(zone, events)


def _no_calendar(error: Exception) -> InputError:
    return InputError(f"this is no calendar: {error}", remedy="expected an .ics file (RFC 5545)", code="calendar")


def _event(component: Any, zone: str) -> CalendarEvent:
    start, end = component.decoded("dtstart"), component.get("dtend") and component.decoded("dtend")
    if not isinstance(start, datetime):
        start = datetime.combine(start, datetime.min.time())
        end = datetime.combine(end or start.date() + timedelta(1), datetime.min.time())
    name = str(getattr(start.tzinfo, "key", "UTC")) if start.tzinfo is not None else zone
    length = component.decoded("duration") if "duration" in component else (end - start if end else timedelta())
    rule = component["rrule"].to_ical().decode() if "rrule" in component else ""
    given = component.get("exdate")
    lists = given if isinstance(given, list) else [given] if given is not None else []
    without = tuple(one.dt.replace(tzinfo=None) for listed in lists for one in listed.dts)
    return CalendarEvent(
        str(component["uid"]), str(component.get("summary", "")), start.replace(tzinfo=None), int(length.total_seconds() // 60),
        name, rule, without,
    )  # fmt: skip


def overlaps(calendar: OfficeCalendar, until: datetime) -> list[tuple[str, str]]:
    """Titles of what overlaps up to a moment in UTC."""
    times = sorted((begin, end, event.title) for event in calendar.events.values() for begin, end in event.times(until))
    found, last = [], None
    for begin, end, title in times:
        if last is not None and begin < last[1]:
            found.append((last[2], title))
        last = (begin, end, title) if last is None or end > last[1] else last
    return found


def local(text: str) -> datetime:
    """``2026-03-10 14:00`` as a time. Raises CalendarRefusal."""
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "")).replace(tzinfo=None, second=0, microsecond=0)
    except ValueError:
        raise CalendarRefusal(f"{text[:40]!r} is no time: write it as 2026-03-10 14:00.") from None


def clock(text: str) -> int:
    """``09:00`` as minutes of the day. Raises CalendarRefusal."""
    try:
        hours, _, minutes = text.partition(":")
        at = int(hours) * 60 + int(minutes or 0)
    except ValueError:
        at = -1
    if not 0 <= at <= 24 * 60:
        raise CalendarRefusal(f"{text[:20]!r} is no time of day: write it as 09:00.")
    return at


def zone_of(name: str) -> str:
    """A zone's name where there is such a zone. Raises CalendarRefusal."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, LookupError):
        raise CalendarRefusal(f"{name[:40]!r} is no time zone: write one as America/New_York.") from None


def moved(event: CalendarEvent, start: datetime, zone: str) -> CalendarEvent:
    """The event with its first time at ``start``."""
    return replace(event, start=start, zone=zone, without=())


def _utc(local: datetime, zone: str) -> datetime:
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
