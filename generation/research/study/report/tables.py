"""report.md of `ecgkin evaluate run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ecgkin.generation.research.retrieval.report import HEADLINE, table

# Published figures to stand beside, from field.md section 4: (super, sub, form, rhythm), macro-AUC in percent.
_ZERO_SHOT = {
    "MERL (2024; second-hand)": (74.2, 75.7, 65.9, 78.5),
    "D-BETA (2025; second-hand)": (76.2, 75.9, 66.1, 88.6),
}


def cell(value: Any) -> str:
    """A number, or an interval as stored: "0.912 (0.900-0.921)".

    >>> cell({"value": 0.9123, "low": 0.9, "high": None}), cell(None), cell({"value": 0.5, "low": 0.4, "high": 0.6})
    ('0.912', 'n/a', '0.500 (0.400-0.600)')
    """
    if isinstance(value, Mapping):
        if value.get("low") is None or value.get("high") is None:
            return cell(value.get("value"))
        return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"
    if value is None:
        return "n/a"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def as_markdown(report: Mapping[str, Any], figures: Sequence[str] = ()) -> str:
    """All tables, and the figures that were drawn.

    Args:
        report: What report.json holds.
        figures: Names of pictures beside it, in `figures/`.

    Returns:
        Markdown.
    """
    parts = ["# Comparison", table(("setting", "value"), [(k, str(v)) for k, v in report["about"].items()])]
    parts += training_table(report["trained"])
    for task, values in report["tasks"].items():
        parts += [f"## {_TITLES[task]}", *_TABLES[task](values), f"{values['seconds']:.0f} s."]
    parts += [f"![{name}](figures/{name})" for name in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def training_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was trained for the run, at what cost; nothing where nothing was."""
    if not rows:
        return []

    def minutes(seconds: float | None) -> str:
        return "n/a" if not seconds else f"{seconds / 60:.1f}"

    names = ("trained", "stage", "seed", "epochs", "steps x batch", "CPU minutes", "minutes", "validation")
    cells = [
        (
            r["name"], f"{r['stage']} ({r['picture']})" if r["stage"] == "image" else r["stage"], str(r["seed"]),
            str(r["epochs"]), f"{r['steps']} x {r['batch']}", minutes(r["cpu_seconds"]), minutes(r["seconds"]),
            ", ".join(f"{k} {cell(v)}" for k, v in r["figures"].items()),
        )
        for r in rows
    ]  # fmt: skip
    return ["## Trained for this run", table(names, cells)]


def printout_summary(v: Mapping[str, Any]) -> str:
    """How many pictures, and the mean, in both forms of the report."""
    return (
        f"{v['n']} of {v['pictures']} pictures carry a label with a finding that PTB-XL has; {v['refused']} of them "
        "were refused. Share: of PTB-XL's own queries without the finding, those whose vote for it is lower (0.5 is "
        f"chance). Mean over all findings {cell(v['mean'])}, resampled by picture."
    )


def _printouts(v: Mapping[str, Any]) -> list[str]:
    """Findings of each labelled picture."""
    rows = [
        (name, c["name"], str(c["gallery"]), f"{c['vote']:.3f}", cell(c["share"]), f"{p['best_score']:.2f}",
         " ".join(p["best_labels"]))
        for name, p in v["per_picture"].items() for c in p["classes"]
    ]  # fmt: skip
    head = ("picture", "its finding", "cases", "vote", "share", "best cosine", "nearest case has")
    return [printout_summary(v), table(head, rows)]


def _retrieval(v: Mapping[str, Any]) -> list[str]:
    arms = v["arms"]
    names = list(next(iter(arms.values()))["measures"])
    rows = [(arm, *(cell(a["measures"][n]) for n in names)) for arm, a in arms.items()]
    seeds = [
        (name, *(f"{m[h]['mean']:.3f} ± {m[h]['sd']:.3f} ({m[h]['seeds']} seeds)" for h in HEADLINE))
        for name, m in v["seeds"].items()
    ]
    ranking = list(next(iter(arms.values()))["ranking"])
    tests = [
        (f"{t['first']} - {t['second']}", t["measure"], f"{t['difference']:+.3f}", cell(t["bootstrap_p"]),
         cell(t["permutation_p"]), cell(t["holm_p"]))
        for t in v["tests"]
    ]  # fmt: skip
    return [
        f"{v['n']} queries, {v['n_gallery']} cases.",
        table(("arm", *names), rows),
        table(("seeds", *HEADLINE), seeds) if seeds else "",
        "A case with the same statement set among the first k, and its rank (ir-measures):",
        table(("arm", *ranking), [(arm, *(cell(a["ranking"][r]) for r in ranking)) for arm, a in arms.items()]),
        "Paired tests; Holm over all rows, of the permutation p where there is one:",
        table(("arms", "measure", "difference", "p bootstrap", "p permutation", "p Holm"), tests),
    ]


def _vote(v: Mapping[str, Any]) -> list[str]:
    errors = [(name, *(cell(e[k]) for k in ("brier", "log_loss", "ece"))) for name, e in v["errors"].items()]
    curve = [(f"{float(c):.0%}", cell(a)) for c, a in v["abstention"].items()]
    return [
        table(("superclass vote", "Brier", "log loss", "ECE"), errors),
        table(("answered", "superclass AUC"), curve),
    ]


def _cross_modal(v: Mapping[str, Any]) -> list[str]:
    rows = [(name, cell(value)) for name, value in v["recall"].items()]
    rows += [(f"{name}, {v['sub_size']} pairs", f"{m:.3f} ± {s:.3f}") for name, (m, s) in v["sub_recall"].items()]
    ceiling = ", ".join(f"{k} {x:.3f}" for k, x in v["ceiling"].items())
    return [f"{v['n']} pairs; ceiling of strict recall: {ceiling}.", table(("measure", "value"), rows)]


def aligned_tables(v: Mapping[str, Any]) -> list[str]:
    """Recalls and tests, in both forms of the report."""
    names = list(next(iter(v["arms"].values())))
    rows = [(arm, *(cell(r[n]) for n in names)) for arm, r in v["arms"].items()]
    tests = [(n, f"{t['difference']:+.3f}", cell(t["p"]), cell(t["p_holm"])) for n, t in v["tests"].items()]
    return [
        f"{v['n']} pairs. Vectors and all-MiniLM-L6-v2's, aligned on the gallery (whitened components, CCA).",
        table(("arm", *names), rows),
        table(("comparison", "difference", "p", "p Holm"), tests) if tests else "",
    ]


def _zero_shot(v: Mapping[str, Any]) -> list[str]:
    groups = [(name, r) for name, r in v.items() if isinstance(r, Mapping)]
    rows = [
        (n, str(r["n"]), str(r["n_labels"]), cell(r["macro"]), str(r["n_clean"]), cell(r["clean"])) for n, r in groups
    ]
    beside = [(name, *(f"{x / 100:.3f}" for x in values)) for name, values in _ZERO_SHOT.items()]
    return [
        table(("group, prompts", "queries", "labels", "macro-AUC", "labels >= 10", "macro-AUC of those"), rows),
        "Published, on signals, without PTB-XL in training (ours has seen its labels):",
        table(("system", "superclass", "subclass", "form", "rhythm"), beside),
    ]


def _text_search(v: Mapping[str, Any]) -> list[str]:
    return [table(("words", "P@10"), [(k, cell(r["P@10"])) for k, r in v.items() if isinstance(r, Mapping)])]


def _photo(v: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, str(r["n"]), str(r["n_gallery"]), cell(r["R@1"]), cell(r["R@10"]), f"{r['median rank']:.0f}")
        for name, r in v.items()
        if isinstance(r, Mapping)
    ]
    return [table(("picture", "n", "gallery", "R@1", "R@10", "median rank"), rows)]


def _robustness(v: Mapping[str, Any]) -> list[str]:
    rows = [
        (p["damage"], str(p["strength"]), str(p["refused"]), cell(p["superclass_auc"]), cell(p["recall_1"]))
        for p in v["points"]
    ]
    return [table(("damage", "strength", "refused", "superclass AUC", "same record R@1"), rows)]


def _foreign(v: Mapping[str, Any]) -> list[str]:
    groups = [(name, r) for name, r in v.items() if isinstance(r, Mapping)]
    rows = [
        (n, str(r["n"]), str(r["refused"]), str(r["n_classes"]), cell(r["macro"]), cell(r["best_score"]))
        for n, r in groups
    ]
    classes = [
        (c["name"], code, str(c["positives"]), str(c["gallery"]), cell(c["auc"]), cell(c["home"]))
        for code, c in sorted(v["all"]["per_class"].items(), key=lambda item: -item[1]["positives"])
    ]
    why = [f"{name}: {'; '.join(r['why'])}." for name, r in groups if r["why"]]
    return [
        table(("database", "records", "refused", "classes", "macro-AUC", "median best cosine"), rows),
        "\n".join(["Refused:", *why]) if why else "",
        "All databases together:",
        table(("class", "SNOMED CT", "positives", "cases", "AUC", "AUC of PTB-XL's own queries"), classes),
    ]


def _map(v: Mapping[str, Any]) -> list[str]:
    return [f"{len(v['x'])} queries, t-SNE of their vectors."]


def _own(v: Mapping[str, Any]) -> list[str]:
    """Tables that another module wrote, one heading level down."""
    return [str(v["markdown"]).replace("# ", "### ")]


def _ecgbench(v: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, r in v.items():
        if isinstance(r, Mapping):
            published = ", ".join(f"{k} {cell(x)}" for k, x in r["published"].items())
            corrected = ", ".join(f"{k} {cell(x)}" for k, x in r["corrected"]["measures"].items())
            unread = r["corrected"].get("unparsed")
            rows.append((name, published, corrected, cell(unread) if unread is not None else "-"))
    return [table(("model, set", "published scoring", "corrected", "unread"), rows)]


_TITLES: Mapping[str, str] = {
    "retrieval": "Case retrieval", "part": "Case retrieval on a part: arms that take long",
    "vote": "Vote: reliability and abstention", "cross_modal": "ECG and report",
    "aligned": "ECG and report, every arm aligned with the same language model",
    "zero_shot": "Zero-shot by words", "text_search": "Words to cases",
    "photo_identity": "Same record, another picture",
    "robustness": "Robustness against damage", "out_of_domain": "Foreign databases",
    "printouts": "Print-outs of other devices", "map": "Map",
    "drafts": "Drafts without a model", "mini": "Retrieval, generation, both", "ecgbench": "ECGBench",
}  # fmt: skip
_TABLES: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "retrieval": _retrieval, "part": _retrieval, "vote": _vote, "cross_modal": _cross_modal,
    "aligned": aligned_tables, "zero_shot": _zero_shot,
    "text_search": _text_search, "photo_identity": _photo, "robustness": _robustness, "out_of_domain": _foreign,
    "printouts": _printouts, "map": _map, "drafts": _own, "mini": _own, "ecgbench": _ecgbench,
}  # fmt: skip
