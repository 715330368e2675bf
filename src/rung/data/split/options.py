"""How rows are split: a plan, and the options of the command line that make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.types import Split
from rung.tasks.split import SPLITS

SHARES: Mapping[Split, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}
ORIGINS = ("thread", "document", "conversation")
"""What of a row's source keeps rows together: parts of one mail thread, document or conversation."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How rows are split. Inputs with a Jaccard similarity (5-character shingles) of at least ``near`` (None: only
    equal ones), and rows that share one of ``by`` in their source, go to one split.

    ``hold``: whole kinds (named, or drawn until they hold about that share of the rows) go to ``held.jsonl`` and
    nowhere else; ``kinds`` tells what a kind is (``balance.sort``). ``balance``: at most ``most`` rows of each of
    these groups in train; without ``most`` as many as leave an evenness of 0.9, or half of the rows. Raises
    InputError for shares that do not add up."""

    shares: Mapping[Split, float] = field(default_factory=lambda: dict(SHARES))
    seed: int = 0
    near: float | None = 0.8
    by: Sequence[str] = ORIGINS
    hold: float | Sequence[str] = 0.0
    kinds: str = "kind"
    balance: str = ""
    most: int = 0

    def __post_init__(self) -> None:
        shares = self.shares
        if (
            any(share <= 0 for share in shares.values())
            or abs(sum(shares.values()) - 1) > 1e-6
            or set(shares) - set(SPLITS)
        ):
            raise InputError(
                f"shares are {dict(shares)}, expected train, dev and test that add up to 1",
                remedy="--shares 0.8,0.1,0.1", code="shares",
            )  # fmt: skip

    @property
    def settings(self) -> dict[str, float | int | bool]:
        """What a frozen split remembers of its plan."""
        out: dict[str, float | int | bool] = {
            "seed": self.seed,
            "near": self.near or 0.0,
            "by": _number(sorted(self.by)),
        }
        out |= {f"share {name}": share for name, share in self.shares.items()}
        return out | ({"held kinds": _number([self.kinds, self.hold])} if self.hold else {})


def _number(value: object) -> int:
    return int(digest(value)[:8], 16)


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """A plan in words. Raises InputError for words that make none."""

    shares: str = option("0.8,0.1,0.1", "Shares of train, dev and test.")
    near: float = option(0.8, "Inputs this alike (Jaccard) stay together; 0: equal ones only.")
    by: tuple[str, ...] = option(
        (),
        "Rows with the same value of this key of their source stay together (default: thread, document, conversation).",
    )
    hold_kinds: str = option(
        "",
        "Whole kinds of instructions go to held.jsonl: about 0.2 of the rows, or those named.",
        metavar="SHARE|NAMES",
    )
    kinds: str = option(
        "kind", "What a kind is: told by rules, the answer, or a key of the rows.", metavar="kind|label|KEY"
    )
    balance: str = option("", "Leave out rows of train so that these count alike.", metavar="kind|label|cluster|KEY")
    most: int = option(
        0, "Rows of each in train at most; 0: as many as leave an evenness of 0.9, or half of the rows.", low=0
    )
    seed: int = option(0, "Seed of the draw.")

    def __post_init__(self) -> None:
        if self.kinds == "cluster":
            raise InputError(
                "clusters change with every row", remedy="--kinds kind, or a key of the rows", code="kinds"
            )
        if self.most and not self.balance:
            raise InputError("--most says how many, but not of what", remedy="--balance kind", code="half-a-pair")

    @property
    def plan(self) -> SplitPlan:
        try:
            numbers = [float(part) for part in self.shares.split(",")]
            given: dict[Split, float] = dict(zip(SPLITS, numbers, strict=len(numbers) != 2))
        except ValueError:
            raise InputError(
                f"--shares is {self.shares!r}", remedy="expected three numbers: --shares 0.8,0.1,0.1", code="shares"
            ) from None
        hold: float | list[str]
        try:
            hold = float(self.hold_kinds or 0)
        except ValueError:
            hold = [name.strip() for name in self.hold_kinds.split(",") if name.strip()]
        if isinstance(hold, float) and not 0 <= hold < 1:
            raise InputError(
                f"--hold-kinds is {self.hold_kinds}", remedy="expected a share below 1, or names: --hold-kinds 0.2",
                code="shares",
            )  # fmt: skip
        shares = {name: share for name, share in given.items() if share}
        return SplitPlan(
            shares, self.seed, self.near or None, self.by or ORIGINS, hold, self.kinds, self.balance, self.most
        )
