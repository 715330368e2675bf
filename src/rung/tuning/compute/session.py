"""A base laid out for training by one method: whatever is trained lies in one float32 vector, its gradient in
another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.models.adapters import adapters
from rung.tuning.batches import MicroBatch, TokenRow
from rung.tuning.compute.lower import CachedOutputs, only
from rung.tuning.compute.precision import settle
from rung.tuning.trainer.recipe import Method, Recipe
from rung.tuning.weights import Base, load_torch, open_base, quiet

if TYPE_CHECKING:
    import torch

TASK = "default"
"""Name of the one module that a bottleneck training trains."""

Named = list[tuple[str, Any]]


@dataclass
class Session:
    """``model`` is what training switches on and off, ``causal`` the language model inside it. ``names`` are the
    trained parameters and their shapes in the order in which they lie in ``vector``. ``copies`` are the parameters that
    are computed in another type than float32 and so filled from the vector after each step. ``virtual`` tokens stand
    before every row. The first ``frozen`` layers hold nothing that is trained; ``kept`` has their outputs. ``stop``,
    once set, ends any computing within a layer: ``kernels.Stopped``. ``criterion`` is what training takes in the place
    of ``losses``; ``pushed`` is called when the trained values have changed."""

    base: Base
    model: Any
    causal: Any
    vector: torch.Tensor
    grad: torch.Tensor
    names: list[tuple[str, tuple[int, ...]]]
    method: Method = "lora"
    virtual: int = 0
    copies: list[tuple[Any, torch.Tensor]] = field(default_factory=list)
    device: Any = field(repr=False, default=None)
    frozen: int = 0
    kept: CachedOutputs = field(default_factory=CachedOutputs, repr=False)
    stop: threading.Event | None = field(default=None, repr=False)
    criterion: Callable[[Session, MicroBatch], torch.Tensor] | None = field(default=None, repr=False)
    pushed: Callable[[], None] | None = field(default=None, repr=False)

    def push(self) -> None:
        """Bring the computed parameters up to the vector."""
        for part, view in self.copies:
            part.data.copy_(view)
        if self.pushed is not None:
            self.pushed()

    def set(self, vector: torch.Tensor) -> None:
        """Take other values for what is trained."""
        self.vector.copy_(vector)
        self.push()

    def named(self) -> dict[str, torch.Tensor]:
        """Trained values by parameter name: views of the vector."""
        out, offset = {}, 0
        for name, shape in self.names:
            size = 1
            for length in shape:
                size *= length
            out[name] = self.vector[offset : offset + size].view(shape)
            offset += size
        return out

    def front(self, rows: Sequence[TokenRow]) -> list[TokenRow]:
        """The rows with the method's virtual tokens before them: ids behind the vocabulary, never predicted."""
        if not self.virtual:
            return list(rows)
        low = int(self.causal.config.vocab_size)
        ids, blank = tuple(range(low, low + self.virtual)), (False,) * self.virtual
        return [replace(row, ids=ids + row.ids, trained=blank + row.trained) for row in rows]

    def keep(self, rows: Sequence[TokenRow], tokens: int, done: Callable[[int], None]) -> None:
        """Compute what the frozen layers put out for ``rows`` before training on them; ``done`` is told how many rows
        are."""
        if self.frozen:
            self.kept.fill(rows, tokens, lambda batch: below(self, batch), done)

    @contextmanager
    def computed_in(self, dtype: torch.dtype) -> Iterator[None]:
        """Compute in another type for a while: what was trained without the rounding of training, or with that of
        others."""
        held, kept = [(part, part.data) for part in self.causal.parameters()], self.kept
        full = {id(part): view for part, view in self.copies}
        self.kept = CachedOutputs()
        try:
            for part, data in held:
                if (
                    not part.requires_grad or id(part) in full
                ):  # adapters are float32, and computed in the type around them
                    part.data = full.get(id(part), data).to(dtype)
            yield
        finally:
            for part, data in held:
                part.data = data
            self.kept = kept


def open_session(base: Base, recipe: Recipe, *, device: str = "cpu") -> Session:
    """Load the base and make ready what ``recipe.method`` trains, seeded.

    Raises InputError naming the modules there are when none of ``recipe.targets`` is among them, or when the base is of
    a kind that the method cannot work on.
    """
    torch = load_torch()
    from rung.tuning.compute import kernels

    recipe.validate()
    recipe = settle(recipe)
    causal = open_base(base, torch.bfloat16 if recipe.precision == "bf16" else torch.float32).to(device)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model, trained = OPENERS[recipe.method](causal, recipe)
    kernels.slim(causal)
    if recipe.checkpointing:
        causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        causal.enable_input_require_grads()
    session = lay_out((model, causal), base, trained, recipe, device)
    session.frozen = lowest(causal, recipe)
    return session


def lowest(causal: Any, recipe: Recipe) -> int:
    """The first layer that is adapted: below it everything is frozen."""
    if recipe.share == 1:
        return 0
    layers = len(adapters.layers_of(causal))
    return layers - max(1, round(layers * recipe.share))


def lay_out(models: tuple[Any, Any], base: Base, trained: Named, recipe: Recipe, device: str = "cpu") -> Session:
    """Put the trained parameters into one vector, and have every backward pass add to one gradient. ``models``: what
    training switches, and the language model in it."""
    import torch

    model, causal = models
    size = sum(part.numel() for _, part in trained)
    vector, grad = torch.empty(size, device=device), torch.zeros(size, device=device)
    copies, offset = [], 0
    for _, part in trained:
        view = vector[offset : offset + part.numel()].view(part.shape)
        slot = grad[offset : offset + part.numel()].view(part.shape)
        view.copy_(part.data)
        if part.dtype == torch.float32:
            part.data, part.grad = view, slot
        else:
            copies.append((part, view))
            part.register_post_accumulate_grad_hook(_collector(slot))
        offset += part.numel()
    names = [(name, tuple(part.shape)) for name, part in trained]
    return Session(base, model, causal, vector, grad, names, recipe.method, recipe.wanted, copies, torch.device(device))


def _collector(slot: torch.Tensor) -> Callable[[Any], None]:
    def collect(part: Any) -> None:
        slot.add_(part.grad)
        part.grad = None

    return collect


def losses(session: Session, batch: MicroBatch) -> torch.Tensor:
    """Cross-entropy of every trained token of the micro-batch: shape (trained,), float32, in the order of its
    targets."""
    import torch

    from rung.tuning.compute import kernels

    targets = torch.from_numpy(batch.targets).to(session.device)
    return kernels.Head.apply(states(session, batch), session.causal.get_output_embeddings().weight, targets, 256)


def states(session: Session, batch: MicroBatch) -> torch.Tensor:
    """The last hidden states that predict the trained tokens of the micro-batch: shape (trained, hidden)."""
    import torch

    if session.frozen:
        outputs = session.kept.take(batch)
        given = {"inputs_embeds": (below(session, batch) if outputs is None else outputs)[None]}
        with only(session.causal, session.frozen) as decoder:
            hidden = _decode(session, decoder, batch, given)
    else:
        hidden = _decode(session, session.causal.base_model, batch, _inputs(session, batch))
    picked: torch.Tensor = hidden.index_select(0, torch.from_numpy(batch.sources).to(session.device))
    return picked


def below(session: Session, batch: MicroBatch) -> torch.Tensor:
    """What the frozen layers put out for a micro-batch: shape (tokens, hidden)."""
    import torch

    with torch.no_grad(), only(session.causal, 0, session.frozen) as decoder:
        return _decode(session, decoder, batch, _inputs(session, batch))


def _inputs(session: Session, batch: MicroBatch) -> dict[str, Any]:
    import torch

    ids = torch.from_numpy(batch.ids).to(session.device)
    if not session.virtual:
        return {"input_ids": ids[None]}
    causal = session.causal
    words = causal.get_input_embeddings()(ids[session.virtual :])
    front = words.new_zeros(session.virtual, words.shape[1])
    if session.method == "prompt":
        front = causal.rung_virtual.to(words.dtype)
    return {"inputs_embeds": torch.cat([front, words])[None]}


def _decode(session: Session, decoder: Any, batch: MicroBatch, given: dict[str, Any]) -> torch.Tensor:
    import torch

    from rung.tuning.compute import kernels

    hidden: torch.Tensor = decoder(
        **given,
        position_ids=torch.from_numpy(batch.positions)[None].to(session.device),
        use_cache=False,
        layout=kernels.Attended.of(batch, session.device, session.stop),
    ).last_hidden_state[0]
    return hidden


# ------------------------------------------------------------ one opener a method: (what train() switches, trained
# parameters)


def _trainable(model: Any) -> Named:
    return [(name, part) for name, part in model.named_parameters() if part.requires_grad]


def _lora(causal: Any, recipe: Recipe) -> tuple[Any, Named]:
    import torch

    peft = require("peft", "tuning", "LoRA")
    linear = {name.rpartition(".")[2] for name, part in causal.named_modules() if isinstance(part, torch.nn.Linear)}
    linear.discard("lm_head")
    if unknown := sorted(set(recipe.targets) - linear):
        raise InputError(
            f"the base has no module {', '.join(unknown)} to adapt",
            remedy=f"choose targets among: {', '.join(sorted(linear))}",
        )
    model = peft.get_peft_model(causal, lora_config(recipe, causal))
    return model, _trainable(model)


def _qlora(causal: Any, recipe: Recipe) -> tuple[Any, Named]:
    """LoRA over packed matrices. Embeddings, head and norms stay as they are, as in the paper."""
    if recipe.dora:
        raise InputError(
            "qlora does not go with dora: the packed base is computed by a kernel of its own",
            remedy="set dora: false, or method: lora",
        )
    from rung.tuning.compute import kernels

    model, trained = _lora(causal, recipe)
    kernels.pack(causal, recipe.bits)
    return model, trained


def _full(causal: Any, recipe: Recipe) -> tuple[Any, Named]:
    causal.requires_grad_(True)
    return causal, _trainable(causal)


def _bottleneck(causal: Any, recipe: Recipe) -> tuple[Any, Named]:
    width = max(1, int(causal.config.hidden_size) // recipe.reduction)
    return causal, adapters.insert(causal, adapters.Modules({TASK: width}))


def _prompt(causal: Any, recipe: Recipe) -> tuple[Any, Named]:
    """Virtual tokens begin as embeddings of tokens drawn from the vocabulary (Lester et al., section 3.2)."""
    import torch

    table = causal.get_input_embeddings().weight
    drawn = torch.randint(table.shape[0], (recipe.virtual,))
    causal.rung_virtual = torch.nn.Parameter(table.detach()[drawn].float().clone())
    return causal, [("prompt_embeddings", causal.rung_virtual)]


def _prefix(causal: Any, recipe: Recipe) -> tuple[Any, Named]:
    """Keys and values of the virtual tokens in each layer begin as what the layer computes for drawn tokens, without
    which training is unsteady (Li & Liang, section 7.4)."""
    import torch

    config = causal.config
    heads = config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    drawn = torch.randint(config.vocab_size, (1, recipe.virtual), device=causal.device)
    held = config._attn_implementation
    causal.set_attn_implementation("sdpa")
    with torch.no_grad():
        cache = causal(input_ids=drawn, use_cache=True).past_key_values
    causal.set_attn_implementation(held)
    named: Named = []
    for index, layer in enumerate(adapters.layers_of(causal)):
        entry = cache.layers[index]
        both = torch.stack([entry.keys[0], entry.values[0]]).transpose(1, 2).float().contiguous()
        if both.shape != (2, recipe.virtual, heads, size):
            raise InputError("this base's key-value cache has a layout of its own", remedy="use method: lora")
        layer.self_attn.rung_prefix = torch.nn.Parameter(both)
        named.append((f"layers.{index}.prefix", layer.self_attn.rung_prefix))
    return causal, named


OPENERS: dict[Method, Callable[[Any, Recipe], tuple[Any, Named]]] = {
    "lora": _lora,
    "qlora": _qlora,
    "full": _full,
    "bottleneck": _bottleneck,
    "prompt": _prompt,
    "prefix": _prefix,
}


def lora_config(recipe: Recipe, causal: Any) -> Any:
    """The peft configuration of a recipe over a model."""
    peft = require("peft", "tuning", "LoRA")
    first = lowest(causal, recipe)
    return peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets),
        layers_to_transform=list(range(first, len(adapters.layers_of(causal)))) if first else None,
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        task_type="CAUSAL_LM",
    )
