"""The answer above the ECG: red flags, conclusion, and what was measured, each value with where it comes from."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.ui.web.panels.draft_panel import sentence_html
from ecgkin.ui.web.shared.drawings import paper_scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecgkin.ui.api.answers import DraftOut, HitOut, PageOut
    from ecgkin.ui.web.shared.texts import Lang, Words

# Name of a measured value, of its text, and its unit.
TILES = (
    ("rate_bpm", "m_rate", "/min"),
    ("pr_ms", "m_pr", "ms"),
    ("qrs_ms", "m_qrs", "ms"),
    ("qtc_ms", "m_qtc", "ms"),
    ("axis_deg", "m_axis", "°"),
)
# Chest leads below limb leads, as readers look for them.
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# A level that reads 0.0 on paper: half a millimetre.
FLAT_MV = 0.05
RHYTHM, SECTION = "rhythm", "conclusion"


def waiting_html(word: Words) -> str:
    """The strip as long as nothing is measured yet; it takes the room that the answer will need.

    Args:
        word: Texts.
    """
    names = "".join(f"<div><dt>{escape(word(text))}</dt><dd>…</dd></div>" for _, text, _ in TILES)
    return (
        f'<section class="ek ek-answer" aria-busy="true" aria-label="{escape(word("answer"), quote=True)}">'
        f'<div class="ek-say"><p class="ek-soft">{escape(word("drafting"))}</p></div>'
        f'<div class="ek-measured"><dl class="ek-tiles">{names}</dl></div></section>'
    )


def answer_html(
    draft: DraftOut,
    page: PageOut | None,
    hits: Mapping[str, HitOut],
    word: Words,
    refusal: str = "",
    *,
    picture: bool = False,
) -> str:
    """Flags, conclusion and measurements; everything in it is escaped.

    Args:
        draft: Of this query.
        page: What was read of a picture; None of a recording.
        hits: Case id to the hit that has a card on the page.
        word: Texts.
        refusal: Why there is no answer, where the page says that elsewhere already.
        picture: Whether a picture was asked with, whatever is known of its page.

    Returns:
        HTML, escaped.
    """
    return (
        f'<section class="ek ek-answer" aria-label="{escape(word("answer"), quote=True)}">'
        f'<div class="ek-say">{_flags(draft)}{_conclusion(draft, hits, word, refusal)}</div>'
        f'<div class="ek-measured">{_tiles(draft, word)}{_st(draft, word)}'
        f'<p class="ek-soft">{escape(source(draft, page, word, picture=picture))}</p></div></section>'
    )


def _flags(draft: DraftOut) -> str:
    out = ""
    for flag in draft.flags:
        if flag.severity == "note":
            continue
        rest = flag.text.removeprefix(flag.title).lstrip(". ")
        out += (
            f'<details class="ek-flag {escape(flag.severity, quote=True)}"><summary>{escape(flag.title)}</summary>'
            f"<p>{escape(rest)}</p></details>"
        )
    return out


def _conclusion(draft: DraftOut, hits: Mapping[str, HitOut], word: Words, refusal: str) -> str:
    lang: Lang = "de" if draft.language == "de" else "en"
    if draft.refusal:
        return "" if refusal else f'<p class="ek-conclusion">{escape(draft.refusal)}</p>'
    numbers = {item.number: item.case_id for item in draft.evidence}
    titles = {flag.title.rstrip(".") for flag in draft.flags}
    concluded = [one for one in draft.sentences if one.section == SECTION and one.text.rstrip(".") not in titles]
    # The rhythm is in no conclusion, and asked for first.
    rhythm = [one for one in draft.sentences if one.section == RHYTHM][:1]
    said = "".join(sentence_html(one, numbers, hits, word, folded=False, lang=lang) for one in (*rhythm, *concluded))
    return f'<div class="ek-conclusion">{said}</div>'


def _hot(draft: DraftOut) -> set[str]:
    """Names of values and leads that a flag speaks of."""
    return {name for flag in draft.flags if flag.severity != "note" for name in (*flag.measured, *flag.leads)}


def _tiles(draft: DraftOut, word: Words) -> str:
    hot = _hot(draft)
    out = ""
    for name, text, unit in TILES:
        value = draft.measurements.get(name)
        if value is None:
            why = draft.unmeasured.get(name, "")
            said = f'<dd class="ek-unknown">{escape(word("unknown"))}</dd>'
            out += f'<div title="{escape(why, quote=True)}"><dt>{escape(word(text))}</dt>{said}</div>'
            continue
        mark = ' class="hot"' if name in hot else ""
        out += f"<div{mark}><dt>{escape(word(text))}</dt><dd>{value:.0f}<small>{escape(unit)}</small></dd></div>"
    return f'<dl class="ek-tiles">{out}</dl>'


def _st(draft: DraftOut, word: Words) -> str:
    """ST at the J point in each lead, mV."""
    name = escape(word("m_st"))
    if not draft.st_mv:
        return f'<p class="ek-st"><b>{name}</b> <span class="ek-unknown">{escape(word("unknown"))}</span></p>'
    hot = _hot(draft)
    cells = ""
    for lead in LEADS:
        level = draft.st_mv.get(lead)
        kind = "hot" if lead in hot else "flat" if level is None or abs(level) < FLAT_MV else ""
        said = escape(word("unknown_short")) if level is None else f"{round(level, 2) + 0.0:+.2f}"
        cells += f'<li class="{kind}"><span>{lead}</span> {said}</li>'
    return f'<div class="ek-st"><b>{name}</b><ul>{cells}</ul></div>'


def source(draft: DraftOut, page: PageOut | None, word: Words, *, picture: bool = False) -> str:
    """Where the values come from, and which could not be told.

    Args:
        draft: With its measurements.
        page: What was read of a picture; None of a recording.
        word: Texts.
        picture: Whether a picture was asked with: not every encoder has its page read.

    Returns:
        One line.
    """
    if not draft.measurements and not draft.st_mv:
        return word("from_nothing_page" if page is not None or picture else "from_nothing")
    said = word("from_picture" if picture else "from_recording")
    if page is not None:
        speed, gain, assumed = paper_scale(page)
        said = word("from_print_assumed" if assumed else "from_print", speed=f"{speed:.3g}", gain=f"{gain:.3g}")
    missing = [
        f"{word(text)}: {draft.unmeasured.get(name) or word('unknown')}"
        for name, text, _ in TILES
        if name not in draft.measurements
    ]
    return ". ".join([said, *(f"{word('unknown')}: {'; '.join(missing)}" for _ in missing[:1])])
