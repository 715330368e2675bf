"""Mail folders: threads, quotations, broken mails."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.data.sources.mail import read, unquoted

MBOX = """From a@x.org Mon Jan  5 10:00:00 2026
From: Ann <ann@x.org>
To: help@shop.example
Subject: Broken lamp
Message-ID: <1@x.org>
Date: Mon, 5 Jan 2026 10:00:00 +0000

My lamp is broken.
--\x20
Ann, Lamp Street 5

From s@shop Mon Jan  5 11:00:00 2026
From: "Shop" <HELP@shop.example>
Subject: Re: Broken lamp
Message-ID: <2@shop>
In-Reply-To: <1@x.org>
Date: Mon, 5 Jan 2026 11:00:00 +0000
Content-Type: text/html; charset=utf-8

<html><head><style>p {}</style></head><body><p>We send a new one.</p><blockquote>My lamp is broken.</blockquote></body></html>

From a@x.org Tue Jan  6 11:00:00 2026
From: ann@x.org
Subject: Re: Broken lamp
Message-ID: <3@x.org>
References: <1@x.org> <2@shop>
Date: Tue, 6 Jan 2026 11:00:00 +0000

Thank you! When?

On Mon, 5 Jan 2026 at 11:00,
Shop <help@shop.example> wrote:
> We send a new one.

From s@shop Tue Jan  6 12:00:00 2026
From: help@shop.example
Message-ID: <4@shop>
In-Reply-To: <3@x.org>
Date: Tue, 6 Jan 2026 12:00:00 +0000

Tomorrow.

-----Original Message-----
From: ann@x.org

From b@x.org Tue Jan  6 12:00:00 2026
From: bob@x.org
Subject: Spam
Message-ID: <9@x.org>
Content-Type: text/plain; charset=no-such-charset

Buy!
"""


def test_a_thread_is_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "help.mbox"
    path.write_text(MBOX)
    problems = Problems()
    [record] = read(path, ["help@shop.example"], problems)
    assert [(m.role, m.content) for m in record.messages] == [
        ("user", "My lamp is broken."),
        ("assistant", "We send a new one."),
        ("user", "Thank you! When?"),
        ("assistant", "Tomorrow."),
    ]
    assert record.source["thread"] == "<1@x.org>"
    assert record.source["mails"] == ["<1@x.org>", "<2@shop>", "<3@x.org>", "<4@shop>"]
    assert len(problems.found) == 1
    assert problems.found[0].code == "no-answer"


def test_what_is_no_mail_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(b"\x00\x01binary")
    with pytest.raises(InputError, match="is not an mbox"):
        list(read(path, ["a@b"], Problems()))
    with pytest.raises(InputError, match="whose mails"):
        list(read(path, [], Problems()))
    with pytest.raises(InputError, match="cannot read it"):
        list(read(tmp_path / "none.mbox", ["a@b"], Problems()))


def test_what_somebody_wrote_themselves() -> None:
    assert unquoted("a\n> b\nc\n") == "a\nc"
    assert unquoted("Ja.\n\nAm 5. Januar 2026 um 10:00 schrieb Ann <a@x>:\n> Nein?\n") == "Ja."
    assert unquoted("ok\n\nFrom: Ann\nSent: Monday\nTo: me\nSubject: x\n\nold") == "ok"
    assert unquoted("On Monday I wrote:\na poem") == "On Monday I wrote:\na poem"  # nothing quoted follows
    assert unquoted("Sì.\n\nIl giorno 5 gen 2026 alle 10:00 Ann <a@x> ha scritto:\n> No?\n") == "Sì."
    assert unquoted("The order\n> is it there?\nYes.\n> and the bill?\nSent.") == "The order\nYes.\nSent."
    assert (
        unquoted("Please write to a@x.org by 5 Jan 2026:\nthe form")
        == "Please write to a@x.org by 5 Jan 2026:\nthe form"
    )


def test_what_the_folder_escaped_is_no_quotation_and_what_it_did_not_is_no_mail(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_text(
        "From a@x Mon Jan  5 10:00:00 2026\nFrom: ann@x\nMessage-ID: <1@x>\n\n"
        "It was sent\n>From Rome, they say.\n>>From me as well.\n> From somebody else\n\nFrom here on it is lost.\n\n"
        "From b@x Mon Jan  5 11:00:00 2026\nFrom: bob@x\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\n\nWe look.\n"
    )
    problems = Problems()
    [record] = read(path, ["bob@x"], problems)
    assert [m.content for m in record.messages] == [
        "It was sent\nFrom Rome, they say.\n\nFrom here on it is lost.",
        "We look.",
    ]
    assert not problems.found


def test_odd_mails_are_told_or_read(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(
        b"From a@x Mon Jan  5 10:00:00 2026\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@x>\nMessage-ID: <1@x>\n"
        b"Subject: caf\xe9 =?nope?q?x?=\nContent-Type: text/plain; charset=nonsense\n\nCaf\xc3\xa9?\n\n"
        b"From b@x Mon Jan  5 11:00:00 2026\nFrom: b@x\nIn-Reply-To: <1@x>\nMessage-ID: <2@x>\n"
        b"Content-Type: multipart/alternative; boundary=zz\n\n--zz\nContent-Type: text/html; charset=utf-8\n\n"
        b"<p>Caf\xc3\xa9!</p><blockquote>Caf\xc3\xa9?</blockquote>\n\n"  # the last boundary is not there
        b"From c@x Mon Jan  5 12:00:00 2026\n\n"
    )
    problems = Problems()
    [record] = read(path, ["b@x"], problems)
    assert [m.content for m in record.messages] == ["Café?", "Café!"]
    assert [problem.code for problem in problems.found] == ["no-answer"]  # of the mail without anything


def said(tmp_path: Path, headers: str, body: bytes) -> list[str]:
    """What the first of two mails says."""
    head = b"From a@x.example Mon Nov 30 10:00:00 2026\nFrom: a@x.example\nMessage-ID: <1@x>\nSubject: Q\n"
    answer = b"From me@s.example Mon Nov 30 11:00:00 2026\nFrom: me@s.example\nIn-Reply-To: <1@x>\nMessage-ID: <2@x>\n\nYes.\n"
    (tmp_path / "b.mbox").write_bytes(head + headers.encode() + b"\n" + body + b"\n\n" + answer)
    return [
        message.content
        for record in read(tmp_path / "b.mbox", ["me@s.example"], Problems())
        for message in record.messages
    ][:1]


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        (
            "Content-Type: text/plain; format=flowed\n",
            b"It flows \nhere.\n From now\n-- \nAnn",
            "It flows here.\nFrom now",
        ),
        ("Content-Type: text/plain; format=flowed; delsp=yes\n", b"un \nbroken", "unbroken"),
        ("Content-Type: text/plain; charset=iso-8859-1\n", b"5 \x80", "5 €"),
        ("", "naïve".encode(), "naïve"),
        ("", b"List\n--\nstill here", "List\n--\nstill here"),
        ("", "Merci\n\n____________________\nDe : Bob\nEnvoyé : lundi\nÀ : Ann\n\nvieux".encode(), "Merci"),
        (
            "Content-Type: multipart/mixed; boundary=b\n",
            b"--b\n\nOne\n--b\nContent-Disposition: attachment\n\nno\n--b\n\nTwo\n--b--",
            "One\n\nTwo",
        ),
    ],
)
def test_what_a_mail_says(headers: str, body: bytes, text: str, tmp_path: Path) -> None:
    assert said(tmp_path, headers, body) == [text]


def test_an_empty_plain_alternative_hides_no_page(tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    body = b"--b\nContent-Type: text/plain\n\n \n--b\nContent-Type: text/html\n\n<p>Seen</p>\n--b--"
    assert said(tmp_path, "Content-Type: multipart/alternative; boundary=b\n", body) == ["Seen"]
