"""Results of the retrieval protocol: as values (JSON), as run files in TREC's layout, and as tables in Markdown."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.research.retrieval.bootstrap import Interval
from ecgkin.generation.research.retrieval.calibrate import CalibrationError
from ecgkin.generation.research.retrieval.case_retrieval import CaseRetrievalResult
from ecgkin.generation.research.retrieval.cross_modal import RECALL_KS, CrossModalResult
from ecgkin.generation.research.retrieval.ranking import Ints
from ecgkin.generation.research.retrieval.text_search import COMMON, FORMS, TextQueryResult
from ecgkin.retrieval.search.vote import Calibration

HEADLINE: tuple[str, ...] = (
    "AUC superclasses",
    "AUC statements",
    "P@10 superclass sets",
    "P@10 statement sets",
    "nDCG@10",
)
_RUN_DEPTH = 100


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Args:
        head: Names of the columns.
        rows: Cells, as many a row.

    Returns:
        Markdown.

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

    Returns:
        Markdown.
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
    """How far votes are off by name, raw and calibrated; and what the thresholds of a calibration refuse.

    Args:
        calibration: What was fitted.
        errors: Errors by name, raw and calibrated.

    Returns:
        Markdown.
    """
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


@dataclass(frozen=True)
class JoinResult:
    """Another picture of a stored record, and the rank at which that record comes back.

    Attributes:
        n, n_gallery: Pictures asked, cases searched.
        recall_1, recall_10: Shares with rank 1, and up to 10.
        median_rank: Median.
        ranks: All of them.
    """

    n: int
    n_gallery: int
    recall_1: Interval
    recall_10: Interval
    median_rank: float
    ranks: Ints = field(repr=False)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a picture in memory to the ten best cases, one picture at a time."""

    p50_ms: float
    p95_ms: float
    n: int


@dataclass
class RetrievalReport:
    """Everything that `evaluate_retrieval` measured.

    Attributes:
        about: Data, folds, encoder and settings, in words and numbers.
        encoder: Name of the system; its row in `systems` and `cross_modal`.
        systems: Case retrieval in the primary layout, system first, baselines after it.
        layouts: Case retrieval of the system by query layout.
        cross_modal: ECG to report and back, system first.
        text: Text search, one entry a query.
        join: By query layout.
        p_values: Holm-adjusted p of the system against log-spectrum neighbours, by headline measure.
        latency: Of one query.
        calibration, calibration_errors: With `fit` only.
        witnesses: Macro-AUCs of vote, head and both; empty for an encoder without a head.
    """

    about: dict[str, Any]
    encoder: str
    systems: dict[str, CaseRetrievalResult]
    layouts: dict[str, CaseRetrievalResult]
    cross_modal: dict[str, CrossModalResult]
    text: list[TextQueryResult]
    join: dict[str, JoinResult]
    p_values: dict[str, float]
    latency: Latency
    calibration: Calibration | None = None
    calibration_errors: dict[str, CalibrationError] = field(default_factory=dict)
    witnesses: dict[str, Mapping[str, Interval]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON values; a number that does not exist is null."""
        content = {
            "about": self.about,
            "encoder": self.encoder,
            "systems": {name: _case_dict(r) for name, r in self.systems.items()},
            "layouts": {name: _case_dict(r) for name, r in self.layouts.items()},
            "cross_modal": {name: _cross_dict(r) for name, r in self.cross_modal.items()},
            "text": [vars(t) for t in self.text],
            "join": {
                name: {
                    "n": j.n,
                    "n_gallery": j.n_gallery,
                    "R@1": vars(j.recall_1),
                    "R@10": vars(j.recall_10),
                    "median_rank": j.median_rank,
                }
                for name, j in self.join.items()
            },
            "witnesses": {name: {k: vars(v) for k, v in row.items()} for name, row in self.witnesses.items()},
            "p_values": self.p_values,
            "latency": vars(self.latency),
            "thresholds": {k: vars(t) for k, t in self.calibration.thresholds.items()} if self.calibration else {},
            "calibration_errors": {name: vars(e) for name, e in self.calibration_errors.items()},
        }
        return {key: plain_values(value) for key, value in content.items()}

    def as_markdown(self) -> str:
        """The tables of the protocol."""
        first = self.systems[self.encoder]
        parts = [
            "# Retrieval evaluation",
            table(("setting", "value"), [(k, str(v)) for k, v in self.about.items()]),
            f"Values with 95 % bootstrap intervals over patients. Gallery: {first.n_gallery} cases; queries: "
            f"{first.n_queries}, of which {first.n_superclass_queries} have a superclass.",
            "## Case retrieval, queries drawn in the primary layout",
            case_table(self.systems),
            self._votes(),
            *([witness_table(self.witnesses)] if self.witnesses else []),
            "Holm-adjusted p against log-spectrum neighbours: "
            + ", ".join(f"{name} {p:.3f}" for name, p in self.p_values.items())
            + ".",
            "## Query layout other than the gallery's",
            case_table(self.layouts),
            "## Same record, another picture",
            table(
                ("query", "pictures", "gallery", "R@1", "R@10", "median rank"),
                [
                    (name, str(j.n), str(j.n_gallery), str(j.recall_1), str(j.recall_10), f"{j.median_rank:.0f}")
                    for name, j in self.join.items()
                ],
            ),
            "## ECG and report",
            cross_modal_table(self.cross_modal, self.encoder),
            "## Text search, P@10",
            text_table(self.text),
            "## Vote: macro-AUC by depth and temperature",
            grid_table(first),
            "## Vote: AUC by statement",
            table(
                ("statement", "positives", "AUC"),
                [
                    (code, str(n), "n/a" if math.isnan(auc) else f"{auc:.3f}")
                    for code, (auc, n) in sorted(first.per_statement.items(), key=lambda item: -item[1][1])
                ],
            ),
            "## Time",
            f"Picture in memory to ten best cases, one at a time: p50 {self.latency.p50_ms:.0f} ms, "
            f"p95 {self.latency.p95_ms:.0f} ms ({self.latency.n} queries).",
        ]
        if self.calibration is not None:
            parts += ["## Calibration", calibration_tables(self.calibration, self.calibration_errors)]
        return "\n\n".join(parts) + "\n"

    def _votes(self) -> str:
        rules = self.systems[self.encoder].rules
        auc = self.systems[self.encoder].aucs["statements"]
        return (
            f"Vote of {self.encoder}: superclasses k = {rules.superclasses.k}, tau = {rules.superclasses.tau}; "
            f"statements k = {rules.statements.k}, tau = {rules.statements.tau}; {auc.n_labels} statements have both "
            f"classes, {auc.dropped:.1f} are without a positive in a resample on average."
        )


def witness_table(witnesses: Mapping[str, Mapping[str, Interval]]) -> str:
    """Macro-AUCs of the neighbours' vote, the encoder's head, and both.

    Args:
        witnesses: From `witnesses.evaluate_witnesses`.
    """
    names = list(next(iter(witnesses.values())))
    return table(
        ("macro-AUC of", *names), [(name, *(str(row.get(n, "")) for n in names)) for name, row in witnesses.items()]
    )


def write_report(report: RetrievalReport, folder: Path, queries: Sequence[Any], gallery: Sequence[Any]) -> None:
    """Write report.md, report.json, run files (TREC form, one a layout) and calibration.json where one was fitted.

    Args:
        report: What was measured.
        folder: Made where it is missing.
        queries, gallery: The rows behind it; their `ecg_id` names them in run files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report.as_markdown(), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    if report.calibration is not None:
        report.calibration.save(folder / "calibration.json")
    for layout, result in report.layouts.items():
        name = "".join(c if c.isalnum() else "-" for c in layout)
        with gzip.open(folder / f"run-{name}.txt.gz", "wt", encoding="utf-8") as stream:
            for i, row in enumerate(queries):
                rows, scores = result.neighbours.rows[i], result.neighbours.scores[i]
                for rank in range(min(_RUN_DEPTH, int((rows >= 0).sum()))):
                    stream.write(
                        f"{row.ecg_id} Q0 {gallery[rows[rank]].ecg_id} {rank + 1} {scores[rank]:.6f} {report.encoder}\n"
                    )


def _case_dict(result: CaseRetrievalResult) -> dict[str, Any]:
    return {
        "n_queries": result.n_queries,
        "n_gallery": result.n_gallery,
        "n_superclass_queries": result.n_superclass_queries,
        "rules": {"superclasses": vars(result.rules.superclasses), "statements": vars(result.rules.statements)},
        "aucs": {
            name: {**vars(a.interval), "n_labels": a.n_labels, "dropped": a.dropped} for name, a in result.aucs.items()
        },
        "measures": {name: vars(value) for name, value in result.measures.items()},
        "share_with_ten": result.share_with_ten,
        "grid": {
            "superclasses": {f"k={k} tau={tau:g}": v for (k, tau), v in result.grid_superclasses.items()},
            "statements": {f"k={k} tau={tau:g}": v for (k, tau), v in result.grid_statements.items()},
        },
        "per_statement": {code: {"auc": auc, "positives": n} for code, (auc, n) in result.per_statement.items()},
    }


def _cross_dict(result: CrossModalResult) -> dict[str, Any]:
    return {
        "n": result.n,
        "distinct_reports": result.distinct_reports,
        "ceiling": {f"R@{k}": v for k, v in result.ceiling.items()},
        "recall": {f"{d} {kind} R@{k}": vars(v) for (d, kind, k), v in result.recall.items()},
        "sub_size": result.sub_size,
        "sub_recall": {f"{d} {kind} R@{k}": {"mean": m, "sd": s} for (d, kind, k), (m, s) in result.sub_recall.items()},
    }


def plain_values(value: Any) -> Any:
    """The same in what JSON knows; numbers that it does not know become null."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
