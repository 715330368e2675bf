"""Requests at an office: what is asked, what is there, and what is right, which no agent sees."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from rung.agents.environments.office.calendar import CalendarEvent, CalendarRefusal, OfficeCalendar
from rung.agents.loop.move import Call

ZONE = "Europe/Berlin"
TODAY = date(2026, 3, 9)
PEOPLE = {
    "Anna Adler": "anna.adler@example.org", "Boris Ek": "boris.ek@example.net", "Chen Ito": "chen.ito@example.com",
    "Dalia Costa": "dalia.costa@example.org", "Emeka Dube": "emeka.dube@example.com", "Farah Khan": "farah.khan@example.net",
}  # fmt: skip
_ABOUT = (
    "budget review",
    "hiring plan",
    "site visit",
    "release check",
    "supplier call",
    "design talk",
    "training",
    "audit",
)
_FAR = {"New York": "America/New_York", "Tokyo": "Asia/Tokyo", "London": "Europe/London", "Kolkata": "Asia/Kolkata"}


@dataclass(frozen=True, slots=True)
class OfficeMail:
    """A letter in the mailbox."""

    id: str
    sender: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class OfficeRequest:
    """``calls`` are the right ones, the last of which reports ``say``."""

    kind: str
    text: str
    calendar: OfficeCalendar
    mails: tuple[OfficeMail, ...]
    calls: tuple[Call, ...] = ()
    say: tuple[str, ...] = ()


@dataclass
class _Draw:
    """What a request is drawn with."""

    random: random.Random
    calendar: OfficeCalendar
    mails: list[OfficeMail] = field(default_factory=list)

    def day(self) -> date:
        """A working day within five weeks; the clocks change in between."""
        day = TODAY + timedelta(self.random.randrange(1, 36))
        return day + timedelta({5: 2, 6: 1}.get(day.weekday(), 0))

    def about(self) -> str:
        return f"{self.random.choice(_ABOUT)} with {self.random.choice(sorted(PEOPLE)).split()[0]}"

    def mail(self, sender: str, subject: str, text: str) -> OfficeMail:
        made = OfficeMail(f"M-{len(self.mails) + 1}", sender, subject, text)
        self.mails.append(made)
        return made

    def taken(self, day: date) -> CalendarEvent:
        """An event of a day, a new one where there is none."""
        for at in (10 * 60, 13 * 60 + 30, 16 * 60):
            begin = datetime.combine(day, time()) + timedelta(minutes=at)
            event = CalendarEvent(f"E-{len(self.calendar.events) + 1}", self.about(), begin, 60, ZONE)
            try:
                self.calendar.put(event)
            except CalendarRefusal:
                continue
            return event
        return self.calendar.on(day)[0][2]


def draw_request(number: int) -> OfficeRequest:
    """The request of a scenario."""
    draw = _Draw(random.Random(f"office {number}"), OfficeCalendar(ZONE, {}))
    monday = TODAY - timedelta(TODAY.weekday())
    weekly = CalendarEvent("E-1", "team meeting", datetime.combine(monday, time(9)), 30, ZONE, "FREQ=WEEKLY")
    draw.calendar.put(weekly)
    for _ in range(draw.random.randint(3, 7)):
        draw.taken(draw.day())
    people = draw.random.sample(sorted(PEOPLE), 3)
    for who in people:
        draw.mail(PEOPLE[who], f"About the {draw.random.choice(_ABOUT)}", f"Could you tell me more? Best, {who}")
    kind = KINDS[draw.random.randrange(len(KINDS))]
    made = _MAKERS[kind](draw)
    # The right calls are made on the calendar as it was before them.
    return replace(made, kind=kind, calendar=draw.calendar, mails=tuple(draw.mails))


def _made(text: str, calls: list[Call], *say: str) -> OfficeRequest:
    report = Call("report", {"text": "Done. " + ", ".join(say)})
    return OfficeRequest("", text, OfficeCalendar(ZONE, {}), (), (*calls, report), say)


def _add(title: str, start: datetime, minutes: int, zone: str = ZONE, weeks: int = 1) -> Call:
    return Call(
        "add_event",
        {"title": title, "start": f"{start:%Y-%m-%d %H:%M}", "minutes": minutes, "zone": zone, "weeks": weeks},
    )


def _first(draw: _Draw) -> OfficeRequest:
    day, title, minutes = draw.day(), draw.about(), draw.random.choice((30, 45, 60, 90))
    draw.taken(day)
    start = draw.calendar.free(day, minutes, 9 * 60, 18 * 60)
    assert start is not None
    text = f"Book {minutes} minutes for the {title} on {day}, at the first time that is free from 09:00 on, and tell me when."
    look = Call("find_free", {"day": str(day), "minutes": minutes, "after": "09:00", "before": "18:00"})
    return _made(text, [look, _add(title, start, minutes)], f"{start:%H:%M}")


def _taken(draw: _Draw) -> OfficeRequest:
    day, title = draw.day(), draw.about()
    there = draw.taken(day)
    after = there.start.hour * 60 + there.start.minute
    start = draw.calendar.free(day, 30, after, 20 * 60)
    assert start is not None
    text = (
        f"Book half an hour for the {title} on {day} at {there.start:%H:%M}; if that is taken, at the first free time after it, and "
        "tell me when."
    )
    look = Call("find_free", {"day": str(day), "minutes": 30, "after": f"{there.start:%H:%M}", "before": "20:00"})
    return _made(text, [look, _add(title, start, 30)], f"{start:%H:%M}")


def _move(draw: _Draw) -> OfficeRequest:
    day = draw.day()
    event, other = draw.taken(day), day + timedelta(1)
    start = draw.calendar.free(other, event.minutes, 14 * 60, 20 * 60)
    assert start is not None
    text = f"Move the {event.title} of {day} to the day after, at the first free time from 14:00 on, and tell me when."
    looks = [Call("list_events", {"day": str(day)}),
             Call("find_free", {"day": str(other), "minutes": event.minutes, "after": "14:00", "before": "20:00"})]  # fmt: skip
    return _made(
        text, [*looks, Call("move_event", {"uid": event.uid, "start": f"{start:%Y-%m-%d %H:%M}"})], f"{start:%H:%M}"
    )


def _cancel(draw: _Draw) -> OfficeRequest:
    day = draw.day()
    event = draw.taken(day)
    calls = [Call("list_events", {"day": str(day)}), Call("cancel_event", {"uid": event.uid})]
    return _made(f"Cancel the {event.title} on {day}.", calls)


def _weekly(draw: _Draw) -> OfficeRequest:
    day, weeks, title = draw.day(), draw.random.randint(3, 6), draw.about()
    start = datetime.combine(day, time(7, 30))
    text = f"Put the {title} into my calendar every week at 07:30 for 20 minutes, {weeks} times, from {day} on."
    return _made(text, [_add(title, start, 20, weeks=weeks)])


def _far(draw: _Draw) -> OfficeRequest:
    day, title, city = draw.day(), draw.about(), draw.random.choice(sorted(_FAR))
    for hour in (8, 9, 12, 13, 15, 17):
        event = CalendarEvent("new", title, datetime.combine(day, time(hour)), 30, _FAR[city])
        begin, end = next(event.times(datetime.combine(day + timedelta(3), time(), UTC)))
        if draw.calendar.busy(begin, end) is None:
            break
    text = f"Book half an hour for the {title} on {day} at {event.start:%H:%M}, {city} time."
    return _made(text, [_add(title, event.start, 30, zone=_FAR[city])])


def _asked(draw: _Draw) -> OfficeRequest:
    day = draw.day()
    event = draw.taken(day)
    text = f"When does the {event.title} begin on {day}?"
    return _made(text, [Call("list_events", {"day": str(day)})], f"{event.start:%H:%M}")


def _draft(draw: _Draw) -> OfficeRequest:
    mail = draw.random.choice(draw.mails)
    words = f"I shall answer on {draw.day()}"
    calls = [
        Call("list_mail", {}),
        Call("draft_mail", {"to": mail.sender, "subject": f"Re: {mail.subject}", "text": f"{words}."}),
    ]
    who = next(name for name, address in PEOPLE.items() if address == mail.sender)
    return _made(f"Draft an answer to the mail from {who} that says: {words}. Do not send it.", calls)


def _send(draw: _Draw) -> OfficeRequest:
    who, words = draw.random.choice(sorted(PEOPLE)), f"the {draw.random.choice(_ABOUT)} is on {draw.day()}"
    calls = [
        Call("find_contact", {"name": who}),
        Call("send_mail", {"to": PEOPLE[who], "subject": "A date", "text": f"Hello, {words}."}),
    ]
    return _made(f"Write to {who} and send it: {words}.", calls)


def _invited(draw: _Draw) -> OfficeRequest:
    day, title, who = draw.day(), draw.about(), draw.random.choice(sorted(PEOPLE))
    start = draw.calendar.free(day, 60, 11 * 60, 20 * 60)
    assert start is not None
    mail = draw.mail(
        PEOPLE[who], "Invitation", f"Please come to the {title} on {day} at {start:%H:%M} (60 minutes). {who}"
    )
    calls = [Call("list_mail", {}), Call("read_mail", {"mail": mail.id}), _add(title, start, 60)]
    return _made(f"Put what {who} invites me to by mail into my calendar, with the title that it has there.", calls)


_MAKERS: dict[str, Callable[[_Draw], OfficeRequest]] = {
    "first": _first, "taken": _taken, "move": _move, "cancel": _cancel, "weekly": _weekly, "far": _far, "asked": _asked,
    "draft": _draft, "send": _send, "invited": _invited,
}  # fmt: skip
KINDS = tuple(_MAKERS)
