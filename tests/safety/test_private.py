"""Personal data and secrets: found where they are, and not in what only looks like them."""

from __future__ import annotations

import time

import pytest

from rung.safety.private import KINDS, entropy, find, luhn, mask


@pytest.mark.parametrize(
    ("text", "kind", "inside"),
    [
        ("write to a.b+c@mail.example.co.uk.", "EMAIL", "a.b+c@mail.example.co.uk"),
        ("call +44 20 7946 0958 now", "PHONE", "+44 20 7946 0958"),
        ("call (415) 555-2671 now", "PHONE", "(415) 555-2671"),
        ("call 09061701461 now", "PHONE", "09061701461"),
        ("to DE89 3704 0044 0532 0130 00 AND 1990 more", "IBAN", "DE89 3704 0044 0532 0130 00"),
        ("GB82WEST12345698765432", "IBAN", "GB82WEST12345698765432"),
        ("card 4111 1111 1111 1111.", "CARD", "4111 1111 1111 1111"),
        ("ssn 123-45-6789", "SSN", "123-45-6789"),
        ("from 10.20.30.40:80", "IP", "10.20.30.40"),
        ("from 2001:db8::ff00:42:8329", "IP", "2001:db8::ff00:42:8329"),
        ("x AKIAIOSFODNN7EXAMPLE y", "SECRET", "AKIAIOSFODNN7EXAMPLE"),
        ("password: hunter2!x", "SECRET", "hunter2!x"),
        ("postgres://u:pa55w0rd@host/db", "SECRET", "pa55w0rd"),
        ("My name is Anna Keller.", "NAME", "Anna Keller"),
        ("x\nKind regards,\nPeter Pan", "NAME", "Peter Pan"),
    ],
)
def test_found(text: str, kind: str, inside: str) -> None:
    found = [item for item in find(text) if text[item.start : item.end].rstrip(".") == inside.rstrip(".")]
    assert [item.kind for item in found] == [kind], find(text)
    assert inside not in mask(text, find(text))
    assert f"[{kind}]" in mask(text, find(text))


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 has a wrong checksum",
        "GB81WEST12345698765432",
        "version 1.2.3.4 of 2026-11-23 17:56:44",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "1,234,567.89 and 10.000.000 and pages 100-200",
        "token = get_token(); password: <your password>",
        "the secret is safe and my password is longer",
        "Dear Sir or Madam,",
        "my_very_long_function_name_that_is_readable(argument)",
    ],
)
def test_not_found(text: str) -> None:
    assert find(text) == []


def test_a_private_key_goes_as_a_whole_even_cut_off() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nanna@example.com\n-----END RSA PRIVATE KEY-----"
    assert mask(f"a\n{key}\nb", find(f"a\n{key}\nb")) == "a\n[PRIVATE-KEY]\nb"
    assert mask(key[:60], find(key[:60])) == "[PRIVATE-KEY]"


def test_only_the_wanted_kinds() -> None:
    text = "a@example.com and 123-45-6789"
    assert [item.kind for item in find(text, frozenset(["SSN"]))] == ["SSN"]
    assert mask(mask(text, find(text)), find(mask(text, find(text)))) == "[EMAIL] and [SSN]"
    assert set(KINDS) >= {"EMAIL", "SECRET", "PRIVATE-KEY", "NAME"}


@pytest.mark.parametrize(
    "piece", ["a", "1", "1 ", ":", "a.b@", "://a:", "(0123)", "password ", "A1", "-----BEGIN PRIVATE KEY-----"]
)
def test_hostile_text_takes_no_longer_than_its_length(piece: str) -> None:
    began = time.process_time()
    find(piece * (50_000 // len(piece)))
    assert time.process_time() - began < 60  # growing with the square it would be an hour


def test_checks() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2


@pytest.mark.parametrize("sign", ["\u200b", "\u00ad", "\u2060"])
def test_signs_that_are_not_seen_hide_nothing(sign: str) -> None:
    text = f"Write to anna{sign}@exam{sign}ple.com or 123-45{sign}-6789."
    assert mask(text, find(text)) == "Write to [EMAIL] or [SSN]."
