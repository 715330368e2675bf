"""``rung tune`` from files to files on a random two-layer base."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import FitError, InputError, ParityError
from rung.core.settings import Settings
from rung.core.types import Message, ToolCall, ToolSpec
from rung.models.engine.template import call_id, with_tools
from rung.tuning.batches import Chat
from rung.tuning.checks.preflight import check_mask
from rung.tuning.compute import export
from rung.tuning.file.config import read
from rung.tuning.file.job import as_served, gather
from rung.tuning.trainer import curves
from rung.tuning.weights import Base
from tests.child import command, imported
from tests.tuning.conftest import TEXTS

SMALL = {"upper": 1.0, "rank": 4, "rate": 5e-3, "epochs": 2, "batch": 4, "precision": "fp32", "patience": 0}


@pytest.fixture
def config(tiny: Base, tmp_path: Path) -> Path:
    rows = [{"instruction": "Name the colour.", "input": text, "output": label} for label, text in TEXTS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {"model": str(tiny.gguf), "data": "rows.jsonl", "dev": 0.3, "out": "out", **SMALL}
    path = tmp_path / "tune.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def tune(config: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["tune", str(config), "--elsewhere", "0", *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_tunes_and_writes(config: Path) -> None:
    wanted = "export=[adapter, folder, f16, q8, q4, openvino]"
    said = tune(config, "--set", wanted, "--set", "seed=1")
    out = config.parent / "out"
    assert "which is kept" in said
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    assert (out / "merged" / "config.json").is_file()
    sizes = [(out / f"tuned-{kind}.gguf").stat().st_size for kind in ("f16", "q8", "q4")]
    assert sizes == sorted(sizes, reverse=True)
    assert (out / "openvino" / "openvino_model.bin").is_file()
    assert set(json.loads((out / "parity.json").read_text())) == {"adapter", "folder", "f16", "q8", "q4", "openvino"}
    assert said.count("  passed: loss") == 6
    assert not list(out.glob("step-*"))
    points = curves.read(out)
    assert [point["step"] for point in points] == list(range(1, len(points) + 1))
    assert any("dev" in point for point in points)
    assert "passed  mask" in (out / "preflight.txt").read_text()
    again = tune(config, "--set", wanted, "--set", "seed=1")
    assert again.splitlines()[-1] == said.splitlines()[-1]
    with pytest.raises(FitError, match="another training"):
        tune(config, "--set", "seed=2")


@pytest.mark.slow
def test_an_export_that_says_something_else_is_put_aside(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PERMUTED", ())  # q and k in the wrong order
    with pytest.raises(
        ParityError, match=r"1 of 2 exports do not say what was trained.*\n.*tuned-f16\.gguf\.failed: failed"
    ):
        tune(config, "--set", "epochs=3")
    out = config.parent / "out"
    assert not (out / "tuned-f16.gguf").exists()
    assert (out / "tuned-f16.gguf.failed").is_file()
    assert "  not checked: it was not asked for" in tune(config, "--set", "epochs=3", "--no-parity")
    monkeypatch.undo()
    with pytest.raises(ParityError):  # it is compared when it is asked for again
        tune(config, "--set", "epochs=3")
    assert "passed: loss" in tune(config, "--set", "epochs=3").splitlines()[-1]


def test_dev_is_held_out_before_anything_is_learnt(config: Path) -> None:
    _, material = gather(read(config), Settings())
    learnt = {talk[0].content for _, talk in material.conversations}
    held = {talk[0].content for _, talk in material.dev}
    assert learnt
    assert held
    assert not learnt & held
    assert len(learnt) + len(held) == len(TEXTS)


def test_texts_are_continued_on(config: Path, tiny: Base) -> None:
    (config.parent / "book.txt").write_text("The sea is blue and the sky is blue over it.\n\n" * 40)
    document = {"model": str(tiny.gguf), "texts": "book.txt", "window": 64, "out": "cpt", **SMALL, "method": "full"}
    config.write_text(yaml.safe_dump({**document, "export": "folder"}))
    said = tune(config)
    assert "merged" in said
    points = curves.read(config.parent / "cpt")
    assert points[-1]["loss"] < points[0]["loss"]


def test_checks_alone_and_range_test(config: Path) -> None:
    said = tune(config, "--check")
    assert "passed  stop token" in said
    assert "⟦" in said
    assert "set rate:" in tune(config, "--range-test")
    assert not (config.parent / "out" / "trained.json").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "x", "output": ""}, "has no answer to learn"),
        ({"text": "plain"}, "is plain text"),
        ({"question": "x"}, "it has question; expected"),
    ],
)
def test_rows_that_cannot_be_learnt(config: Path, row: dict[str, str], message: str) -> None:
    (config.parent / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError) as raised:
        gather(read(config), Settings())
    assert message in str(raised.value)


def test_exports_that_a_method_has_not(config: Path) -> None:
    with pytest.raises(InputError, match="no adapter"):
        tune(config, "--set", "method=full", "--set", "export=adapter")
    with pytest.raises(InputError, match="writes an adapter only"):
        tune(config, "--set", "method=prompt", "--set", "export=f16")


def test_tensorboard_files(config: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tune(config, "--set", "tensorboard=board")
    events = EventAccumulator(str(config.parent / "board"))
    events.Reload()
    assert {"train/loss", "dev/loss", "rate"} <= set(events.Tags()["scalars"])


@pytest.mark.slow
def test_two_processes_follow_one(config: Path) -> None:
    """What torchrun does with two processes on one machine: the same losses as one, but for the order of sums."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    tune(config, "--no-parity")
    alone = curves.read(config.parent / "out")
    launch = LaunchConfig(
        1,
        1,
        2,
        run_id="two",
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
    )
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        with imported("torch", "transformers.models.llama.modeling_llama", "rung.tuning.file.job"):
            elastic_launch(launch, command)(
                "tune", str(config), "--elsewhere", "0", "--set", "out=shared", "--set", "tokens=40"
            )
    finally:  # the launcher takes them
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
    together = curves.read(config.parent / "shared")
    assert [point["loss"] for point in together] == pytest.approx([point["loss"] for point in alone], rel=1e-4)
    assert (config.parent / "shared" / "tuned-f16.gguf").is_file()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("Exception from allocator.cpp:79: std::bad_alloc"), "out of memory"),
        (OSError(28, "No space left on device", "x.json"), r"cannot write x\.json: No space left on device"),
    ],
)
def test_what_the_machine_refuses_is_told(
    config: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("rung.tuning.compute.session.open_session", refuse)
    with pytest.raises(FitError, match=said):
        tune(config)


def test_rows_that_teach_little_are_told(config: Path) -> None:
    rows = [{"instruction": f"Name the colour of {word}.", "output": "red"} for word in ("a", "b", "c", "d")]
    path = config.parent / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "every row has the same answer" in tune(config, "--check")
    path.write_text(json.dumps(rows[0]) + "\n")
    assert "there is one row" in tune(config, "--check")


def test_one_question_many_times_is_not_all_held_out(config: Path) -> None:
    rows = [{"instruction": "Say a colour.", "output": label} for label, _ in TEXTS]
    for share in (0.01, 0.99):  # on whichever side its hash falls
        (config.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        _, material = gather(read(config, {"dev": share}), Settings())
        assert material.conversations


def test_a_rate_that_is_too_high(config: Path) -> None:
    with pytest.raises(FitError, match=r"lower the rate: it is 1e\+09"):
        tune(config, "--set", "rate=1e9")
    with pytest.raises(FitError, match=r"which 16 bits cannot\n.*lower learning rate"):
        tune(config, "--set", "rate=1e9", "--no-preflight")


@pytest.mark.parametrize("template", ["hello", "{% for message in messages %}{{ message.role }}{% endfor %}"])
def test_a_template_without_the_messages(config: Path, tmp_path: Path, template: str) -> None:
    from tests.tuning.conftest import write_gguf

    base = write_gguf(tmp_path / "other.gguf", template=template)
    with pytest.raises(FitError, match="leaves out what the user or the model says"):
        tune(config, "--set", f"model={base}")


def test_tools_stand_in_the_prompt_and_replies_are_as_they_are_served(chat: Chat) -> None:
    tool = ToolSpec("rain", "Whether it rains.", {"type": "object", "properties": {"town": {"type": "string"}}})
    turns = [
        Message("user", "Do I need a coat in Bergen?"),
        Message("assistant", '<tool_call>\n{"name": "rain", "arguments": {"town": "Bergen"}}\n</tool_call>'),
        Message("tool", "yes"),
        Message("assistant", "Take one."),
        Message("user", "Thanks"),
        Message("assistant", "Gladly.", learn=False),
    ]
    (one, first), (two, second) = as_served("x", turns, [tool])
    assert (one, two) == ("x#0", "x#1")
    assert "Whether it rains." in first[0].content
    assert first[-1].content == '{"tool": "rain", "arguments": {"town": "Bergen"}}'
    assert second[-1].content == '{"answer": "Take one."}'
    (row,) = chat.rows(two, second)
    # The same prompt as the engine makes of the client's messages.
    call = ToolCall(call_id({"tool": "rain", "arguments": {"town": "Bergen"}}), "rain", {"town": "Bergen"})
    asked = [turns[0], Message("assistant", "", tool_calls=(call,)), Message("tool", "yes", tool_call_id=call.id)]
    assert list(row.ids[: row.start]) == chat.prompt(with_tools(asked, [tool]))
    assert check_mask(chat, [row], [(two, second)]).passed is True
