"""The tables of the retrieval protocol in Markdown, each from the results that it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ecgkin.retrieval.evaluation.calibrate import CalibrationError
from ecgkin.retrieval.evaluation.case_retrieval import CaseRetrievalResult
from ecgkin.retrieval.evaluation.cross_modal import RECALL_KS, CrossModalResult
from ecgkin.retrieval.evaluation.text_search import COMMON, FORMS, TextQueryResult
from ecgkin.retrieval.vote import Calibration


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "|".join(cells) + "|" if i == 1 else f"| {' | '.join(cells)} |" for i, cells in enumerate(lines)
    )


def case_table(results: Mapping[str, CaseRetrievalResult]) -> str:
    """Case retrieval: areas under the curve and ranking measures, one row a system or layout."""
    names = list(next(iter(results.values())).aucs), list(next(iter(results.values())).measures)
    head = ("", *(f"AUC {name}" for name in names[0]), *names[1])
    return table(
        head,
        [
            (system, *(str(r.aucs[n].interval) for n in names[0]), *(str(r.measures[n]) for n in names[1]))
            for system, r in results.items()
        ],
    )


def grid_table(result: CaseRetrievalResult) -> str:
    """Macro-AUC of the vote by depth (columns) and temperature (rows), for both families of labels."""
    ks = sorted({k for k, _ in result.grid_statements})
    taus = sorted({tau for _, tau in result.grid_statements})
    rows = [
        (family, f"{tau:g}", *(f"{grid[k, tau]:.3f}" for k in ks))
        for family, grid in (("superclasses", result.grid_superclasses), ("statements", result.grid_statements))
        for tau in taus
    ]
    return table(("labels", "tau", *(f"k = {k}" for k in ks)), rows)


def cross_modal_table(systems: Mapping[str, CrossModalResult], own: str) -> str:
    """ECG to report and back: recall of each system, and what the reports allow at most.

    Args:
        systems: Results by name.
        own: Name of the system whose reports are counted below the table.
    """
    rows = []
    for kind in ("strict", "duplicates"):
        for name, r in systems.items():
            cells = [kind, name, str(r.n)]
            for direction in ("ecg->report", "report->ecg"):
                cells += [str(r.recall[direction, kind, k]) for k in RECALL_KS]
            rows.append(tuple(cells))
            if r.sub_recall:
                cells = [kind, f"{name}, sub-galleries", str(r.sub_size)]
                for direction in ("ecg->report", "report->ecg"):
                    cells += [
                        f"{r.sub_recall[direction, kind, k][0]:.3f} ± {r.sub_recall[direction, kind, k][1]:.3f}"
                        for k in RECALL_KS
                    ]
                rows.append(tuple(cells))
    reports = systems[own]
    head = ("kind", "system", "gallery", *(f"{d} R@{k}" for d in ("ECG→report", "report→ECG") for k in RECALL_KS))
    ceiling = ", ".join(f"R@{k} {v:.3f}" for k, v in reports.ceiling.items())
    return (
        table(head, rows)
        + f"\n\n{reports.distinct_reports} distinct reports among {reports.n}; ceiling of strict recall: "
        f"{ceiling}. Sub-galleries: mean ± standard deviation over seeded draws."
    )


def text_table(results: Sequence[TextQueryResult]) -> str:
    """Text search: precision at 10 by statement and form of the question, and which common statements are weak."""
    by_code: dict[str, dict[str, TextQueryResult]] = {}
    for result in results:
        by_code.setdefault(result.code, {})[result.form] = result
    rows = [
        (
            f"{code} (common)" if code in COMMON else code,
            str(next(iter(forms.values())).n_gallery),
            *(f"{forms[form].precision:.1f}" for form in FORMS),
        )
        for code, forms in by_code.items()
    ]
    means = [np.mean([r.precision for r in results if r.form == form]) for form in FORMS]
    rows.append(("mean", "", *(f"{m:.2f}" for m in means)))
    weak = [f"{r.code} ({r.form}) {r.precision:.1f}" for r in results if r.code in COMMON and r.precision < 0.8]
    said = "Common statements under 0.8: " + (", ".join(weak) or "none") + "."
    return table(("statement", "cases", *FORMS), rows) + "\n\n" + said


def calibration_tables(calibration: Calibration, errors: Mapping[str, CalibrationError]) -> str:
    """How far votes are off by name, raw and calibrated; and what the thresholds of a calibration refuse."""
    votes = table(
        ("vote", "Brier", "log loss", "ECE"),
        [(name, f"{e.brier:.4f}", f"{e.log_loss:.4f}", f"{e.ece:.4f}") for name, e in errors.items()],
    )
    thresholds = table(
        ("query", "threshold", "quantile", "genuine refused", "strangers refused", "strangers"),
        [
            (
                kind,
                f"{t.score:.3f}",
                f"{t.quantile:g}",
                f"{t.inside_refused:.3f} of {t.n_inside}",
                "n/a" if math.isnan(t.outside_refused) else f"{t.outside_refused:.3f} of {t.n_outside}",
                t.outside,
            )
            for kind, t in calibration.thresholds.items()
        ],
    )
    return votes + "\n\n" + thresholds
