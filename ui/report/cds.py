"""A draft as cards in the form of CDS Hooks 2.0: a summary, a word for its urgency, details and where it comes from.

It is the answer of a service, not a service: there is no discovery, no hook and no prefetch here. Cards of a draft are
preliminary and say so.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api.answers import DraftOut, FlagOut

SUMMARY = 140  # characters, the most that CDS Hooks takes
_INDICATOR = {"urgent": "critical", "important": "warning", "note": "info"}
_WORDS = {
    "en": ("Preliminary ECG draft", "Measured", "Similar cases", "no draft"),
    "de": ("Vorläufiger EKG-Entwurf", "Gemessen", "Ähnliche Fälle", "kein Entwurf"),
}
# Values that a reader knows by name; how much the cycles vary is none, and what it means is in the sentences.
_NAMES = {
    "rate_bpm": ("rate", "Frequenz", "/min"),
    "pr_ms": ("PR", "PQ", "ms"),
    "qrs_ms": ("QRS", "QRS", "ms"),
    "qt_ms": ("QT", "QT", "ms"),
    "qtc_ms": ("QTc (Bazett)", "QTc (Bazett)", "ms"),
    "qtc_fridericia_ms": ("QTc (Fridericia)", "QTc (Fridericia)", "ms"),
    "axis_deg": ("QRS axis", "QRS-Achse", "°"),
    "p_axis_deg": ("P axis", "P-Achse", "°"),
    "t_axis_deg": ("T axis", "T-Achse", "°"),
}
_SPACE = uuid.UUID("8c9ad0de-7a0c-5a07-9c0c-6a6df5bb7a4e")


def cards(draft: DraftOut, link: str | None = None) -> dict[str, Any]:
    """The cards, the most urgent first: one for the draft, one for each flag that is more than a note.

    Args:
        draft: As the command line and the API give it.
        link: https address at which the ECG can be looked at.

    Returns:
        For JSON: {"cards": [...]}.

    Raises:
        QueryError: The link is no https address.
    """
    if link is not None and (urlsplit(link).scheme != "https" or not urlsplit(link).hostname):
        raise QueryError(f"{link[:100]!r} is no https address", hint="https://host/path")
    title, measured, similar, nothing = _WORDS["de" if draft.language == "de" else "en"]
    severities = {flag.severity for flag in draft.flags}
    worst = next((word for severity, word in _INDICATOR.items() if severity in severities), "info")
    said = draft.refusal or " ".join(sentence.text for sentence in draft.sentences)
    detail = [_plain(draft.text or draft.refusal)]
    if draft.measurements:
        values = ", ".join(
            f"{_NAMES[name][draft.language == 'de']} {value:.0f} {_NAMES[name][2]}"
            for name, value in draft.measurements.items()
            if name in _NAMES
        )
        detail.append(f"{measured}: {_plain(values)}")
    cited = [f"[{item.number}] {item.case_id}" for item in draft.evidence if item.case_id in draft.citations]
    if cited:
        detail.append(f"{similar}: {_plain(', '.join(cited))}")
    detail.append(_plain(draft.disclaimer))
    summary = f"{title}: {nothing}. {said}" if draft.refusal else f"{title}: {said}"
    whole = _card(summary, worst, "\n\n".join(detail), draft, link)
    flagged = [_of_flag(flag, draft, link) for flag in draft.flags if flag.severity in ("urgent", "important")]
    order = list(_INDICATOR.values())
    return {"cards": sorted([whole, *flagged], key=lambda card: order.index(card["indicator"]))}


def _of_flag(flag: FlagOut, draft: DraftOut, link: str | None) -> dict[str, Any]:
    detail = f"{_plain(flag.text)}\n\n{_plain(draft.disclaimer)}"
    return _card(flag.title, _INDICATOR[flag.severity], detail, draft, link)


def _card(summary: str, indicator: str, detail: str, draft: DraftOut, link: str | None) -> dict[str, Any]:
    short = " ".join(summary.split())
    if len(short) > SUMMARY:
        short = short[: SUMMARY - 1].rsplit(" ", 1)[0] + "…"
    card: dict[str, Any] = {
        "uuid": str(uuid.uuid5(_SPACE, f"{summary}\n{detail}")),
        "summary": short,
        "indicator": indicator,
        "detail": detail,
        "source": {"label": f"ecgkin ({draft.model})"},
    }
    if link is not None:
        card["links"] = [{"label": "ECG", "url": link, "type": "absolute"}]
    return card


def _plain(text: str) -> str:
    """Text as Markdown that means nothing but itself: reports of strangers make no links, pictures or tags."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#!|" else character for character in text)
