from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError, ServerError
from rung.core.parts import program as programs
from rung.core.types import Answer, ResponseFormat
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.serving.endpoints.local import as_fields, read_file, read_inputs, run_folder, run_program, stream_answer
from tests.serving.loopback import LABELS, program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return programs.save(program(), tmp_path / "echo")


async def run(folder: Path, given: tuple[str, ...] = (), file: Path | None = None, **options: Any) -> tuple[str, Any]:
    written: list[str] = []
    failures = await run_folder(folder, list(given) if file is None else file, Pool(), write=written.append, **options)
    return "".join(written), failures


async def test_one_text_is_answered_as_text(folder: Path) -> None:
    assert await run(folder, ("hello you",)) == ("hello you\n", [])


async def test_several_are_answered_as_lines(folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (await run(folder, ("a", "b")))[0].splitlines()]
    assert rows == [{"input": {"text": one}, "output": one} for one in "ab"]
    file = tmp_path / "in.jsonl"
    file.write_text('"a"\n\n{"text": "b", "more": 1}\n{"id": "3", "input": {"text": "c"}}\n')
    text, _ = await run(folder, file=file, whole=True)
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["output"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["steps"][0]["messages"][-1]["content"] == "a"
    assert rows[0]["usage"]["calls"] == 1


async def test_a_failure_is_a_row_and_the_rest_goes_on(folder: Path) -> None:
    text, failures = await run(folder, ("a", "", "c"))
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["output"] for row in rows] == ["a", None, "c"]
    assert rows[1]["failure"]["where"] == "parse"
    assert [failure.where for failure in failures] == ["parse"]
    assert (await run(folder, ("",)))[1][0].where == "parse"


async def test_input_or_file_is_wanted(folder: Path) -> None:
    with pytest.raises(InputError, match="rung run"):
        await run(folder)


def test_fields() -> None:
    two = ("subject", "body")
    assert list(as_fields({"body": "b", "subject": "a", "x": 1}, two)) == ["subject", "body"]
    assert as_fields("t", ("text",)) == {"text": "t"}
    for wrong in ("t", ["a"], {"subject": "a"}, {"subject": "a", "body": 3}, None):
        with pytest.raises(InputError):
            as_fields(wrong, two)
    assert read_inputs(("subject=a", "body=b=c"), two) == [{"subject": "a", "body": "b=c"}]
    assert read_inputs(("a=b", "text=x"), ("text",)) == [{"text": "a=b"}, {"text": "x"}]
    for given in (("a",), ("subject=a", "subject=b"), ("subject=a",), ("other=a",)):
        with pytest.raises(InputError, match=r"-i subject=\.\.\. -i body=\.\.\."):
            read_inputs(given, two)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    for text, line in (('"a"\n{"text": "b"\n', 2), ('"a"\n\n{"tex": "b"}\n', 3), ("3\n", 1)):
        file.write_text(text)
        with pytest.raises(InputError) as caught:
            read_file(file, ("text",))
        assert caught.value.line == line
    file.write_bytes(b"\n \n")
    with pytest.raises(InputError, match="no inputs"):
        read_file(file, ("text",))
    file.write_bytes(b'"\xff"\n')
    with pytest.raises(InputError, match="not valid JSON"):
        read_file(file, ("text",))
    with pytest.raises(InputError, match="cannot read"):
        read_file(tmp_path / "none", ("text",))


async def test_the_order_is_kept_and_defects_are_failures() -> None:
    async def ask(input: Any) -> Answer:
        if input["text"] == "2":
            raise ZeroDivisionError("oh")
        return Answer(input["text"])

    answers = [one async for one in run_program(ask, [{"text": str(i)} for i in range(5)], concurrency=2)]
    assert [one.output for one in answers] == ["0", "1", None, "3", "4"]
    assert answers[2].failure is not None
    assert answers[2].failure.where == "program"


@pytest.mark.parametrize("text", ["one two", "  padded\n text \n\n", "x", "", "\n"])
async def test_streamed_pieces_joined_are_the_answer(text: str) -> None:
    made = program(Fake(lambda request: text))
    whole = await made({"text": "t"})
    pieces = [piece async for piece in stream_answer(made, {"text": "t"})]
    assert isinstance(pieces[-1], Answer)
    assert (pieces[-1].output, pieces[-1].failure, pieces[-1].steps) == (whole.output, whole.failure, whole.steps)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == (whole.output or "")


async def test_what_cannot_stream_comes_whole() -> None:
    made = program(Fake(), ResponseFormat("labels", labels=LABELS))
    first, last = [piece async for piece in stream_answer(made, {"text": "card"})]
    assert first == "card"
    assert isinstance(last, Answer)

    class Plain:
        async def __call__(self, input: Any) -> Answer:
            return Answer({"a": 1})

    plain: Any = Plain()
    assert [piece async for piece in stream_answer(plain, {"text": "t"})] == ['{"a": 1}', Answer({"a": 1})]


async def test_a_model_that_breaks_off_is_a_failure() -> None:
    pieces = [piece async for piece in stream_answer(program(Fake(failures=[ServerError("gone")])), {"text": "t"})]
    assert isinstance(pieces[0], Answer)
    assert pieces[0].failure is not None
    assert pieces[0].failure.where == "model"
