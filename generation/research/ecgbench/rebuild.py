"""ECGBench's PTB-XL parts made again from PTB-XL: superclasses and reports, in the published file layout.

The published sets name their records only in files that are not at hand; these are the records of the folds asked for.
The prompt of ptb-test was never published in a paper: ours is the one of cpsc-test with PTB-XL's classes in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from ecgkin.generation.research.ecgbench.bench import REPORT
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.statements.catalogue import SUPERCLASS_NAMES, SUPERCLASSES, superclasses
from ecgkin.retrieval.ecg.statements.report_text import has_findings, report_language
from ecgkin.retrieval.errors import QueryError

SUPER = "ptb-test"
PROMPT = (
    "You are provided with an ECG signal image. Please classify the ECG image into the following diagnostic statement "
    "classes:\n{classes}\nDirectly output the class name and separate with a semicolon."
)
REPORT_PROMPT = "Write a diagnostic report for this ECG image."
_SEED = 500


def rebuild(
    data: PtbXl,
    folder: Path,
    *,
    split: str = SUPER,
    folds: Collection[int] = (9,),
    limit: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Write SPLIT.json and its drawn pages.

    Args:
        data: PTB-XL.
        folder: For the file and `images`.
        split: "ptb-test" (records with a superclass) or "ptb-test-report" (records with an English report that says
            something: the published references are in English, and ours are not translated).
        folds: Of the test; 9 for choices, 10 for the figure.
        limit: At most this many, drawn with a fixed seed.
        progress: Called with (what, done, total).

    Returns:
        The JSON file of the set.

    Raises:
        QueryError: Another split, or no records.
    """
    if split not in (SUPER, REPORT):
        raise QueryError(f"split is {split!r} (expected {SUPER} or {REPORT})")
    rows = [row for row in data.select(folds) if (_super(row) if split == SUPER else _english(row))]
    if not rows:
        raise QueryError(f"{data.root} holds no record of folds {sorted(folds)} for {split}")
    if limit is not None and limit < len(rows):
        rows = [rows[i] for i in sorted(np.random.default_rng(_SEED).choice(len(rows), limit, replace=False).tolist())]
    from ecgkin.generation.prompt.pages import draw_page

    classes = ", ".join(f"{code}({SUPERCLASS_NAMES[code][0]})" for code in SUPERCLASSES)
    out = []
    for i, row in enumerate(rows):
        name = f"ptb-xl/{row.ecg_id:05d}_hr-0.png"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            draw_page(data.record(row)).save(path)
        prompt = PROMPT.format(classes=classes) if split == SUPER else REPORT_PROMPT
        gold = "; ".join(superclasses(row.labels)) if split == SUPER else row.report.strip()
        turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": gold}]
        out.append({"id": f"ptb-xl-{row.ecg_id:05d}", "image": name, "conversations": turns})
        if progress is not None:
            progress(f"pages of {split}", i + 1, len(rows))
    file = folder / f"{split}.json"
    file.write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    return file


def _super(row: PtbXlRow) -> bool:
    return bool(superclasses(row.labels))


def _english(row: PtbXlRow) -> bool:
    return has_findings(row.report) and report_language(row.report) == "en"
