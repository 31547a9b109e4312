"""Holds drafts of real pages against what their source calls them: what must not be called normal, what must be named.

    python scripts/measure_real_drafts.py SHARED BASE [--hits 3] [--texts FILE]

SHARED is the folder with `pages_real/manifest.csv`, whose labels are file names and folders; BASE a case base. Every
labelled page is read and drafted as a user's would be. Prints a Markdown table: a group of labels, its pages, those
without a draft, those called normal, those with a negative that the label contradicts, and those in which it is flagged
or named, of all pages and of those that have a draft or measurements. --texts writes every draft beside its label.
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import dataclass
from pathlib import Path

from ecgkin.generation import Drafter
from ecgkin.generation.consensus.sections import SUPERCLASS_OF_SECTION
from ecgkin.generation.measures.flags import FlagCode as F
from ecgkin.generation.types.draft import Draft
from ecgkin.retrieval import CaseSearch
from ecgkin.retrieval.errors import EcgkinError

INFARCTS = frozenset("IMI ASMI ILMI AMI ALMI LMI IPLMI IPMI PMI INJAS INJAL INJIN INJLA INJIL".split())
OF_INFARCTION = frozenset({F.ST_ELEVATION, F.SGARBOSSA, F.POSTERIOR, F.AVR_ELEVATION, F.RECENT_INFARCTION})
OF_ISCHAEMIA = OF_INFARCTION | {F.ST_DEPRESSION, F.T_INVERSION, F.WELLENS, F.PEAKED_T, F.BRUGADA}
ALL = frozenset({"conduction", "st_t", "infarction"})


@dataclass(frozen=True)
class Group:
    """Labels of one meaning.

    Attributes:
        name: Of the group.
        pattern: What a label of it matches.
        against: Sections that may not be called free of findings.
        flags: Of which one names it.
        codes: Statements of which one names it.
        danger: Whether a page of it may not be called normal.
    """

    name: str
    pattern: str
    against: frozenset[str]
    flags: frozenset[F]
    codes: frozenset[str]
    danger: bool = True


GROUPS = (
    Group("acute infarction, STEMI", r"acute myocardial|STEMI|acute inferior mi|reciprocal|infarction  (lad|rca)",
          frozenset({"st_t", "infarction"}), OF_ISCHAEMIA, INFARCTS),
    Group("infarction of a wall, evolved, old", r"wall MI|evolved MI|history of myocardial|old (inferior )?mi",
          frozenset({"infarction"}), OF_ISCHAEMIA | {F.Q_WAVES}, INFARCTS | {"QWAVE"}),
    Group("hyperkalaemia", r"yperk", frozenset({"st_t"}), OF_ISCHAEMIA | {F.WIDE_TACHYCARDIA, F.WIDE_RHYTHM, F.NO_QRS},
          frozenset({"EL"})),
    Group("AV block of second or third degree", r"mobitz|complete degree|omplete heart|^1 AV block",
          frozenset({"conduction"}), frozenset({F.HIGH_GRADE_BLOCK, F.SECOND_DEGREE_BLOCK, F.SLOW, F.PAUSE}),
          frozenset({"2AVB", "3AVB"})),
    Group("VT, VF, torsade", r"\bVT\b|^VF|(?<!upra)ventricular (fib|tach)|TdP", ALL,
          frozenset({F.WIDE_TACHYCARDIA, F.NO_QRS, F.FAST}), frozenset()),
    Group("Brugada", r"rugada", frozenset({"st_t"}), frozenset({F.BRUGADA, F.ST_ELEVATION}), frozenset()),
    Group("Wellens", r"ellens", frozenset({"st_t"}), frozenset({F.WELLENS, F.T_INVERSION}), frozenset()),
    Group("pacing", r"pac(ing|ed|emaker)", frozenset({"st_t", "infarction", "conduction"}),
          frozenset({F.PACED, F.WIDE_RHYTHM}), frozenset({"PACE"})),
    Group("WPW", r"WPW|re-?excitation", frozenset({"st_t", "infarction"}), frozenset({F.PREEXCITATION}),
          frozenset({"WPW"})),
    Group("long QT", r"ong.qt", frozenset({"st_t"}), frozenset({F.LONG_QT}), frozenset({"LNGQT"})),
    Group("atrial fibrillation", r"^AF |afib|trial.fibrillation", frozenset(),
          frozenset({F.FIBRILLATION, F.FAST_FIBRILLATION}), frozenset({"AFIB"})),
    Group("atrial flutter", r"AFL|lutter", frozenset(), frozenset({F.FLUTTER}), frozenset({"AFLT"})),
    Group("supraventricular tachycardia", r"svt|upraventricular tach|AVNRT|AVRT", frozenset(), frozenset({F.FAST}),
          frozenset({"SVTAC", "PSVT"})),
    Group("LBBB", r"LBBB|lbbb|left bundle", frozenset({"st_t", "infarction", "conduction"}), frozenset({F.LEFT_BUNDLE}),
          frozenset({"CLBBB"})),
    Group("RBBB", r"RBBB|right bundle|trifas", frozenset({"conduction"}), frozenset({F.RIGHT_BUNDLE}),
          frozenset({"CRBBB"})),
    Group("normal", r"^normal|normal ECG", frozenset(), frozenset(), frozenset({"NORM"}), danger=False),
)  # fmt: skip


def denied(draft: Draft) -> set[str]:
    """Sections that a draft calls free of findings."""
    return {
        s.section for s in draft.sentences
        if s.probability is not None and not s.statements and s.section in SUPERCLASS_OF_SECTION
    }  # fmt: skip


def main() -> None:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--hits", type=int, default=3)
    parser.add_argument("--texts", type=Path)
    words = parser.parse_args()
    folder = words.shared / "pages_real"
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        labelled = [
            (row["file"], row["label"]) for row in csv.DictReader(file) if "must be refused" not in row["label"]
        ]
    counts = {group.name: [0] * 6 for group in GROUPS}
    texts, total, silent = [], 0, 0
    with CaseSearch.open(words.base) as search:
        drafter = Drafter(search)
        for path, label in labelled:
            mine = [group for group in GROUPS if re.search(group.pattern, label)]
            total += 1
            try:
                draft = drafter.draft(folder / path, hits=words.hits).draft
            except EcgkinError as error:
                silent += 1
                texts.append(f"== {path} [{label}] {type(error).__name__}: {error}\n")
                for group in mine:
                    counts[group.name][0] += 1
                    counts[group.name][1] += 1
                continue
            silent += bool(draft.refusal)
            flags = {flag.code for flag in draft.flags}
            texts.append(f"== {path} [{label}] {sorted(flags)}\n{draft.text}\n")
            for group in mine:
                named = bool(flags & {str(code) for code in group.flags} or set(draft.codes()) & group.codes)
                normal, wrong = "NORM" in draft.codes(), bool(denied(draft) & group.against)
                row = (1, bool(draft.refusal), normal, wrong, named, bool(not draft.refusal or flags))
                counts[group.name] = [a + int(b) for a, b in zip(counts[group.name], row, strict=True)]
                if group.danger and (normal or wrong):
                    print(f"{path} [{label}]: {'called normal' if normal else 'contradicted'}: {sorted(denied(draft))}")
    if words.texts is not None:
        words.texts.write_text("\n".join(texts), encoding="utf-8")
    print(f"\n{total} pages, {silent} without a draft\n")
    print(
        "| labelled | pages | no draft | called normal | negative contradicted | flagged or named | of those told of |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (n, no, called, contradicted, known, told) in counts.items():
        if n:
            share = f"{known} ({100 * known / n:.0f} %)"
            print(f"| {name} | {n} | {no} | {called} | {contradicted} | {share} | {known} of {told} |")


if __name__ == "__main__":
    main()
