"""Which setting wins, and how it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.settings import KEYS, Settings, cache_folder, user_file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write_user(text: str) -> Path:
    user_file().parent.mkdir(parents=True)
    user_file().write_text(text)
    return user_file()


def test_defaults(project: Path) -> None:
    settings = Settings()
    for name, key in KEYS.items():
        assert settings[name] == key.default
        assert settings.explain()[name].source == "default"
        assert isinstance(key.default, key.kind)
        assert key.help
    assert settings.home == Path(".rung")
    assert settings.cache == cache_folder()
    assert settings.store_url == "sqlite:///.rung/rung.db"


def test_flag_over_environment_over_project_over_user_over_default(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer is taken away after the other."""
    file = write_user("threads = 1\nretries = 11\nrate = 2")
    (project / "rung.toml").write_text("threads = 2\nretries = 12")
    monkeypatch.setenv("RUNG_THREADS", "3")

    def threads(flag: int | None) -> tuple[int, str]:
        setting = Settings({"threads": flag}).explain()["threads"]
        return setting.value, setting.source

    assert threads(4) == (4, "flag")
    assert threads(None) == (3, "environment RUNG_THREADS")
    monkeypatch.delenv("RUNG_THREADS")
    assert threads(None) == (2, str(project / "rung.toml"))
    assert Settings()["retries"] == 12
    (project / "rung.toml").unlink()
    assert threads(None) == (1, str(file))
    assert Settings()["retries"] == 11
    assert Settings()["rate"] == 2.0
    assert type(Settings()["rate"]) is float
    file.unlink()
    assert threads(None) == (0, "default")


def test_an_empty_or_zero_flag_still_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_THREADS", "3")
    monkeypatch.setenv("RUNG_STORE", "sqlite:///x.db")
    assert Settings({"threads": 0, "store": ""})["threads"] == 0
    assert Settings({"store": ""}).store_url == "sqlite:///.rung/rung.db"
    assert Settings().store_url == "sqlite:///x.db"


def test_the_folder_of_the_project_may_be_named(project: Path) -> None:
    (project / "rung.toml").write_text('home = "elsewhere"\ncache = "weights"')
    other = project / "other"
    other.mkdir()
    assert Settings().home == Path("elsewhere")
    assert Settings().cache == Path("weights")
    assert Settings(folder=other).home == Path(".rung")


@pytest.mark.parametrize("value", ["many", "", "1.5", "0x10", "1e3"])
def test_a_wrong_value_in_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RUNG_THREADS", value)
    with pytest.raises(
        InputError, match=f"setting threads from environment RUNG_THREADS: got '{value}', expected int"
    ) as caught:
        Settings()
    assert "RUNG_THREADS=0" in caught.value.remedy


@pytest.mark.parametrize(
    "line",
    [
        *("threads = 2.5", "threads = inf", "threads = nan", "threads = true", "threads = [1]"),
        *("model = 5", 'model = ["a"]', "model = false", 'timeout = "soon"', "timeout = {}"),
    ],
)
def test_a_wrong_value_in_a_file(project: Path, line: str) -> None:
    (project / "rung.toml").write_text(line)
    with pytest.raises(InputError, match=r"setting \w+ from .*rung\.toml: got .*, expected (int|str|float)"):
        Settings()


def test_a_value_that_loses_is_not_looked_at(project: Path) -> None:
    (project / "rung.toml").write_text('threads = "many"')
    assert Settings({"threads": 2})["threads"] == 2


def test_an_unknown_setting_names_the_file_and_the_known_ones(project: Path) -> None:
    (project / "rung.toml").write_text("thread = 2")
    with pytest.raises(InputError, match=r"rung\.toml: unknown setting thread") as caught:
        Settings()
    assert "threads" in caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"threads = ", b"\xff\xfe", b"[threads"])
def test_a_file_that_cannot_be_read(project: Path, content: bytes) -> None:
    (project / "rung.toml").write_bytes(content)
    with pytest.raises(InputError, match="cannot read settings"):
        Settings()


def test_a_folder_in_the_place_of_the_file(project: Path) -> None:
    (project / "rung.toml").mkdir()
    with pytest.raises(InputError, match="cannot read settings"):
        Settings()


@pytest.mark.parametrize("name", ["../x", "a b", "é", "."])
def test_what_cannot_name_an_environment_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RUNG_ENV", name)
    with pytest.raises(InputError, match="there are no settings for the environment") as refused:
        Settings()
    assert "rung.NAME.toml" in refused.value.remedy
