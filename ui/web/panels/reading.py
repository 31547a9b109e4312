"""What was read off a picture: the curves drawn over it, and what a visitor puts right before it is read again."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api.schemas import PageKnown
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.drawings import Area, Curve, points_mm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ecgkin.ui.api.answers import DigitizedOut, PageOut, PrintedLeadOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.drawings import Sheet
    from ecgkin.ui.web.shared.texts import Words

LAYOUTS = (
    "3x4", "3x4+1R", "3x4+2R", "3x4+3R", "6x2", "6x2+1R", "12x1", "12x1+1R", "6x1", "3x2", "2x6",
)  # fmt: skip
SPEEDS = (12.5, 25.0, 50.0, 100.0)
GAINS = (2.5, 5.0, 10.0, 20.0)
# Colours that stay apart for most people with a colour vision deficiency (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_ROOM_MM = 5.0
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def forget(work: Work) -> None:
    """Read the picture as it comes again.

    Args:
        work: The question, with what was put right.
    """
    work.query, work.found = replace(work.query, known=None), None
    _fields_away()


def _fields_away() -> None:
    import streamlit as st

    for name in ("fix-layout", "fix-speed", "fix-gain", "fix-swap", "fix-corners"):
        st.session_state.pop(name, None)


def curves_on(sheet: Sheet, found: DigitizedOut) -> Sheet:
    """The picture of a query with the curves that were followed, a colour a lead, doubtful parts marked.

    Args:
        sheet: Of the picture.
        found: What was read of it, with its curves.

    Returns:
        The sheet with its curves.
    """
    curves, areas = [], []
    for number, printed in enumerate(found.printed):
        name = f"{'-' if printed.upside_down else ''}{printed.lead}"
        every = points_mm([at for line in printed.lines for at in line.points], sheet.px_per_mm, sheet.turned_px)
        if every and printed.seconds > 0:
            areas.append(_area(every, printed))
        for part, line in enumerate(printed.lines):
            points = points_mm(line.points, sheet.px_per_mm, sheet.turned_px)
            colour = COLOURS[number % len(COLOURS)]
            curves.append(Curve(points, colour, line.doubtful, name if part == 0 else ""))
    return replace(sheet, curves=tuple(curves), areas=tuple(areas))


def _area(points: Sequence[tuple[float, float]], printed: PrintedLeadOut) -> Area:
    """Where a lead is on the picture: its curve with some room above and below it."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    top, height = min(ys) - _ROOM_MM, max(ys) - min(ys) + 2 * _ROOM_MM
    return Area(printed.lead, min(xs), top, max(xs) - min(xs), height, printed.start_s, printed.seconds)


def check_panel(page: Page, work: Work, shown: PageOut) -> DigitizedOut | None:
    """A switch for the curves over the picture, and the form that puts the reading right.

    Args:
        page: What every panel is given: language, texts, API, colours.
        work: The question, a picture.
        shown: What was understood of it.

    Returns:
        The curves to draw, None where they are not wanted or could not be read.
    """
    import streamlit as st

    word, query = page.word, work.query
    found = None
    with st.container(horizontal=True, vertical_alignment="center", key="reading", width="content"):
        wanted = st.toggle(word("check_curves"), help=word("check_help"), key="check-curves")
        with st.popover(word("put_right"), icon=":material/edit:"):
            _form(page, work, shown)
        if query.known is not None and st.button(word("as_read"), icon=":material/undo:", key="as-read"):
            forget(work)
            st.rerun()
    if wanted:
        try:
            found = page.api.digitized(query)
        except EcgkinError as error:
            show_error(error, word, [name for name, _ in query.files])
    return found


def summary(found: DigitizedOut, word: Words) -> str:
    """How well the curves were followed, in a line.

    Args:
        found: What was read of the picture.
        word: Texts.
    """
    if not found.digitized:
        return word("not_read_as_numbers")
    least = min(found.confidence.items(), key=lambda item: item[1], default=("", 0.0))
    law = word("law_unknown") if found.einthoven_db is None else word("law", db=f"{found.einthoven_db:.0f}")
    return f"{word('least_sure', lead=least[0], percent=f'{100 * least[1]:.0f}')} · {law} · {word('doubtful_red')}"


def _form(page: Page, work: Work, shown: PageOut) -> None:
    import streamlit as st

    word, before = page.word, work.query.known or PageKnown()
    with st.form("put-right", border=False):
        layout = st.selectbox(
            word("layout"), LAYOUTS, index=LAYOUTS.index(shown.layout) if shown.layout in LAYOUTS else None,
            placeholder=word("as_it_is"), key="fix-layout",
        )  # fmt: skip
        speed = st.selectbox(
            word("fix_speed"), SPEEDS, index=SPEEDS.index(shown.speed_mm_s) if shown.speed_mm_s in SPEEDS else None,
            placeholder=word("as_it_is"), format_func=lambda value: f"{value:g} mm/s", key="fix-speed",
        )  # fmt: skip
        gain = st.selectbox(
            word("fix_gain"), GAINS, index=GAINS.index(shown.gain_mm_mv) if shown.gain_mm_mv in GAINS else None,
            placeholder=word("as_it_is"), format_func=lambda value: f"{value:g} mm/mV", key="fix-gain",
        )  # fmt: skip
        swap = st.multiselect(word("fix_swap"), shown.leads, max_selections=2, key="fix-swap")
        corners = st.text_input(
            word("fix_corners"), placeholder=" ".join(f"{x:.0f},{y:.0f}" for x, y in shown.corners),
            value="" if before.corners is None else " ".join(f"{x:.0f},{y:.0f}" for x, y in before.corners),
            help=word("corners_help"), key="fix-corners",
        )  # fmt: skip
        if not st.form_submit_button(word("read_again"), type="primary", icon=":material/refresh:"):
            return
    known = put_right(before, shown, layout=layout, speed=speed, gain=gain, swap=swap, corners=corners)
    if isinstance(known, str):
        st.error(word(known))
        return
    work.query, work.found = replace(work.query, known=known), None
    st.session_state.pop("fix-swap", None)
    st.rerun()


def put_right(
    before: PageKnown,
    shown: PageOut,
    *,
    layout: str | None = None,
    speed: float | None = None,
    gain: float | None = None,
    swap: list[str] | None = None,
    corners: str = "",
) -> PageKnown | str:
    """What is known after a visitor filled in the form; what he left as it was read is not known by it.

    Args:
        before: What was known already.
        shown: What was read with that.
        layout, speed, gain: What the fields hold.
        swap: Two leads whose names are exchanged.
        corners: Eight numbers, x and y of the corners in turn; "" for the whole picture.

    Returns:
        What is known now, or the name of the text that says what is wrong.

    >>> from ecgkin.ui.api.answers import PageOut
    >>> page = PageOut(layout="3x4", n_rows=3, leads=[], px_per_mm=None, rotation_deg=0, quality=1, corners=[])
    >>> put_right(PageKnown(), page, layout="3x2", swap=["V1", "V2"]).model_dump(exclude_defaults=True)
    {'layout': '3x2', 'leads': {'V1': 'V2', 'V2': 'V1'}}
    """
    leads = dict(before.leads)
    if swap:
        if len(swap) != 2:
            return "two_to_swap"
        leads = _swapped(leads, swap[0], swap[1])
    numbers = [float(text) for text in _NUMBER.findall(corners)]
    if numbers and len(numbers) != 8:
        return "eight_numbers"
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True)) or None
    return PageKnown(
        layout=layout if layout != shown.layout else before.layout,
        leads=leads,
        speed_mm_s=speed if speed != shown.speed_mm_s else before.speed_mm_s,
        gain_mm_mv=gain if gain != shown.gain_mm_mv else before.gain_mm_mv,
        corners=pairs,
    )


def _swapped(leads: Mapping[str, str], one: str, other: str) -> dict[str, str]:
    """Names after two of them were exchanged; what is called as it was read is left out."""
    exchanged = {one: other, other: one}
    read = {*leads, one, other}
    now = {was: exchanged.get(leads.get(was, was), leads.get(was, was)) for was in read}
    return {was: name for was, name in sorted(now.items()) if was != name}
