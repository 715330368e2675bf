from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.serving.gateway.config import read_gateway

GOOD = """endpoints:
  big: {url: http://127.0.0.1:9/v1, name: gpt, context: 1000, price: {prompt: 2, completion: 8}}
  small: {model: fake:echo}
routes:
  desk:
    try: [[big, small], small, cached, refusal]
    timeouts: {first: 2s, whole: 1m}
    cache: 1h
  deep: {try: desk}
tenants:
  acme: {budget: 5/day, tokens: [100k/hour, 1m/month]}
"""


def read(folder: Path, text: str) -> InputError:
    file = folder / "gateway.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_gateway(file)
    return caught.value


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD)
    spec = read_gateway(file)
    assert spec.routes["desk"].links == [["big", "small"], "small", "cached", "refusal"]
    assert spec.routes["desk"].timeouts.first == 2
    assert spec.routes["desk"].timeouts.whole == 60
    assert spec.routes["desk"].cache == 3600
    assert [str(limit) for limit in spec.tenants["acme"].limits()] == ["5/day", "100000/hour", "1e+06/month"]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("{model: fake:echo}", "{modle: fake:echo}", 3),
        ("{model: fake:echo}", "{model: fake:echo, program: here}", 3),
        ("{model: fake:echo}", "{}", 3),
        ("name: gpt, ", "", 2),
        ("[big, small]", "[big, smal]", 6),
        ("try: desk", "try: deep", 9),
        ("[[big, small], small, cached, refusal]", "[deep]", 6),
        ("small, cached, refusal]", "refusal, small]", 6),
        ("[[big, small], small, cached, refusal]", "[cached]", 5),
        ("5/day", "5 dollars", 11),
        ("5/day", "-5/day", 11),
        ("5/day", ".nan/day", 11),
        ("first: 2s", "first: 2 parsecs", 7),
        ("prompt: 2,", "prompt: -2,", 2),
        ("context: 1000", "context: 0", 2),
        ("context: 1000", "key: OPENAI_API_KEY", 2),
        ("  deep:", "  desk:", 9),
    ],
)
def test_every_mistake_has_its_line(tmp_path: Path, old: str, new: str, line: int) -> None:
    assert old in GOOD
    error = read(tmp_path, GOOD.replace(old, new))
    assert error.line == line
    assert error.remedy


def test_what_is_no_yaml_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, "endpoints:\n\ta: b\n").line == 2
    assert read(tmp_path, "").line == 1
    assert read(tmp_path, "routes: {}\n").remedy
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    assert read(tmp_path, bomb).remedy
    with pytest.raises(InputError, match="gateway file"):
        read_gateway(tmp_path / "missing.yaml")
