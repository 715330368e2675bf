"""What each kind of part must do. Structural: nobody has to inherit from these."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from rung.core.types import (
    Answer,
    Capabilities,
    Case,
    Chunk,
    Example,
    FitForecast,
    Input,
    Message,
    Progress,
    Reply,
    Request,
    Result,
    Score,
    ScoreRequest,
    Scores,
    Task,
    Training,
    Usage,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@runtime_checkable
class Model(Protocol):
    """A language model. Concurrent calls are welcome: a model coalesces or limits them itself.

    ``name`` is ``provider:name``; ``fingerprint`` changes whenever the answers may (weights, provider, version).
    ``generate`` returns one Reply a request in order and raises a ModelError only when the whole batch failed for one
    reason; otherwise a failed request is a Reply with finish "error" and its message as text.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...

    async def generate(self, requests: Sequence[Request]) -> list[Reply]: ...
    def stream(self, request: Request) -> AsyncIterator[Chunk]: ...
    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]: ...
    def count(self, messages: Sequence[Any]) -> int:
        """Tokens of the messages under the model's own template and tokenizer (hosted: a stated estimate)."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class PromptCache(Protocol):
    """Optional on a Model: it keeps the computation of earlier prompts. The ladder calls ``forget`` before each rung,
    so that none is cheaper for what another one asked."""

    def forget(self) -> None: ...


@runtime_checkable
class Resident(Protocol):
    """Optional on a Model that holds memory of this machine: ``rest`` gives it back until the model is next asked. It
    does nothing while requests are under way."""

    def rest(self) -> None: ...


@runtime_checkable
class Computing(Protocol):
    """Optional on a Model that computes here: in which precision ("f32", "bf16", ...; empty until it has computed)."""

    @property
    def precision(self) -> str: ...


@runtime_checkable
class Embedder(Protocol):
    """Text to vectors: float32 of shape (n, dimensions), rows of unit length.

    ``name`` opens it again (``Resources.embedder``); ``fingerprint`` changes whenever its vectors may. A text's vector
    does not depend on the texts beside it.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@runtime_checkable
class Vocabulary(Protocol):
    """Optional on an Embedder: words that have a vector of their own. ``closed``: other words have none."""

    @property
    def closed(self) -> bool: ...
    def vocabulary(self) -> tuple[list[str], NDArray[np.float32]]:
        """The words, and their unit vectors of shape (words, dimensions)."""
        ...


@runtime_checkable
class EmbedderAround(Protocol):
    """Optional on an Embedder: it stands around another one (a cache), whose vocabulary is its own."""

    @property
    def inner(self) -> Embedder: ...


Filter = Mapping[str, Any]
"""Which metadata a hit must have: ``{"lang": "en", "year": {"gte": 2020, "lt": 2024}, "tag": {"in": ["a", "b"]}}``. All
fields must hold. Operators: eq (a bare value), ne, in, gt, gte, lt, lte, exists. A list in the metadata holds when one
of its items does; a missing field holds only under ``{"exists": false}`` and ``ne``. ``{"any": [filter, ...]}`` holds
when one does."""


@runtime_checkable
class Index(Protocol):
    """Vectors by id, with metadata to filter by. Vectors are float32 of shape (n, dimensions), rows of unit length; a
    score is their inner product, so the cosine. Ids are unique. What ``flush`` has returned from survives a crash of
    the process."""

    @property
    def name(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    def __len__(self) -> int: ...

    def add(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Add new rows. Raises InputError for an id that is there (or twice in the call), wrong dimensions, or vectors
        that are not finite; then nothing was added."""
        ...

    def upsert(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None: ...
    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows that are there; how many were."""
        ...

    def search(
        self, vectors: NDArray[np.float32], k: int, where: Filter | None = None
    ) -> list[list[tuple[str, float]]]:
        """For each query vector the k nearest ids that pass the filter and their scores, best first (ties by id)."""
        ...

    def flush(self) -> None: ...
    def close(self) -> None: ...


Effect = Literal["pure", "keyed", "once"]
"""What a call of a tool does to the world: "pure" nothing; "keyed" something that happens once however often the call
is repeated with one key; "once" something that must not be repeated."""


@runtime_checkable
class Tool(Protocol):
    """Something an agent may call. ``schema`` is the JSON schema of its arguments, an object; they are valid under it
    when ``call`` gets them.

    ``effect`` decides what is done with a call whose result was lost: "pure" and "keyed" calls are made again, with the
    same ``key``; a "once" call waits for a person. ``returns`` says whether what comes back may tell the agent what to
    do ("trusted") or is somebody's text ("untrusted": a page, a mail, a file). ``volatile``: equal calls may well
    answer differently, so that asking again is no loop.

    ``call`` gives text for the agent. A RungError is told to the agent as an observation, its message and its remedy,
    and the agent goes on; so raise one for whatever the agent could do better. ``key`` is the same for every attempt at
    one call and for no other call.
    """

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def schema(self) -> Mapping[str, Any]: ...
    @property
    def effect(self) -> Effect: ...
    @property
    def returns(self) -> Literal["trusted", "untrusted"]: ...
    @property
    def volatile(self) -> bool: ...
    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str: ...


@runtime_checkable
class Probing(Protocol):
    """Optional on a Tool whose effect is "once": it can tell whether the call with a key was made."""

    async def probe(self, key: str) -> str | None:
        """What the call with this key answered; None: it was not made."""
        ...


@runtime_checkable
class Asking(Protocol):
    """Optional on a Tool: it asks models, begins episodes or sends letters. It finds the call that it answers by
    ``core.types.trail.caller``; what its models used counts as the agent's; several such calls are made side by side,
    and none is cut short by the limit ``wait``. ``asks`` says what it asks."""

    @property
    def asks(self) -> str: ...


@runtime_checkable
class Closing(Protocol):
    """Optional on a Tool that holds something open (a connection, a process): closed when the agent is done with it."""

    async def close(self) -> None: ...


@runtime_checkable
class Metric(Protocol):
    """Scores cases, then reduces the scores to one number, also under resampling."""

    @property
    def name(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...

    async def score(self, cases: Sequence[Case]) -> list[Score]: ...

    def reduce(self, scores: Sequence[Score], draws: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """The metric's value for each row of ``draws`` (shape (resamples, n): indices into scores); shape (resamples,).
        Without draws: shape (1,), the value over all scores."""
        ...


@runtime_checkable
class AskingMetric(Metric, Protocol):
    """A metric that asks a model: what it said of a case is journalled. ``fingerprint`` changes whenever its scores
    may;
    empty: nothing is asked."""

    @property
    def fingerprint(self) -> str: ...


@runtime_checkable
class Program(Protocol):
    """What a rung makes and what is served: an input in, an answer out. A failing input gives an Answer with
    ``failure``.

    ``kind`` is the registry name under which ``load`` finds the class again. ``spec`` is JSON-able state that rebuilds
    it and whose hash (with the hashes of ``files``) is its identity: equal identity, equal answers.
    """

    @property
    def kind(self) -> str: ...
    @property
    def model(self) -> Model | None: ...
    def spec(self) -> dict[str, Any]: ...
    def files(self) -> Mapping[str, Path | bytes]:
        """Files that belong to it (weights, a pool; no pickles): name in the folder -> where it lies now, or its
        content."""
        ...

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer: ...

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Program: ...


@runtime_checkable
class Streaming(Protocol):
    """Optional on a Program: it gives its text while it is written. Without it the whole text comes as one piece."""

    def stream(self, input: Input | str, *, repeat: int = 0) -> AsyncGenerator[str | Answer]:
        """Pieces of the output's text, then the Answer that a call would have given."""
        ...


@runtime_checkable
class Conversing(Protocol):
    """Optional on a Program: it goes on in a conversation, where it ``converses``. Without it the last message is its
    whole input."""

    @property
    def converses(self) -> bool: ...
    async def converse(self, messages: Sequence[Message], *, owner: str = "") -> Answer:
        """The answer to the last message. Conversations of different owners are kept apart."""
        ...


@runtime_checkable
class Predictable(Protocol):
    """Optional on a Program: it knows what an answer will use without asking for it. Without it a dry run cannot
    say."""

    def forecast(self, input: Input | str) -> tuple[Usage, tuple[Message, ...]]:
        """Expected usage (new tokens at their limit), and the messages of the first call."""
        ...


@dataclass(frozen=True, slots=True)
class Traits:
    """What the ladder must know of a rung before it fits one.

    ``uses_model``: its answers are a language model's, so it is climbed once with each of the task's models.
    ``optional``: it is climbed only where it is named. ``tuned``: its fit trains weights, whose price must pay back.
    ``acts``: it is an agent, climbed unasked only for tasks that name an environment or tools.
    """

    uses_model: bool = True
    optional: bool = False
    tuned: bool = False
    acts: bool = False


@runtime_checkable
class Rung(Protocol):
    """A technique. A frozen dataclass whose fields are its options, so that its identity is its name and options."""

    @property
    def traits(self) -> Traits: ...

    def obstacle(self, task: Task, resources: Resources) -> str:
        """What keeps the rung from being tried on this task, as a sentence; empty when nothing does."""
        ...

    async def fit(self, task: Task, context: Context) -> Program: ...


@runtime_checkable
class MachineDependent(Protocol):
    """Optional on a Rung whose fit depends on the machine (the precision that it computes in)."""

    def settle(self) -> Rung:
        """The same rung with what depends on the machine decided: a fit is named by that."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Optional on a Rung whose fit is long: it knows before what the fit will take."""

    def forecast(self, task: Task, resources: Resources) -> FitForecast:
        """Tokens that the fit reads at most and, where a probe of a few seconds can tell, its wall ``seconds`` on this
        machine. Trains nothing that is kept."""
        ...


class Resources(Protocol):
    """Where programs and rungs get models and embedders by name; opens each once."""

    def model(self, name: str | None = None) -> Model:
        """The model of that name; None: the task's first model."""
        ...

    def embedder(self, name: str | None = None) -> Embedder:
        """The embedder of that name; None: the light default."""
        ...


@dataclass(frozen=True)
class Context:
    """What a rung may use while it fits. ``folder`` is its own, kept between resumed runs of the same fit.

    ``evaluate`` answers and scores examples with a program through the journal and the meter: what a rung needs to
    choose on dev (never call it on test examples; the ladder refuses). ``trained`` is told how the losses of a training
    went.
    """

    resources: Resources
    folder: Path
    evaluate: Callable[[Program, Sequence[Example]], Awaitable[list[Result]]]
    seed: int = 0
    progress: Callable[[Progress], None] = field(default=lambda _: None)
    trained: Callable[[Training], None] = field(default=lambda _: None)
