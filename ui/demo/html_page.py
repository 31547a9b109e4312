"""The demo's page: one ECG beside its most similar cases, as one HTML file that needs nothing else.

Reports, labels and names come from case bases and are untrusted: Jinja escapes them all. Only the drawings, which
`render_svg` makes and escapes itself, go in as they are, and the page's own policy forbids every script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from ecgkin.ui.console import safe

if TYPE_CHECKING:
    from jinja2 import Template

    from ecgkin.retrieval.ecg.record import EcgRecord

NOTICE = "Supports and does not replace a clinician. For research and education, not for diagnosis."
# 250 Hz keeps a pacing spike visible at the size of a card, and a page of eleven drawings at about 1.5 MB.
CARD_FS_HZ = 250.0
# A page of 274 x 150 mm instead of Letter: rows 32 mm apart, so that ten drawings can be compared without much paper.
CARD_PX_PER_MM = 4.0
CARD_MM = (274, 150)


@dataclass(frozen=True, slots=True)
class Chip:
    """One statement of a case.

    Attributes:
        code, name: SCP code and its English name.
        shared: Whether the query's own record carries it, too.
    """

    code: str
    name: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One ECG as the page shows it.

    Attributes:
        case_id: Its name in the case base.
        svg: Drawing made by `render_svg`.
        report: Text of the report, "" where there is none.
        chips: Its statements.
        person: Age and sex in words, "" where unknown.
        rank, score: Place from 1 and cosine; None for the query.
        language: ISO 639-1 code of the report; "" where unknown.
    """

    case_id: str
    svg: str
    report: str = ""
    chips: tuple[Chip, ...] = ()
    person: str = ""
    rank: int | None = None
    score: float | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the vote.

    Attributes:
        code, name: Statement or superclass.
        share: 0 to 1.
        true: Whether the query's own record carries it.
    """

    code: str
    name: str
    share: float
    true: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page says.

    Attributes:
        query: The ECG that was asked about.
        hits: Its neighbours, nearest first.
        source: Where the cases come from, in words.
        n_cases: How many were searched.
        statements, superclasses: The vote.
        vote_title: What the bars are.
        warnings: What a reader must know, in words: simulated cases, nothing similar, an unread part of the page.
        facts: Further lines for the foot (encoder, time).
    """

    query: Card
    hits: Sequence[Card]
    source: str
    n_cases: int
    statements: Sequence[Bar] = ()
    superclasses: Sequence[Bar] = ()
    vote_title: str = "Vote of the neighbours"
    warnings: Sequence[str] = ()
    facts: Sequence[str] = field(default_factory=tuple)


def page_html(page: Page) -> str:
    """The page as one HTML document."""
    return _template().render(page=page, notice=NOTICE)


def drawing_svg(record: EcgRecord, *, fs_hz: float = CARD_FS_HZ) -> str:
    """Drawing of a record for the page: 3x4 with a rhythm strip, no more samples and paper than the eye can use.

    Args:
        record: Any recording.
        fs_hz: Samples a second that are drawn at most.

    Returns:
        An SVG document.
    """
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle
    from ecgkin.retrieval.ecg.drawing.svg import render_svg

    width_px, height_px = (round(side * CARD_PX_PER_MM) for side in CARD_MM)
    style = RenderStyle(px_per_mm=CARD_PX_PER_MM, width_px=width_px, height_px=height_px, line_width_mm=0.35)
    return render_svg(record.resampled(fs_hz) if record.fs_hz > fs_hz else record, style)


def chips(labels: Iterable[str], shared_with: Iterable[str] = ()) -> tuple[Chip, ...]:
    """Statements in the fixed order of the vocabulary, those outside it last.

    Args:
        labels: Statement codes of a case.
        shared_with: Those of the query, which are marked.

    Returns:
        One chip a statement.
    """
    from ecgkin.retrieval.ecg.statements.catalogue import CODES

    place = {code: number for number, code in enumerate(CODES)}
    common = set(shared_with)
    ordered = sorted(labels, key=lambda code: (place.get(code, len(place)), code))
    return tuple(Chip(code, statement_name(code), code in common) for code in ordered)


def statement_name(code: str) -> str:
    """English name of a statement or superclass; the code itself where it is neither."""
    from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASS_NAMES, statement

    if code in CODES:
        return statement(code).name_en
    return SUPERCLASS_NAMES[code][0] if code in SUPERCLASS_NAMES else code


def bars(shares: Mapping[str, float], true: Iterable[str], n: int, at_least: float = 0.02) -> tuple[Bar, ...]:
    """The n largest shares, none below `at_least`.

    Args:
        shares: Statement or superclass to its share, 0 to 1.
        true: Codes of the query's own record, which are marked.
        n: Most bars.
        at_least: Least share that is shown.

    Returns:
        Largest first.
    """
    own = set(true)
    top = sorted(shares.items(), key=lambda item: -item[1])[:n]
    return tuple(Bar(code, statement_name(code), share, code in own) for code, share in top if share >= at_least)


def person(age_years: float | None, sex: str | None) -> str:
    """Age and sex in words.

    Args:
        age_years: None where unknown.
        sex: "F", "M" or None.

    Returns:
        "63 y, F", or what of it is known.

    >>> person(62.0, "F"), person(None, "M"), person(None, None)
    ('62 years, female', 'male', '')
    """
    parts = [f"{age_years:.0f} years"] if age_years is not None else []
    if sex in ("F", "M"):
        parts.append("female" if sex == "F" else "male")
    return ", ".join(parts)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def trusted(svg: str) -> Any:
        return Markup(svg)

    loader = PackageLoader("ecgkin.ui.demo", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["drawing"] = trusted
    environment.filters["clean"] = safe
    return environment.get_template("demo.html.jinja2")
