"""`DraftsReport`: the arms of `evaluate drafts` side by side, as tables and as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgkin.generation.draft_scores import ArmScores


@dataclass(frozen=True)
class DraftsReport:
    """All arms.

    Attributes:
        about: Data, encoder, folds and settings, in words.
        arms: Scores by arm.
        tests: "arm against consensus: measure" -> (difference, two-sided p, Holm-adjusted p).
    """

    about: Mapping[str, str]
    arms: Mapping[str, ArmScores]
    tests: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "about": dict(self.about),
            "arms": {
                name: {
                    "n": arm.n,
                    "measures": {m: vars(v) for m, v in arm.measures.items()},
                    "abstention": {str(c): v for c, v in arm.abstention.items()},
                    "abstained": dict(arm.abstained),
                    "per_statement": {c: {"f1": f, "positives": n} for c, (f, n) in arm.per_statement.items()},
                    "cost": dict(arm.cost),
                }
                for name, arm in self.arms.items()
            },
            "tests": {name: {"difference": d, "p": p, "p_holm": h} for name, (d, p, h) in self.tests.items()},
        }

    def as_markdown(self) -> str:
        """Tables for people."""
        names = list(dict.fromkeys(m for arm in self.arms.values() for m in arm.measures))
        lines = [f"- {key}: {value}" for key, value in self.about.items()]
        lines += ["", f"| measure | {' | '.join(self.arms)} |", f"|---|{'---|' * len(self.arms)}"]
        lines.append(f"| queries | {' | '.join(str(arm.n) for arm in self.arms.values())} |")
        for name in names:
            cells = [str(arm.measures[name]) if name in arm.measures else "-" for arm in self.arms.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        costs = list(dict.fromkeys(c for arm in self.arms.values() for c in arm.cost))
        for name in costs:
            cells = [f"{arm.cost[name]:.4g}" if name in arm.cost else "-" for arm in self.arms.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        curves = {name: arm.abstention for name, arm in self.arms.items() if arm.abstention}
        if curves:
            coverages = list(next(iter(curves.values())))
            lines += ["", f"| superclass macro-F1 at coverage | {' | '.join(f'{c:.0%}' for c in coverages)} |"]
            lines.append(f"|---|{'---|' * len(coverages)}")
            lines += [f"| {n} | {' | '.join(f'{v:.3f}' for v in curve.values())} |" for n, curve in curves.items()]
        for name, arm in self.arms.items():
            if arm.abstained:
                shares = ", ".join(f"{section} {share:.0%}" for section, share in arm.abstained.items())
                lines += ["", f"Sections left open by {name}: {shares}."]
        if self.tests:
            lines += ["", "| against consensus | difference | p | p (Holm) |", "|---|---|---|---|"]
            lines += [f"| {n} | {d:+.3f} | {p:.3f} | {h:.3f} |" for n, (d, p, h) in self.tests.items()]
        return "\n".join(lines) + "\n"
