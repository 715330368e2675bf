"""Export through the parity queue: the program is loaded from its new folder, with nothing left of the climb, and
scored."""

from __future__ import annotations

from pathlib import Path

from rung.core.parts.program import fingerprint
from rung.core.settings import Settings
from rung.ladder.export import Exported, export_program
from rung.ladder.history import read_results
from rung.ladder.records import RungRecord, RunRecord
from rung.metrics import load_metric
from rung.models import Pool
from rung.serving.endpoints.local import open_folder
from rung.serving.quality.parity import AGREEMENT, ParityTerms, ParityVerdict, check, refuse
from rung.store import Store


async def promote(
    store: Store,
    run: str,
    rung: str,
    folder: Path,
    settings: Settings,
    agreement: float | None = AGREEMENT,
) -> tuple[Exported, ParityVerdict | None]:
    """Export ``rung`` (empty: the recommended one) of ``run`` to ``folder``, where it answers as it did in the run.

    Every test example that the run has an answer for is asked again, past the journal, with models opened anew; the
    verdict is kept in the folder's parity.json. ``agreement`` None skips this and marks the program unverified.
    Raises ParityError (nothing is written then), or InputError as ``export_program`` does.
    """
    verdicts: list[ParityVerdict] = []

    async def verify(staged: Path, record: RunRecord, chosen: RungRecord) -> None:
        async with Pool(settings) as pool:
            name = record.metrics[0]
            original = await read_results(store, record, chosen.title, pool, [name], what="export")
            opened = open_folder(staged, pool)
            notes = []
            if fingerprint(opened.program) != chosen.program:
                notes.append("its fingerprint is not the run's: the model, engine or version is another one")
            if len(original) < chosen.planned:
                notes.append(
                    f"{chosen.planned - len(original)} of {chosen.planned} test items have no answer in the run"
                )
            verdict = await check(
                original,
                opened.program,
                load_metric(name, pool),
                ParityTerms("the exported program", AGREEMENT if agreement is None else agreement, tuple(notes)),
                concurrency=settings["concurrency"],
            )
            refuse(verdict)
            verdict.save(staged)
            verdicts.append(verdict)

    exported = await export_program(store, run, rung, folder, verify=None if agreement is None else verify)
    return exported, verdicts[0] if verdicts else None
