"""How much of a PTB-XL folder's reports the glossary can render: share of words, share of reports, what is missing.

    python scripts/measure_glossary.py PTBXL [--folds 9] [--missing 40]

No report is printed; `--missing` prints single words with their number.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
from ecgkin.retrieval.ecg.statements.glossary import Target, gloss
from ecgkin.retrieval.ecg.statements.report_text import fold, has_findings, report_language


def main() -> None:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(1, 11)))
    parser.add_argument("--missing", type=int, default=0)
    words = parser.parse_args()
    reports = [row.report for row in PtbXl(words.ptbxl).select(words.folds) if has_findings(row.report)]
    print("| reports in | read in | n | words rendered | reports rendered whole |\n|---|---|---|---|---|")
    targets: tuple[Target, ...] = ("en", "de")
    for target in targets:
        missing: Counter[str] = Counter()
        everything = [(report_language(text), gloss(text, target)) for text in reports]
        for language in ("de", "sv", "en", "all"):
            some = [one for own, one in everything if language in (own, "all") and own not in ("", target)]
            if not some:
                continue
            n, unknown = sum(one.n_words for one in some), sum(len(one.unknown) for one in some)
            whole = sum(one.complete for one in some) / len(some)
            print(f"| {language} | {target} | {len(some)} | {1 - unknown / n:.1%} | {whole:.1%} |")
            if language == "all":
                for one in some:
                    missing.update(fold(word) for word in one.unknown)
        if words.missing:
            print(f"\nmissing, read in {target}: {missing.most_common(words.missing)}\n")


if __name__ == "__main__":
    main()
