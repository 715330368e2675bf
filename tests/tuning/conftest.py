"""A random two-layer llama as a GGUF file, with a byte-level tokenizer and a chat template of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rung.core.types import Message
from rung.tuning.batches import Chat, TokenRow, encode
from rung.tuning.compute.session import Session, open_session
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import Base, unpack

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADS, KEY_HEADS, WIDTH, INNER, LAYERS = 4, 2, 64, 96, 2


def write_gguf(path: Path, *, seed: int = 0, template: str = CHATML, merges: Sequence[str] = ("t h", "h e")) -> Path:
    import gguf
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, *(merge.replace(" ", "") for merge in merges)]
    draw = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(list(merges))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    head = WIDTH // HEADS
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        name = f"blk.{layer}"
        shapes |= {
            f"{name}.attn_norm": (WIDTH,),
            f"{name}.ffn_norm": (WIDTH,),
            f"{name}.attn_q": (WIDTH, WIDTH),
            f"{name}.attn_k": (KEY_HEADS * head, WIDTH),
            f"{name}.attn_v": (KEY_HEADS * head, WIDTH),
            f"{name}.attn_output": (WIDTH, WIDTH),
            f"{name}.ffn_gate": (INNER, WIDTH),
            f"{name}.ffn_up": (INNER, WIDTH),
            f"{name}.ffn_down": (WIDTH, INNER),
        }
    for tensor, shape in shapes.items():
        one = len(shape) == 1
        data = np.ones(shape, np.float32) if one else draw.normal(0, 0.15, shape).astype(np.float32)
        writer.add_tensor(f"{tensor}.weight", data if one else data.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("tiny")
    return unpack(write_gguf(folder / "tiny.gguf"), folder / "cache")


@pytest.fixture(scope="session")
def chat(tiny: Base) -> Chat:
    return Chat(tiny)


Conversations = list[tuple[str, Sequence[Message]]]

TEXTS = (
    ("red", "the sky at night, far from the town"),
    ("blue", "the sea"),
    ("green", "grass after some rain, in the morning"),
    ("red", "a fire engine"),
    ("blue", "the sky"),
    ("green", "a frog on a leaf of another green"),
    ("red", "a rose"),
    ("blue", "ice in deep shade"),
)


@pytest.fixture(scope="session")
def conversations() -> Conversations:
    said = Message("system", "Name the colour.")
    return [
        (f"row{index}", (said, Message("user", text), Message("assistant", label)))
        for index, (label, text) in enumerate(TEXTS)
    ]


@pytest.fixture(scope="session")
def rows(chat: Chat, conversations: Conversations) -> list[TokenRow]:
    return encode(chat, conversations)[0]


RECIPE = Recipe(rank=4, alpha=8, rate=5e-3, epochs=3, batch=4, tokens=512, precision="fp32", patience=0, upper=1.0)


@pytest.fixture
def session(tiny: Base) -> Session:
    return open_session(tiny, RECIPE)
