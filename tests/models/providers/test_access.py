"""Which key goes where: a listener looks for every secret of the environment in what each provider sends, for each kind of
file that can name an address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rung.core.errors import AuthError, InputError, ModelError
from rung.core.settings import Settings, user_file
from rung.core.types import Message, Request, Sampling
from rung.models import Pool, open_embedder
from rung.models.providers.access import check_url, find_access, server_key
from rung.models.providers.anthropic import AnthropicModel
from rung.models.providers.google import GoogleModel
from rung.models.providers.openai import OpenaiModel
from rung.serving.endpoints.local import run_folder
from tests import desk
from tests.models.servers import Server

MODELS = {kind.vendor.name: kind for kind in (OpenaiModel, AnthropicModel, GoogleModel)}
CANARY = "canary-Zq93hfKw72mXpL0c"
SECRETS = (
    "OPENAI_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, variable in enumerate(SECRETS):
        monkeypatch.setenv(variable, f"{CANARY}-{number}")
    for variable in ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.setenv(variable, f"X-Gateway: {CANARY}-header")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("RUNG_RETRIES", "0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=list(MODELS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def named(provider: str, server: Server, model: str = "ok") -> str:
    return f"{provider}:{model}@{server.url}{'/v1' if provider == 'openai' else ''}"


def leaked(server: Server) -> list[str]:
    """Where a secret was received, and that something was."""
    assert server.seen
    return [
        f"{name}: {value}"
        for seen in server.seen
        for name, value in {**seen.headers, "path": seen.path, "body": json.dumps(seen.body)}.items()
        if CANARY in value
    ]


async def ask(name: str, settings: Settings | None = None) -> None:
    async with Pool(settings) as pool:
        model = pool.model(name)
        await model.generate([Request((Message("user", "Hi"),), Sampling(max_tokens=5))])
        async for _ in model.stream(Request((Message("user", "Hi"),), Sampling(max_tokens=5))):
            pass


async def test_an_address_in_a_name_gets_no_secret(provider: str, server: Server) -> None:
    await ask(named(provider, server))
    assert leaked(server) == []


async def test_nor_does_one_in_capitals(provider: str, server: Server) -> None:
    await ask(named(provider, server).replace("@http", "@HTTP"))
    assert leaked(server) == []


async def test_nor_does_one_in_a_program_folder(provider: str, server: Server, tmp_path: Path) -> None:
    from rung.core.parts.program import save
    from rung.prompts.program import Options, PromptProgram
    from rung.prompts.template.prompt import Prompt

    async with Pool() as pool:
        program = PromptProgram(Prompt("Say {{ text }}"), pool.model(named(provider, server)), Options())
        save(program, tmp_path / "program")
        failures = await run_folder(tmp_path / "program", ["hello"], pool, write=lambda _: None)
    assert failures == []
    assert leaked(server) == []


async def test_nor_does_one_in_a_project_file(provider: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "rung.toml").write_text(f'model = "{named(provider, server)}"\n')
    async with Pool() as pool:
        await pool.model().generate([Request((Message("user", "Hi"),))])
    assert leaked(server) == []


def test_nor_does_one_in_a_task_or_its_judge(provider: str, server: Server, tmp_path: Path) -> None:
    from rung.front import climb

    name = named(provider, server)
    task = desk.write(tmp_path)
    text = task.read_text().replace("metrics: [accuracy]", f'metrics: [accuracy, "judge:correctness@{name}"]')
    task.write_text(f'{text}models: ["{name}"]\n')
    climb(task, limit=4)
    assert len(server.seen) >= 4  # answers and grades
    assert leaked(server) == []


def test_nor_does_an_embedder(server: Server) -> None:
    open_embedder(f"openai:letters@{server.url}/v1?cache=off").embed(["a text"])
    assert leaked(server) == []


async def test_a_named_key_goes_to_its_address_and_nothing_else_does(
    provider: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "sk-its-own-key")
    monkeypatch.setenv("RUNG_KEYS", f"https://elsewhere.example/v1=OTHER {server.url}=SERVER_KEY")
    await ask(named(provider, server))
    assert leaked(server) == []
    assert all("sk-its-own-key" in str(seen.headers) for seen in server.seen)


def test_the_longest_address_wins_and_its_variable_must_be_set(provider: str) -> None:
    settings = Settings({"keys": {"https://host": "OPENAI_API_KEY", "https://host/v1": "UNSET"}})
    access = find_access(MODELS[provider].vendor, "https://host/v1/x", settings)
    assert access.variables == ("UNSET",)
    with pytest.raises(AuthError):
        access.key("it")
    assert find_access(MODELS[provider].vendor, "https://host/v10", settings).variables == ("OPENAI_API_KEY",)


async def test_an_address_from_the_environment_is_the_persons_own(
    provider: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODELS[provider].vendor.address, named(provider, server).partition("@")[2])
    await ask(f"{provider}:ok")
    assert leaked(server)


@pytest.mark.parametrize("code", [301, 307])
async def test_no_redirect_is_followed(provider: str, server: Server, code: int) -> None:
    name = named(provider, server, f"moved-{code}")
    with pytest.raises(ModelError) as caught:
        async with Pool() as pool:
            await pool.model(name).generate([Request((Message("user", "Hi"),))])
    assert caught.value.status == code
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://{host}/v1",
        "https://{host}:8443/v1",
        "https://{host}.evil.example/v1",
        "https://{host}./v1",
        "https://evil.example/{host}",
        "https://x{host}/v1",
        "https://xn--{host}/v1",
    ],
)
def test_what_only_looks_like_the_vendor_gets_no_key(provider: str, address: str) -> None:
    vendor = MODELS[provider].vendor
    access = find_access(vendor, address.format(host=vendor.host), Settings({"plain_http": True}))
    assert access.variables == ()
    assert not access.own


@pytest.mark.parametrize("address", ["https://{host}", "https://{host}:443/v1", "HTTPS://{upper}/v1/"])
def test_the_vendor_gets_its_key(provider: str, address: str) -> None:
    vendor = MODELS[provider].vendor
    access = find_access(vendor, address.format(host=vendor.host, upper=vendor.host.upper()), Settings())
    assert access.variables == vendor.keys
    assert vendor.host in access.url


@pytest.mark.parametrize(
    "address",
    [
        "https://me:secret@host/v1",
        "https://api.openai.com@evil.example/v1",
        "https://evil.example\\@api.openai.com/",
        "https://api.openai.com#@evil.example/",
        "https://api.openai.com?@evil.example/",
        "https://host/v1\n",
        "https://host/\tv1",
        "https://host/v1/../../admin",
        "https://host/v1/%2E%2e/admin",
        "https://аpi.openai.com/v1",
        "https://host:99999/v1",
        "ftp://host/v1",
        "https://",
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_none(address: str) -> None:
    with pytest.raises(InputError) as caught:
        check_url(address)
    assert caught.value.code == "address"


def test_plain_http_to_another_machine_needs_a_setting(provider: str) -> None:
    vendor = MODELS[provider].vendor
    for address in ("http://models.example/v1", "http://10.0.0.7:8000", "http://2130706433/v1"):
        with pytest.raises(InputError) as caught:
            find_access(vendor, address, Settings())
        assert caught.value.code == "plain-http"
        assert find_access(vendor, address, Settings({"plain_http": True})).url == address
    for address in ("http://127.0.0.2:1/v1", "http://[::1]:8000/v1", "http://localhost/v1"):
        assert find_access(vendor, address, Settings()).variables == ()


def test_plain_http_from_the_environment_too(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = MODELS[provider].vendor
    monkeypatch.setenv(vendor.address, "http://models.example/v1")
    with pytest.raises(InputError) as caught:
        find_access(vendor, "", Settings())
    assert caught.value.code == "plain-http"


@pytest.mark.parametrize(
    "text", ['keys = {"https://evil.example" = "OPENAI_API_KEY"}', "plain_http = true", 'store = "postgresql://evil/x"']
)
def test_a_projects_file_cannot_say_whom_to_trust(text: str, tmp_path: Path) -> None:
    (tmp_path / "rung.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        Settings()
    assert caught.value.code == "personal-setting"
    (tmp_path / "rung.toml").unlink()
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text(text)
    try:
        assert Settings().explain()[text.split()[0]].source == str(user_file())
    finally:
        user_file().unlink()


@pytest.mark.parametrize("text", ["no-equals", "=NAME", "https://host/v1="])
def test_keys_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings({"keys": text})
    assert "URL=VARIABLE" in caught.value.message or "NAME=VALUE" in caught.value.message


def test_a_databases_key_stays_on_this_machine_unless_its_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", CANARY)
    assert server_key("http://127.0.0.1:6333", "QDRANT_API_KEY") == CANARY
    assert server_key("https://me:secret@evil.example:6333", "QDRANT_API_KEY") is None
    monkeypatch.setenv("RUNG_KEYS", "https://mine.example:6333=QDRANT_API_KEY")
    assert server_key("https://mine.example:6333", "QDRANT_API_KEY") == CANARY
    assert server_key("https://evil.example:6333", "QDRANT_API_KEY") is None
