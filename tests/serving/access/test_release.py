from __future__ import annotations

from pathlib import Path

import pytest

from rung.alignment.values.release import approve, read_guidelines
from rung.core.errors import InputError
from rung.serving.access.release import mark_stale, refuse_stale, refuse_unapproved
from rung.store import Store, open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "weights"
    made.mkdir()
    (made / "adapter_model.safetensors").write_bytes(b"weights")
    (made / "release.yaml").write_text("approvals: 1\nauthors: [ada]\n")
    return made


def test_only_what_was_approved_as_it_is_may_be_served(folder: Path, tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:

        def ask(guidelines: Path | None = None) -> str:
            try:
                refuse_unapproved([folder], guidelines, lambda: store)
            except InputError as error:
                return error.code
            return ""

        assert ask() == "unapproved"
        approve(read_guidelines(folder / "release.yaml"), folder, store, "grace", "measured")
        assert ask() == ""
        stricter = tmp_path / "two.yaml"
        stricter.write_text("approvals: 2\n")
        assert ask(stricter) == "unapproved"
        (folder / "adapter_model.safetensors").write_bytes(b"other weights")
        assert ask() == "unapproved"
        (folder / "release.yaml").unlink()
        assert ask() == ""
        (tmp_path / "release.yaml").write_text("approvals: 1\n")
        assert ask() == ""
        (tmp_path / "lineage.json").write_text("{}")  # the folder is the program of a cycle's version
        assert ask() == "unapproved"


def test_what_was_trained_on_erased_rows_is_refused(folder: Path) -> None:
    refuse_stale([folder])
    mark_stale(folder, 3)
    with pytest.raises(InputError) as caught:
        refuse_stale([folder])
    assert caught.value.code == "stale"
    (folder / "stale.json").write_text("{")  # a damaged mark is a mark
    with pytest.raises(InputError):
        refuse_stale([folder])


def _store() -> Store:
    raise AssertionError("the ledger is asked for nothing")


def test_a_folder_without_guidelines_asks_nobody(tmp_path: Path) -> None:
    refuse_unapproved([tmp_path], None, _store)
