"""One compression: a model and what it should keep knowing, in; one smaller file, checked against what was computed,
out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rung.compression.calibration import Calibration, calibrate
from rung.compression.structure import remove
from rung.core.codec import decode, digest, encode
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system import memory
from rung.core.system.files import write_file
from rung.core.system.lock import file_lock
from rung.core.types import Progress, Usage
from rung.data.rows.lines import disk_errors
from rung.tuning.batches import Chat
from rung.tuning.checks.parity import ExportParity, Reference, demand
from rung.tuning.compute.precision import settle
from rung.tuning.trainer.loop import train
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.trainer.state import UNWATCHED, Trained, Watch
from rung.tuning.weights import Base
from rung.tuning.work import Lessons, bounded, encode_lessons

if TYPE_CHECKING:
    import torch

    from rung.compression.projection import Projection
    from rung.tuning.batches import TokenRow
    from rung.tuning.compute.rounding import Rounder
    from rung.tuning.compute.session import Session

Teaching = Literal["none", "labels", "teacher", "answers"]
KINDS: Mapping[int, Literal["f16", "q8", "q4"]] = {16: "f16", 8: "q8", 4: "q4"}


@dataclass(frozen=True, slots=True)
class Plan:
    """``bits`` of the file's matrices: 16, 8 or 4. ``weigh``: 4-bit blocks by what runs through them, else plainly.
    ``layers``, ``heads``, ``channels``: shares taken out. ``sparse``: a share of zeros, or 2:4. ``aware``: train on the
    4-bit grid. ``teach``: what training goes by behind the cut: the rows' answers (``labels``), what the uncut model
    says of each of their tokens (``teacher``), or what it answers itself (``answers``; Kim & Rush 2016,
    arXiv:1606.07947). ``tokens`` are read for calibration. The rest is the training's."""

    bits: int = 4
    weigh: bool = True
    layers: float = 0.0
    heads: float = 0.0
    channels: float = 0.0
    sparse: str = ""
    aware: bool = False
    teach: Teaching = "none"
    tokens: int = 4096
    steps: int = 40
    batch: int = 16
    rank: int = 16
    rate: float = 1e-3

    def validate(self) -> None:
        """Raise InputError for a plan that cannot be carried out, or that does nothing that it says."""
        from rung.compression.structure import share_of

        if self.bits not in KINDS:
            raise InputError(f"bits is {self.bits}", remedy="expected 16, 8 or 4", code="plan")
        if self.teach not in get_args(Teaching):
            raise InputError(
                f"teach is {self.teach!r}", remedy=f"expected one of {', '.join(get_args(Teaching))}", code="plan"
            )
        if self.aware and (self.bits != 4 or self.teach == "none" or self.sparse):
            raise InputError(
                "training on the grid is for 4 bits, dense, and learns from labels or a teacher",
                remedy="give --bits 4 --teach labels, and no --sparse",
                code="plan",
            )
        if self.sparse:
            share_of(self.sparse)


PLANS: Mapping[str, Plan] = {
    "f16": Plan(16),
    "int8": Plan(8),
    "int4": Plan(4),
    "int4-plain": Plan(4, weigh=False),
    "int4-aware": Plan(4, aware=True, teach="teacher"),
    "int4-control": Plan(4, teach="teacher"),
    "layers": Plan(8, layers=0.25, teach="teacher"),
    "heads": Plan(8, heads=0.34, teach="teacher"),
    "channels": Plan(8, channels=0.25, teach="teacher"),
    "unstructured": Plan(8, sparse="0.5", teach="teacher"),
    "two-four": Plan(8, sparse="2:4", teach="teacher"),
    "distillation": Plan(8, layers=0.5, teach="teacher"),
    "answers": Plan(8, layers=0.5, teach="answers"),
    "student": Plan(8, layers=0.5, teach="labels"),
}
"""Plans by the names that rungs and the command line use. ``student`` is what distillation is compared with,
``int4-control`` (as many steps in 16 bits, then rounded) what training on the grid is."""


@dataclass(frozen=True, slots=True)
class CompressionSource:
    """What is compressed: a base, and the adapter that lies over it, with its recipe (None: the base itself)."""

    base: Base
    adapter: Path | None = None
    recipe: Recipe = Recipe()


@dataclass(frozen=True, slots=True)
class Compressed:
    """A finished compression: ``file`` is a GGUF. ``kept`` says what is left of the structure, ``zeros`` the share of
    zeros in its matrices, ``calibration`` how many tokens were read, and ``rows`` their key."""

    file: str
    bits: int
    size: int
    kept: str = ""
    zeros: float = 0.0
    calibration: int = 0
    rows: str = ""
    trained: Trained | None = None
    parity: ExportParity | None = None
    notes: tuple[str, ...] = ()

    @property
    def usage(self) -> Usage:
        return Usage() if self.trained is None else self.trained.usage


def compress(
    source: CompressionSource, lessons: Lessons, plan: Plan, folder: Path, watch: Watch = UNWATCHED
) -> Compressed:
    """Do it, unless it is done: the same call again finds its file, or goes on with a training that was stopped.

    The file appears whole or not at all. Raises InputError for a plan or rows that cannot be used, ParityError when the
    file does not say what was computed, FitError as training does.
    """
    plan.validate()
    if source.base.gguf is None:
        raise InputError(
            f"{source.base.folder} is a Hugging Face folder, which the embedded engine cannot run",
            remedy="name a GGUF file, for example openvino:smollm2-135m",
        )
    with bounded():
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / ".lock", lambda _: time.sleep(0.5)):
            return _Compression(source, lessons, plan, folder, watch).run()


@dataclass
class _Compression:
    source: CompressionSource
    lessons: Lessons
    plan: Plan
    folder: Path
    watch: Watch
    chat: Chat = field(init=False)
    rows: list[TokenRow] = field(init=False)
    dev: list[TokenRow] = field(init=False)
    key: str = field(init=False)

    def run(self) -> Compressed:
        self.chat = Chat(self.source.base)
        self.rows, self.dev, _ = encode_lessons(self.chat, self.lessons)
        adapter = "" if self.source.adapter is None else file_hash(self.source.adapter / "adapter_model.safetensors")
        ids = [[row.ids, row.start] for row in (*self.rows, *self.dev)]
        self.key = digest([2, self.source.base.key, adapter, encode(self.source.recipe), encode(self.plan), ids])
        try:
            return self._done() or self._make()
        finally:
            remove(self.folder, ("base", "base.gguf", "teacher.gguf"))  # made again, should this go on

    def _done(self) -> Compressed | None:
        try:
            document = json.loads((self.folder / "compressed.json").read_text(encoding="utf-8"))
            done = decode(Compressed, document["compressed"])
            return done if document["key"] == self.key and file_hash(Path(done.file)) == document["hash"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _make(self) -> Compressed:
        from rung.tuning.compute import export, rounding

        plan, kind = self.plan, KINDS[self.plan.bits]
        self.watch.progress(Progress("read the model", 0, None))
        teacher = self._open()
        self.watch.progress(Progress("calibrate", 0, None))
        calibration = calibrate(teacher, self.rows, plan.tokens)
        weights = export.merge(teacher)
        base, student, kept = self._student(teacher, weights, calibration)
        project, grid = self._projection(weights, calibration)
        if plan.teach != "none" and student is teacher:
            student = self._open()
        if project is not None:
            from rung.compression.projection import constrain

            constrain(student, project)
        if plan.teach == "answers":
            self.rows = self._answered(weights)
        trained = self._train(student, teacher if plan.teach == "teacher" else None, base)
        final = export.merge(student)
        if project is not None:
            final = {name: project(name, tensor) for name, tensor in final.items()}
        rounder: Rounder = rounding.plain
        if grid:
            rounder = rounding.kept(grid)
        elif plan.bits == 4 and plan.weigh:
            fresh = (
                calibration.squares
                if trained is None and not kept
                else rounding.measure(student, rounding.some(self.rows, plan.tokens))
            )
            rounder = rounding.weighted(fresh)
        target = self.folder / f"compressed-{kind}.gguf"
        self.watch.progress(Progress("write", 0, None, target.name))
        export.save_gguf(final, base, target, kind, name=target.stem, rounder=rounder)
        found = self._compare(student, kind, target)
        zeros = _zeros(final, calibration.squares) if plan.sparse else 0.0
        done = Compressed(
            str(target),
            plan.bits,
            target.stat().st_size,
            kept,
            zeros,
            calibration.tokens,
            calibration.key,
            trained,
            found,
            self._notes(),
        )
        del teacher, student, weights, final
        memory.release()
        return self._keep(done, target)

    def _open(self) -> Session:
        """A session with what is compressed."""
        from rung.tuning.compute.export import load_adapter
        from rung.tuning.compute.session import open_session

        recipe = self.source.recipe if self.source.adapter else self._recipe
        session = open_session(self.source.base, settle(recipe))
        if self.source.adapter is not None:
            load_adapter(session, self.source.adapter)
        session.model.eval()
        return session

    @property
    def _recipe(self) -> Recipe:
        plan = self.plan
        return settle(
            Recipe(
                rank=plan.rank,
                alpha=2.0 * plan.rank,
                rate=plan.rate,
                batch=plan.batch,
                steps=plan.steps,
                epochs=1000,
                patience=3,
                interval=20,
            )
        )

    def _student(
        self, teacher: Session, weights: dict[str, torch.Tensor], calibration: Calibration
    ) -> tuple[Base, Session, str]:
        """What is trained and written: the model itself, or what a cut leaves of it as a base of its own; and what that
        is."""
        from rung.compression import structure
        from rung.tuning.compute.session import open_session

        plan, base = self.plan, self.source.base
        cut = structure.Cut(plan.layers, plan.heads, plan.channels)
        if not cut:
            return base, teacher, ""
        config = teacher.causal.config
        kept = structure.choose(cut, weights, config, calibration)
        self.watch.progress(Progress("cut", 0, None, str(kept)))
        smaller = structure.write_base(
            structure.cut(weights, config, kept), base, structure.sizes(config, kept), self.folder
        )
        return smaller, open_session(smaller, self._recipe), str(kept)

    def _projection(
        self, weights: dict[str, torch.Tensor], calibration: Calibration
    ) -> tuple[Projection | None, dict[str, Any]]:
        """What merged weights are held to, and the scales of a grid."""
        from rung.compression import projection, structure
        from rung.tuning.compute import rounding

        if self.plan.sparse:
            return projection.masked(structure.masks(weights, calibration.squares, self.plan.sparse)), {}
        if not self.plan.aware:
            return None, {}
        grid = {
            name: rounding.four_bits(weights[name].numpy(), seen)[1]
            for name, seen in calibration.squares.items()
            if weights[name].shape[1] % rounding.BLOCK == 0
        }
        return projection.on_grid(grid), grid

    def _answered(self, weights: dict[str, torch.Tensor]) -> list[TokenRow]:
        """The training rows with the uncut model's own answers."""
        from rung.compression.distillation import answered
        from rung.tuning.compute import export

        file = self.source.base.gguf
        assert file is not None
        self.watch.progress(Progress("answers", 0, None, "of the uncut model"))
        if self.source.adapter is not None:
            file = self.folder / "teacher.gguf"
            export.save_gguf(weights, self.source.base, file, "f16", name="teacher")
        return encode_lessons(self.chat, answered(file, self.lessons, Settings()))[0]

    def _train(self, student: Session, teacher: Session | None, base: Base) -> Trained | None:
        if self.plan.teach == "none":
            return None
        from rung.compression.distillation import following

        if teacher is not None:
            student.criterion = following(teacher)
        recipe = self._recipe
        if base is self.source.base and self.source.adapter is not None:  # its adapter is trained on
            own = self.source.recipe
            recipe = settle(
                replace(own, steps=recipe.steps, epochs=recipe.epochs, batch=recipe.batch, rate=self.plan.rate / 4)
            )
        student.base = replace(student.base, key=digest([base.key, self.key]))
        place = self.folder / "training"
        place.mkdir(exist_ok=True)
        try:
            return train(student, self.rows, self.dev, recipe, place, self.watch)
        finally:
            student.criterion = None
            student.base = base

    def _compare(self, student: Session, kind: str, target: Path) -> ExportParity:
        """The parity gate: what the file says beside what was computed."""
        self.watch.progress(Progress("parity", 0, 1, "computing what the file must say"))
        found = Reference(student, self.chat, "lora", self.lessons).check(kind, target, Settings())
        demand({target: found})
        return found

    def _notes(self) -> tuple[str, ...]:
        name = quantized(self.source.base)
        return (f"the model that was read has {name} blocks itself: compared is with what those say",) if name else ()

    def _keep(self, done: Compressed, target: Path) -> Compressed:
        """Write the record, and remove what only the training needed."""
        document = {"key": self.key, "hash": file_hash(target), "plan": encode(self.plan), "compressed": encode(done)}
        write_file(self.folder / "compressed.json", json.dumps(document, indent=1).encode())
        remove(self.folder, ("training",))
        return done


def quantized(base: Base) -> str:
    """The kind of blocks of a GGUF whose matrices have been rounded already, or nothing."""
    from collections import Counter

    import gguf

    from rung.models.engine.files.gguf import layout

    if base.gguf is None:
        return ""
    kinds = Counter(tensor.kind for tensor in layout(base.gguf)[1] if len(tensor.shape) > 1)
    name = gguf.GGMLQuantizationType(kinds.most_common(1)[0][0]).name
    return "" if name in ("F32", "F16", "BF16") else str(name)


def _zeros(weights: Mapping[str, torch.Tensor], names: Mapping[str, Any]) -> float:
    counts = [(int((weights[name] == 0).sum()), int(weights[name].numel())) for name in names]
    return sum(zeros for zeros, _ in counts) / sum(count for _, count in counts)


def find_source(name: str, cache: Path) -> CompressionSource:
    """The source behind a model's name. Raises as ``find_base`` does."""
    from rung.tuning.weights import find_base

    return CompressionSource(find_base(name, cache))
