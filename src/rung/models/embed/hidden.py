"""A language model's own states as vectors of texts: any encoder or decoder that Hugging Face transformers reads.

``hf:FOLDER`` (or ``hf:owner/name``, pulled before); ``st:FOLDER``, a sentence-transformers folder, whose pooling,
length and prompt are honoured; ``llm``, the embedded language model (``llm:NAME`` another local one: FILE.gguf, a
folder). ``pooling`` is mean, max, cls, last or sif (pooling.py); an ``st`` folder says its own. Texts are cut at
``length`` tokens.

Texts of similar length share a batch, padded on the right and masked. One call is computed at a time.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.models import hub
from rung.models.adapters.weights import read
from rung.models.embed import Spec, unit
from rung.models.embed.pooling import KINDS, Sif, fit_sif, pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXTRA = "transformers"
BATCH_TOKENS = 4096
"""Padded tokens of one batch at most."""


@dataclass(frozen=True)
class HiddenOptions:
    """How states become a vector. ``length`` is in tokens, 0: as long as the model takes, but at most 512. ``prompt``
    is put before each text. ``layer`` counts from the end: -1 is the last."""

    pooling: str = "mean"
    length: int = 0
    prompt: str = ""
    layer: int = -1
    fitted: str = ""


class HiddenEmbedder:
    """Pooled states of a transformers model, scaled to unit length. Loads on first use."""

    def __init__(self, name: str, path: Path, plan: HiddenOptions) -> None:
        self.name = name
        self.path = path
        self.plan = plan
        self._files = _files(path)
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, int] | None = None
        self._sif = Sif.load(Path(plan.fitted).expanduser()) if plan.fitted else None

    @property
    def fingerprint(self) -> str:
        version = require("transformers", EXTRA, f"the embedder {self.name}").__version__
        fitted = file_hash(Path(self.plan.fitted).expanduser()) if self.plan.fitted else ""
        files = {file.name: file_hash(file) for file in self._files}
        plan = [self.plan.pooling, self.plan.length, self.plan.prompt, self.plan.layer, fitted]
        # Until its tokenizer split digits as the file says, a GGUF gave other vectors: they must not be mixed with
        # these.
        return digest(["hidden", version, files, plan, *(["digits"] if self.path.is_file() else [])])

    @property
    def dimensions(self) -> int:
        if self._loaded is None and self.path.is_dir():
            config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            size = config.get("hidden_size") or config.get("dim") or config.get("n_embd") or config.get("d_model")
            if isinstance(size, int):
                return size
        return int(self._load()[0].config.hidden_size)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, rows of unit length. A text without tokens gets the
        vector of equal components."""
        if self.plan.pooling == "sif" and self._sif is None:
            raise InputError(
                f"{self.name} is not fitted yet: SIF needs the token frequencies of a corpus",
                remedy=f"type: rung vectors fit '{self.name}' FILE --to sif.npz",
            )
        rows = self._rows(texts, self._sif)
        return unit(rows if self._sif is None else self._sif.remove(rows))

    def tokens(self, text: str) -> list[str]:
        """The text's tokens as the tokenizer spells them."""
        _, tokenizer, length = self._load()
        return [str(token) for token in tokenizer.convert_ids_to_tokens(self._ids([text], tokenizer, length)[0])]

    def fit(self, texts: Sequence[str]) -> Sif:
        """What SIF must know of a corpus of such texts."""
        return fit_sif(texts, self.tokens, lambda sif: self._rows(texts, sif))

    def _ids(self, texts: Sequence[str], tokenizer: Any, length: int) -> list[list[int]]:
        clean = [(self.plan.prompt + text).encode("utf-8", "replace").decode() for text in texts]
        return list(tokenizer(clean, truncation=True, max_length=length, verbose=False)["input_ids"]) if clean else []

    def _rows(self, texts: Sequence[str], sif: Sif | None) -> NDArray[np.float32]:
        """Pooled states, shape (len(texts), dimensions), not scaled."""
        import numpy as np

        torch = require("torch", EXTRA, f"the embedder {self.name}")
        out = np.zeros((len(texts), self.dimensions), np.float32)
        with self._lock:
            model, tokenizer, length = self._load()
            ids = self._ids(texts, tokenizer, length)
            pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
            for rows in _batches(ids):
                width = max(len(ids[row]) for row in rows)
                padded = np.full((len(rows), width), pad, np.int64)
                mask = np.zeros((len(rows), width), np.int64)
                for at, row in enumerate(rows):
                    padded[at, : len(ids[row])] = ids[row]
                    mask[at, : len(ids[row])] = 1
                with torch.inference_mode():
                    deep = self.plan.layer != -1
                    given = {"input_ids": torch.from_numpy(padded), "attention_mask": torch.from_numpy(mask)}
                    found = model(**{k: v.to(model.device) for k, v in given.items()}, output_hidden_states=deep)
                    states = found.hidden_states[self.plan.layer] if deep else found.last_hidden_state
                    states = states.float().cpu().numpy()
                for at, row in enumerate(rows):
                    weights = None
                    if sif is not None:
                        weights = sif.weights([str(t) for t in tokenizer.convert_ids_to_tokens(ids[row])])
                    out[row] = pool(states[at, : len(ids[row])], self.plan.pooling, weights)
        return out

    def _load(self) -> tuple[Any, Any, int]:
        if self._loaded is None:
            torch = require("torch", EXTRA, f"the embedder {self.name}")
            model, tokenizer = read(self.path, f"the embedder {self.name}", kind="AutoModel", dtype=torch.float32)
            tokenizer.padding_side = "right"
            if getattr(model.config, "is_encoder_decoder", False):
                model = model.get_encoder()
            model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
            longest = int(getattr(model.config, "max_position_embeddings", 0) or 512)
            self._loaded = model, tokenizer, self.plan.length or min(longest, 512)
        return self._loaded


class PackageEmbedder:
    """A sentence-transformers folder with more than an encoder and a pooling, through the package itself."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._model: Any = None
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        files = sorted(
            file for file in self.path.rglob("*") if file.suffix in (".json", ".txt", ".safetensors", ".model")
        )
        version = require("sentence_transformers", "sentences", f"the embedder {self.name}").__version__
        return digest(["sentence-transformers", version, {str(f.relative_to(self.path)): file_hash(f) for f in files}])

    @property
    def dimensions(self) -> int:
        return int(self._open().get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        model = self._open()
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        with self._lock:
            rows = model.encode(clean, convert_to_numpy=True, show_progress_bar=False)
        return unit(np.array(rows, np.float32))

    def _open(self) -> Any:
        with self._lock:
            if self._model is None:
                package = require("sentence_transformers", "sentences", f"the embedder {self.name}")
                self._model = package.SentenceTransformer(str(self.path), local_files_only=True)
            return self._model


def _batches(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows of similar length together; texts without tokens are left out."""
    order = sorted((row for row in range(len(ids)) if len(ids[row])), key=lambda row: len(ids[row]))
    out: list[list[int]] = []
    for row in order:
        if not out or (len(out[-1]) + 1) * len(ids[row]) > BATCH_TOKENS:
            out.append([])
        out[-1].append(row)
    return out


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not (path / "config.json").is_file():
        raise InputError(f"{path} holds no config.json", remedy="name a folder that save_pretrained wrote")
    files = sorted(file for pattern in ("*.safetensors", "*.json", "*.txt", "*.model") for file in path.glob(pattern))
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(
            f"{path} holds no *.safetensors weights (pickled weights are refused: loading them runs code)",
            remedy="save the model again with save_pretrained",
        )
    return files


def _folder(spec: Spec) -> Path:
    path = Path(spec.argument).expanduser()
    if not spec.argument or not path.is_dir():
        raise InputError(f"got {spec.name!r}: there is no folder {path}", remedy=f"write {spec.kind}:FOLDER")
    return path


def _plan(spec: Spec, pooling: str) -> HiddenOptions:
    options = spec.read({"pooling": pooling, "length": 0, "layer": -1, "prompt": "", "fitted": ""})
    chosen = spec.choose("pooling", options["pooling"], KINDS)
    if options["fitted"] and chosen != "sif":
        raise InputError(f"got {spec.name!r}: fitted= belongs to pooling=sif", remedy="add pooling=sif")
    return HiddenOptions(chosen, options["length"], options["prompt"], options["layer"], options["fitted"])


def open_hf(spec: Spec, settings: Settings) -> HiddenEmbedder:
    """``hf:FOLDER`` or ``hf:owner/name``. Raises InputError, FetchError for a model that was not pulled."""
    plan = _plan(spec, "mean")
    path = Path(spec.argument).expanduser()
    if not path.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", spec.argument):
        path = hub.locate(f"hf:{spec.argument}", settings.cache)
    return HiddenEmbedder(spec.name, path if path.is_dir() else _folder(spec), plan)


def open_llm(spec: Spec, settings: Settings) -> HiddenEmbedder:
    """``llm`` (the embedded model) or ``llm:NAME``. Raises InputError, FetchError when the weights are not there."""
    return HiddenEmbedder(spec.name, hub.locate(spec.argument or "smollm2-135m", settings.cache), _plan(spec, "mean"))


def open_st(spec: Spec, settings: Settings) -> HiddenEmbedder | PackageEmbedder:
    """``st:FOLDER`` as sentence-transformers saves one. The package is needed only where the folder has modules other
    than an encoder, one pooling and the scaling to unit length. Raises InputError."""
    folder = _folder(spec)
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        own = kinds[:2] == ["Transformer", "Pooling"] and kinds[2:] in ([], ["Normalize"])
        plan = _saved(folder, [str(module.get("path", "")) for module in modules]) if own else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"this is not a sentence-transformers folder: {error}", file=folder, remedy="try hf: with the same folder"
        ) from None
    if plan is None:
        spec.read({})
        require("sentence_transformers", "sentences", f"the embedder {spec.name}")
        return PackageEmbedder(spec.name, folder)
    options = spec.read({"length": plan[1]})
    where = folder / plan[3] if plan[3] else folder
    return HiddenEmbedder(spec.name, where, HiddenOptions(plan[0], options["length"], plan[2]))


_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean",  # another length of the same direction
    "pooling_mode_max_tokens": "max",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_NAMES = {"mean": "mean", "mean_sqrt_len_tokens": "mean", "max": "max", "cls": "cls", "lasttoken": "last"}


def _saved(folder: Path, paths: list[str]) -> tuple[str, int, str, str] | None:
    """Pooling, length, prompt and sub-folder that a saved model says, or None where the package must do it."""

    def read(path: Path) -> dict[str, Any]:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    pooling = read(folder / paths[1] / "config.json")
    modes = {_NAMES.get(str(pooling["pooling_mode"]))} if "pooling_mode" in pooling else set()
    modes |= {_MODES.get(key) for key, on in pooling.items() if key.startswith("pooling_mode_") and on is True}
    whole = read(folder / "config_sentence_transformers.json")
    prompt = str((whole.get("prompts") or {}).get(whole.get("default_prompt_name") or "", ""))
    (mode,) = modes if len(modes) == 1 else (None,)
    if mode is None or (prompt and pooling.get("include_prompt") is False) or not (folder / paths[0]).is_dir():
        return None
    encoder = read(folder / paths[0] / "sentence_bert_config.json")
    if encoder.get("do_lower_case"):
        return None
    return mode, int(encoder.get("max_seq_length") or 0), prompt, paths[0]
