"""Holds drafts of held-out PTB-XL records against the rules for drafts: what must never be written, and what must be.

    python scripts/measure_drafts.py PTBXL [--fold 9] [--cache DIR] [--limit 500] [--pages] [--show 10]

Each record is asked as a recording (or, with --pages, as a drawn page with the recording's measurements) of the cases
of folds 1 to 8, its own patient left out. Prints a Markdown table; --show prints so many drafts beside statements.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ecgkin.generation.backends.consensus import ConsensusBackend
from ecgkin.generation.consensus.sections import SECTION_OF, SUPERCLASS_OF_SECTION
from ecgkin.generation.consensus.thresholds import FLOOR, shipped_thresholds
from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.measures.flags import FlagCode
from ecgkin.generation.research.drafts.arms import Setting, search_result
from ecgkin.generation.research.retrieval.galleries import PRIMARY, Embedder
from ecgkin.generation.research.retrieval.ranking import nearest_others
from ecgkin.generation.types.draft import Draft
from ecgkin.generation.types.task import Task
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.ecg.statements.infarction import stage_of_report, stage_of_stadium
from ecgkin.retrieval.encoders import load_encoder
from ecgkin.retrieval.encoders.witness import shipped_head
from ecgkin.retrieval.search.search import shipped_calibration

ACUTE_WORDS = (
    "st elevation", "acute", "recent", "injury", "st depression", "st deviation", "infarction, its age not shown",
)  # fmt: skip
# Flags of ST, T or of Q with T inverted.
OF_ISCHAEMIA = frozenset(
    str(code)
    for code in (
        FlagCode.ST_ELEVATION, FlagCode.SGARBOSSA, FlagCode.POSTERIOR, FlagCode.AVR_ELEVATION, FlagCode.ST_DEPRESSION,
        FlagCode.RECENT_INFARCTION, FlagCode.T_INVERSION, FlagCode.WELLENS, FlagCode.PEAKED_T, FlagCode.BRUGADA,
    )
)  # fmt: skip
OLD = re.compile(r"\bold (?:\w+ )?(?:myocardial )?infarct")  # "do not hold" is no age
VEILED = ("PACE", "CLBBB", "WPW")
SHOWN = 10


def drafts(
    root: Path, fold: int, cache: Path | None, limit: int | None, pages: bool
) -> Iterator[tuple[PtbXlRow, Measurements, Draft, dict[str, PtbXlRow]]]:
    """Each record with its measurements, its draft, and the cases that the draft may cite."""
    data, encoder = PtbXl(root), load_encoder("default")
    queries, gallery = data.select([fold]), data.select(set(range(1, 9)) - {fold})
    if limit is not None:
        queries = queries[:limit]
    embedder = Embedder(data, encoder, cache)
    asked = embedder.queries(queries, PRIMARY) if pages else embedder.gallery(queries)
    calibration, head = shipped_calibration(encoder), shipped_head(encoder)
    setting = Setting(gallery, calibration, shipped_thresholds(encoder))
    found = nearest_others(asked, embedder.gallery(gallery), setting.depth, queries, gallery)
    said = head.of_vectors(asked) if head is not None else None
    for i, row in enumerate(queries):
        hits = [(gallery[r], float(s)) for r, s in zip(found.rows[i], found.scores[i], strict=True) if r >= 0]
        result = search_result(hits, setting, said.of(i) if said is not None else {})
        measured = measure(data.record(row))
        shown = tuple(hit.case.case_id for hit in result.hits[:SHOWN])
        draft = ConsensusBackend().draft(Task(None, result, measured, None, 3, "en", shown), setting.how)
        yield row, measured, draft, {f"ptbxl/{case.ecg_id}": case for case, _ in hits}


def negatives(draft: Draft) -> list[tuple[str, tuple[str, ...]]]:
    """Sections that a draft calls free of findings, and the cases cited for that."""
    return [
        (s.section, s.citations)
        for s in draft.sentences
        if s.probability is not None and not s.statements and s.section in SUPERCLASS_OF_SECTION
    ]


def contradicted(section: str, cited: PtbXlRow) -> bool:
    """Whether a case that is cited for a negative has a finding of the section, in its codes or in words."""
    words = {f.code for f in find_statements(cited.report) if f.polarity != "absent"}
    return any(SECTION_OF[code] == section for code in set(cited.labels) | words if code in SECTION_OF)


def main() -> None:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("--fold", type=int, default=9)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--show", type=int, default=0)
    words = parser.parse_args()
    n: Counter[str] = Counter()
    hit: Counter[str] = Counter()

    def count(name: str, yes: bool) -> None:
        n[name] += 1
        hit[name] += yes

    shown = 0
    for row, measured, draft, cases in drafts(words.ptbxl, words.fold, words.cache, words.limit, words.pages):
        silent = negatives(draft)
        for code in VEILED:
            if code in row.labels:
                denied = any(section in ("st_t", "infarction") for section, _ in silent)
                count(f"{code}: 'no ST-T abnormality' or 'no infarction'", denied)
        for section, cited in silent:
            count("negatives that a cited case contradicts", any(contradicted(section, cases[c]) for c in cited))
        conclusion = " ".join(s.text for s in draft.sentences if s.section == "conclusion")
        if measured.qtc_ms is not None and measured.qtc_ms > 500:
            count("QTc above 500 ms concluded", "QTc" in conclusion)
        acute = stage_of_stadium(row.infarction_stages) or stage_of_report(row.report)
        if acute in ("acute", "recent"):
            text = draft.text.lower()
            said = any(word in text for word in ACUTE_WORDS)
            count("acute or recent by table or report: said", said)
            flagged = any(flag.code in OF_ISCHAEMIA for flag in draft.flags)
            count("acute or recent by table or report: said or flagged", said or flagged)
            count("acute or recent: called normal", "NORM" in draft.codes())
            count("acute or recent: called old", bool(OLD.search(text)))
        for item in draft.statements:
            if item.polarity != "absent" and item.probability is not None:
                count("stated below 15 %", item.probability < FLOOR)
        for sentence in draft.sentences:
            if sentence.text.startswith("Probable") and sentence.probability is not None:
                count("'probable' below 60 %", sentence.probability < 0.6)
        for item in draft.statements:
            if item.polarity != "absent":
                for case in item.citations:
                    count("citations whose case lacks the statement", case not in item.supported_by)
        if shown < words.show:
            shown += 1
            print(f"\n{row.ecg_id} {' '.join(row.labels)}\n{draft.text}")
    kind = "drawn pages" if words.pages else "recordings"
    print(f"\nPTB-XL fold {words.fold}, {kind}\n\n| rule | n | of |\n|---|---|---|")
    for name in sorted(n):
        print(f"| {name} | {hit[name]} | {n[name]} |")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
