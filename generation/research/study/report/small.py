"""study.md of `ecgkin evaluate run`: the report in the small form that goes into docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ecgkin.generation.research.retrieval.report import HEADLINE, table
from ecgkin.generation.research.study.report.tables import aligned_tables, cell, printout_summary, training_table

Values = Mapping[str, Any]
_LEAST = 10  # positives of a foreign class that is listed
_SHOWN = ("AUC superclasses", "AUC statements (>= 10 positives)", "P@10 statement sets", "nDCG@10")
_WRITTEN = ("superclass macro-F1", "statement macro-F1", "statement micro-F1", "ROUGE-L", "BLEU", "made up a report",
            "missed a report", "citation precision")  # fmt: skip


def as_small(report: Mapping[str, Any], figures: Sequence[str] = (), command: str = "") -> str:
    """The tables a reader needs, each task's seconds, and the figures.

    Args:
        report: What report.json holds.
        figures: Names of pictures beside it, in `figures/`.
        command: What printed it.

    Returns:
        Markdown.
    """
    parts = [f"```sh\n{command}\n```"] if command else []
    parts.append(table(("setting", "value"), [(k, str(v)) for k, v in report["about"].items()]))
    parts += training_table(report["trained"])
    for task, values in report["tasks"].items():
        made = _SMALL.get(task)
        if made is not None:
            title, write = made
            parts += [f"## {title}", *write(values), f"Task `{task}`, {values['seconds']:.0f} s."]
    parts += [f"![{name}](figures/{name})" for name in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _retrieval(v: Values) -> list[str]:
    arms: Values = v["arms"]
    tests: dict[tuple[str, str], dict[str, str]] = {}
    for t in v["tests"]:
        pair = tests.setdefault((t["first"], t["second"]), {})
        pair[t["measure"]] = f"{t['difference']:+.3f} ({cell(t['holm_p'])})"
    shown = [m for m in _SHOWN if m in next(iter(arms.values()))["measures"]]
    rows = [(f"{one} - {other}", *(found.get(m, "") for m in HEADLINE)) for (one, other), found in tests.items()]
    seeds = [
        (name, *(f"{m[h]['mean']:.3f} ± {m[h]['sd']:.3f} ({m[h]['seeds']})" for h in HEADLINE))
        for name, m in v["seeds"].items()
    ]
    return [
        f"{v['n']} queries, {v['n_gallery']} cases.",
        table(("arm", *shown), [(arm, *(cell(a["measures"][m]) for m in shown)) for arm, a in arms.items()]),
        table(("mean ± sd (seeds)", *HEADLINE), seeds) if seeds else "",
        "Differences, and p after Holm's correction over this table:",
        table(("arms", *HEADLINE), rows),
    ]


def _vote(v: Values) -> list[str]:
    errors = [(name, *(cell(e[k]) for k in ("brier", "log_loss", "ece"))) for name, e in v["errors"].items()]
    curve = {f"{float(c):.0%}": cell(a) for c, a in v["abstention"].items()}
    return [
        table(("superclass vote", "Brier", "log loss", "ECE"), errors),
        table(("answered", *curve), [("superclass AUC", *curve.values())]),
    ]


def _cross_modal(v: Values) -> list[str]:
    rows = [(name, cell(value)) for name, value in v["recall"].items() if name.endswith("@10")]
    ceiling = ", ".join(f"{k} {x:.3f}" for k, x in v["ceiling"].items())
    return [f"{v['n']} pairs; ceiling of strict recall: {ceiling}.", table(("measure", "value"), rows)]


def _zero_shot(v: Values) -> list[str]:
    groups = [(name, r) for name, r in v.items() if isinstance(r, Mapping)]
    rows = [(n, str(r["n"]), str(r["n_labels"]), cell(r["macro"])) for n, r in groups]
    return [
        table(("group, prompts", "queries", "labels", "macro-AUC"), rows),
        "Published, without PTB-XL in training (ours has seen its labels), superclass, subclass, form, rhythm: MERL "
        "0.742, 0.757, 0.659, 0.785; D-BETA 0.762, 0.759, 0.661, 0.886 (both second-hand).",
    ]


def _text_search(v: Values) -> list[str]:
    return [table(("words", "P@10"), [(k, cell(r["P@10"])) for k, r in v.items() if isinstance(r, Mapping)])]


def _photo(v: Values) -> list[str]:
    found = [(name, r) for name, r in v.items() if isinstance(r, Mapping)]
    rows = [(name, str(r["n"]), str(r["n_gallery"]), cell(r["R@1"]), cell(r["R@10"])) for name, r in found]
    return [table(("picture", "n", "gallery", "R@1", "R@10"), rows)]


def _robustness(v: Values) -> list[str]:
    """Superclass AUC and same-record R@1 in one cell, strengths side by side."""
    strengths = sorted({p["strength"] for p in v["points"]} - {0})
    by = {(p["damage"], p["strength"]): p for p in v["points"]}

    def both(point: Values | None) -> str:
        if point is None:
            return ""
        refused = f", {point['refused']} refused" if point["refused"] else ""
        return f"{point['superclass_auc']['value']:.3f} / {point['recall_1']['value']:.2f}{refused}"

    damages = [d for d in dict.fromkeys(p["damage"] for p in v["points"]) if d != "none"]
    clean = by["none", 0]
    return [
        f"{clean['n']} queries a point; vote AUC on superclasses / own record first. As drawn: "
        f"{cell(clean['superclass_auc'])} / {cell(clean['recall_1'])}.",
        table(("damage", *map(str, strengths)), [(d, *(both(by.get((d, s))) for s in strengths)) for d in damages]),
    ]


def _foreign(v: Values) -> list[str]:
    groups = [(name, r) for name, r in v.items() if isinstance(r, Mapping)]
    rows = [(n, str(r["n"]), str(r["refused"]), str(r["n_classes"]), cell(r["macro"])) for n, r in groups]
    classes = [
        (c["name"], str(c["positives"]), str(c["gallery"]), cell(c["auc"]), cell(c["home"]))
        for c in sorted(v["all"]["per_class"].values(), key=lambda c: -float(c["auc"] or 0))
        if c["positives"] >= _LEAST
    ]
    return [
        table(("database", "records", "refused", "classes", "macro-AUC"), rows),
        table(("class, all databases", "positives", "cases in PTB-XL", "AUC", "AUC of PTB-XL's own queries"), classes),
    ]


def _printouts(v: Values) -> list[str]:
    """By finding alone: which picture shows what is the business of its owners."""
    by: dict[str, list[Values]] = {}
    for picture in v["per_picture"].values():
        for found in picture["classes"]:
            by.setdefault(found["name"], []).append(found)
    rows = [
        (name, str(len(found)), str(found[0]["gallery"]), ", ".join(f"{f['share']:.3f}" for f in found))
        for name, found in sorted(by.items(), key=lambda item: -len(item[1]))
    ]
    return [printout_summary(v), table(("finding", "pictures", "cases in PTB-XL", "shares"), rows)]


def _written(v: Values) -> list[str]:
    arms: Values = v["arms"]
    first = next(iter(arms.values()))
    shown = [m for m in _WRITTEN if m in first["measures"] or m in first]
    rows = [(name, *(cell(a["measures"].get(m, a.get(m))) for m in shown)) for name, a in arms.items()]
    tests = [(n, f"{t['difference']:+.3f}", cell(t["p"]), cell(t["p_holm"])) for n, t in v["tests"].items()]
    about = "\n".join(f"- {key}: {value}" for key, value in v["about"].items())
    return [about, table(("arm", *shown), rows), table(("comparison", "difference", "p", "p Holm"), tests)]


def _ecgbench(v: Values) -> list[str]:
    rows = []
    for name, r in v.items():
        if isinstance(r, Mapping):
            published = ", ".join(f"{k} {cell(x)}" for k, x in r["published"].items())
            corrected = ", ".join(f"{k} {cell(x)}" for k, x in r["corrected"]["measures"].items())
            rows.append((name, published, corrected))
    return [table(("model, set", "published scoring", "corrected"), rows)]


_SMALL: Mapping[str, tuple[str, Callable[[Values], list[str]]]] = {
    "retrieval": ("Case retrieval", _retrieval),
    "part": ("Case retrieval on a part: arms that take long", _retrieval),
    "vote": ("Vote", _vote),
    "cross_modal": ("ECG and report", _cross_modal),
    "aligned": ("ECG and report, every arm aligned with the same language model", aligned_tables),
    "zero_shot": ("Zero-shot by words", _zero_shot),
    "text_search": ("Words to cases", _text_search),
    "photo_identity": ("Same record, another picture", _photo),
    "robustness": ("Robustness against damage", _robustness),
    "out_of_domain": ("Foreign databases", _foreign),
    "printouts": ("Print-outs of other devices", _printouts),
    "drafts": ("Drafts without a model", _written),
    "mini": ("Retrieval, generation, both", _written),
    "ecgbench": ("ECGBench", _ecgbench),
}
