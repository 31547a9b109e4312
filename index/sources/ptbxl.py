"""Cases from a PTB-XL folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.index.case import Case
from ecgkin.index.sources.items import IngestItem, file_content
from ecgkin.retrieval.ecg.statements.infarction import stage_of_stadium
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.errors import QueryError

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow


def meta_of(row: PtbXlRow, root: Path) -> dict[str, Any]:
    """What else the table says: fold, device, file, and of an infarction its stage ("acute", "recent", "old").

    Args:
        row: The line.
        root: Of the data set.
    """
    meta = {"fold": row.fold, "device": row.device, "file": row.path.relative_to(root).as_posix()}
    stage = stage_of_stadium(row.infarction_stages)
    return {**meta, "infarction_stage": stage} if stage else meta


def ptbxl_items(root: str | Path, folds: Collection[int] | None = None) -> list[IngestItem]:
    """The records of a PTB-XL folder (official layout, complete or in part), as cases "ptbxl/<ecg_id>".

    Args:
        root: The folder.
        folds: Only these, 1 to 10; None for all.

    Returns:
        One item a line of the table.

    Raises:
        RecordError: It is no PTB-XL folder.
        QueryError: There is no such fold, or no record in those that are asked for.
    """
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl

    wrong = [fold for fold in folds or () if not 1 <= fold <= 10]
    if wrong:
        raise QueryError(f"fold is {wrong[0]} (expected 1 to 10)")
    data = PtbXl(root)

    def item(row: PtbXlRow) -> IngestItem:
        case = Case(
            case_id=f"ptbxl/{row.ecg_id}",
            patient_id=row.patient_id or None,
            source="ptbxl",
            age_years=row.age_years,
            sex=row.sex,
            recorded_at=row.recording_date or None,
            labels=row.labels,
            report=row.report,
            language=report_language(row.report) or None,
            meta=meta_of(row, data.root),
        )
        # The number counts as content: every line of the table is a case, even if two should hold the same samples.
        return IngestItem(
            case,
            load=lambda: data.record(row),
            content=lambda: file_content(row.path.with_name(row.path.name + ".hea"), salt=str(row.ecg_id)),
            name=str(row.path),
        )

    rows = data.rows if folds is None else data.select(folds)
    if not rows:
        raise QueryError(f"{root} holds no record of folds {sorted(folds or ())}")
    return [item(row) for row in rows]
