"""What ``rung serve`` can be told: the dataclasses whose fields are its options. Light: nothing here needs a web
framework."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.serving.http.limits import Limits


@dataclass(frozen=True, slots=True)
class Shares:
    """How to split: the id offered, each arm's share of callers (the first is what traffic falls back to), the chance
    ``alpha`` of ever calling an arm worse or better that is not, and a header that names the caller, where there is
    one."""

    name: str
    arms: tuple[tuple[str, float], tuple[str, float]]
    alpha: float = 0.05
    rollback: bool = True
    header: str = ""


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What to serve and how. ``folders`` are ``DIR`` or ``NAME=DIR``; ``shares`` is an A/B test. ``adapter`` (NAME=DIR)
    stands beside each of ``model``, as model ``MODEL@NAME``; ``search`` names collections; ``record`` keeps requests
    and answers in the store, for ``record_days``."""

    host: str | None = option(None, "Address to listen on (default: this machine only).")
    port: int | None = option(None, "Port to listen on; 0 takes a free one.")
    raw: bool = option(False, "Offer the programs' bare models too.", flags=("--raw",))
    model: tuple[str, ...] = option((), "Offer this bare model too (provider:name).", flags=("--model", "-m"))
    adapter: tuple[str, ...] = option(
        (), "A LoRA folder beside each --model, asked for as MODEL@NAME; no reload.", metavar="NAME=DIR"
    )
    embedder: tuple[str, ...] = option(
        (), "Offer this embedder at /v1/embeddings (minilm, static, ...). May be repeated.", metavar="NAME"
    )
    search: tuple[str, ...] = option(
        (), "Search this collection: a page at /search and /v1/search. May be repeated.", metavar="NAME"
    )
    key_file: Path | None = option(None, "File of SHA-256 hashes of API keys (default: $RUNG_API_KEYS).")
    check: bool = option(
        False, "Score over HTTP on the run's test examples first; refuse on a difference.", flags=("--check",)
    )
    details: bool = option(True, "Let callers ask for the steps behind an answer (prompts included).")
    record: bool = option(
        False,
        "Keep requests and answers in the store, to learn from: rung data import --served.",
        flags=("--record",),
    )
    subjects: bool = option(
        False,
        "Keep of each request's `user` a keyed hash, so that all of somebody can be found by: rung forget.",
        flags=("--subjects",),
    )
    survey: float | None = option(
        None,
        "Put one question to this share of callers (0 to 1): their client shows it, /v1/feedback takes the answer.",
    )
    question: str = option("Did this answer help you?", "The question of --survey.")
    moderate: Path | None = option(
        None,
        "Hold back requests and answers that this fitted policy blocks, and queue what is unsure (rung moderate).",
        flags=("--moderate",),
        metavar="FOLDER",
    )
    styles: Path | None = option(
        None,
        "Answer each `user` in the style of this file that their ratings speak for (needs --record --subjects).",
        metavar="FILE",
    )
    drift: Path | None = option(
        None, "Watch recorded requests for drift from these texts (rung drift); an alarm is in the log.", metavar="FILE"
    )
    job: Path | None = option(None, "What --drift writes on an alarm: FOLDER/job.json of a rung cycle.", metavar="FILE")
    record_days: int | None = option(None, "Record, and delete what is older than this many days.", low=1)
    store: str | None = option(
        None, "Store URL: the runs of --check, the scores of --split, what --record keeps.", metavar="URL"
    )

    config: Path | None = option(
        None, "A gateway's file: endpoints, routes, tenants. SIGHUP reads it again.", metavar="FILE"
    )
    release: Path | None = option(
        None, "Serve no folder that these guidelines do not allow (rung release).", metavar="release.yaml"
    )
    accept_stale: bool = option(
        False, "Serve adapters all the same whose training rows were erased (rung forget).", flags=("--accept-stale",)
    )
    issued_keys: bool = option(
        False, "Ask callers for keys made by: rung keys new (in the store).", flags=("--issued-keys",)
    )
    batches: bool = option(False, "Take files and batches (kept in the store).", flags=("--batches",))
    mcp: bool = option(False, "Offer everything as tools over MCP too, at /mcp.", flags=("--mcp",))
    graphql: bool = option(
        False, "Offer runs, episodes, records and answers over GraphQL too, at /graphql.", flags=("--graphql",)
    )
    metrics: bool = option(True, "Count requests for Prometheus, at /metrics.")
    workers: int = option(1, "Processes that serve together; SIGUSR2 restarts them one after another.", low=1, high=256)
    fd: int | None = option(None, "Serve on this inherited socket (systemd, or the process that started this one).")
    otlp: str | None = option(
        None, "Send spans (gen_ai names) to this OpenTelemetry collector, OTLP over HTTP.", metavar="URL"
    )
    content: bool = option(
        False, "Put what is asked and answered into the spans and the JSON log.", flags=("--content",)
    )
    log: str = option("text", "Form of the log: text, or json (one object a line).", metavar="FORM")

    folders: tuple[str, ...] = ()
    limits: Limits = Limits()
    shares: Shares | None = None

    @property
    def stores(self) -> bool:
        """Whether a store is needed."""
        return (
            self.shares is not None
            or self.records
            or self.config is not None
            or self.issued_keys
            or self.batches
            or self.subjects
            or self.moderate is not None
            or self.release is not None
            or self.graphql
        )

    @property
    def records(self) -> bool:
        return self.record or self.record_days is not None


@dataclass(frozen=True, slots=True)
class ABOptions:
    """An A/B test between two of what is served."""

    split: str = option("", "An A/B test: each arm's share of callers.", metavar="A=0.9,B=0.1")
    name: str = option("", "The model id of the A/B test.", flags=("--as",), metavar="NAME")
    alpha: float = option(0.05, "Chance that the A/B test ever tells equal arms apart.")
    rollback: bool = option(True, "Send all callers to the first arm once the second is proven worse.")
    split_by: str = option("", "Header that names the caller (default: `user`, else the API key).", metavar="HEADER")

    def shares(self) -> Shares | None:
        """The test that was asked for, if one was. Raises InputError for anything else than two arms whose shares add
        up to 1."""
        if not (self.split or self.name):
            return None
        arms = []
        for part in self.split.split(","):
            arm, _, share = part.strip().rpartition("=")
            try:
                arms.append((arm.strip(), float(share)))
            except ValueError:
                raise self._wrong() from None
        if len(arms) != 2 or arms[0][0] == arms[1][0] or not all(arm and 0 < share < 1 for arm, share in arms):
            raise self._wrong()
        if abs(sum(share for _, share in arms) - 1) > 1e-9:
            raise self._wrong()
        if not self.name.strip():
            raise InputError("the split has no name", remedy="add --as NAME: the model id that callers ask for")
        if not 0 < self.alpha < 1:
            raise InputError(f"got --alpha {self.alpha}, expected a number between 0 and 1", remedy="leave it at 0.05")
        return Shares(self.name.strip(), (arms[0], arms[1]), self.alpha, self.rollback, self.split_by.strip().lower())

    def _wrong(self) -> InputError:
        return InputError(
            f"got --split {self.split!r}, expected two arms with shares that add up to 1", remedy="--split A=0.9,B=0.1"
        )
