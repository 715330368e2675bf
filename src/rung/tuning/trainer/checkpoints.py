"""Checkpoints of a training: the last two states, whole, whatever kills the process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from rung.core.codec import decode, encode
from rung.core.errors import FitError
from rung.core.parts.program import file_hash
from rung.core.system.files import atomic_write, write_file

if TYPE_CHECKING:
    import torch


class Stepped(Protocol):
    """A state that says how far it is; a record of core.codec."""

    @property
    def step(self) -> int: ...


S = TypeVar("S", bound=Stepped)


class Checkpoints(Generic[S]):
    """Two last states of a training, records of class ``kind``, in a folder, each one file (safetensors) named in
    ``checkpoint.json`` with its SHA-256.

    Files are written under another name, flushed to disk and renamed: a reader sees a whole old state or a whole new
    one.
    """

    def __init__(self, folder: Path, key: str, kind: type[S]) -> None:
        self.folder, self._key, self._kind = folder, key, kind
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: S, tensors: dict[str, torch.Tensor]) -> None:
        """Write a state. Raises FitError when the disk refuses; the one before stays whole."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        name = f"step-{state.step:06d}.safetensors"
        known = [entry for entry in self._entries() if entry["file"] != name][:1]
        try:
            # Straight to the disk: a full fine-tuning's state is gigabytes.
            with atomic_write(self.folder / name) as part:
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, part)
                hashed = file_hash(part)
            entry = {"file": name, "sha256": hashed, "state": encode(state)}
            document = {"key": self._key, "checkpoints": [entry, *known]}
            write_file(self.folder / "checkpoint.json", json.dumps(document).encode())
        except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
            raise FitError(
                f"cannot write a checkpoint to {self.folder}: {getattr(error, 'strerror', None) or error}; the one before it is intact",
                remedy="free some disk space and run the same again to go on",
            ) from error
        keep = {name, *(entry["file"] for entry in known)}
        for path in self.folder.glob("step-*.safetensors"):
            if path.name not in keep:
                path.unlink(missing_ok=True)

    def restore(self, tensors: dict[str, torch.Tensor]) -> tuple[S, str]:
        """Fill ``tensors`` from the newest whole state. Returns it and, when something was damaged, a note that says
        so."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        note, entries = "", self._entries()
        if not entries and (self.folder / "checkpoint.json").exists():
            note = "checkpoint.json is damaged, so the training begins again"
        for entry in entries:
            try:
                if file_hash(self.folder / entry["file"]) != entry["sha256"]:
                    raise ValueError("its checksum does not match")
                loaded = load_file(self.folder / entry["file"])
                for name, tensor in tensors.items():
                    if loaded[name].shape != tensor.shape:
                        raise ValueError(f"{name} has another shape")
                for name, tensor in tensors.items():
                    tensor.copy_(loaded[name])
                return decode(self._kind, entry["state"]), note
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                note = f"checkpoint {entry['file']} is damaged ({error}), went back further"
        return self._kind(), note

    def _entries(self) -> list[dict[str, Any]]:
        path = self.folder / "checkpoint.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            key, entries = document["key"], list(document["checkpoints"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if key != self._key:
            raise FitError(
                f"{self.folder} holds a checkpoint of another training (other rows, recipe or base)",
                remedy=f"name a new folder, or delete {self.folder}",
            )
        return entries
