"""The viewer of ECG pages as HTML: zoom, pan, calipers; one sheet, two at one scale, or two recordings overlaid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ecgkin.ui.web.shared.drawings import Sheet, framed
from ecgkin.ui.web.shared.style import asset
from ecgkin.ui.web.shared.texts import Words

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

# The page's own rules: nothing is fetched, and pictures come inside the document.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


# Of the window's height that a viewer takes at most.
SHARE = 0.8


def viewer_html(
    sheets: Sequence[tuple[Sheet, str, str]],
    word: Words,
    *,
    dark: bool,
    overlay: dict[str, Any] | None = None,
    share: float = SHARE,
    sized: bool = True,
) -> str:
    """A document of its own for an iframe.

    Args:
        sheets: Each with its title and caption; both are shown as text, whatever they hold.
        word: Texts in the page's language.
        dark: Whether the page is dark.
        overlay: Two recordings, from `drawings.overlay_data`.
        share: Of the window's height that it may take at most; it is no higher than its pages need.
        sized: Whether it sets its own height; else the style sheet of the page does.

    Returns:
        HTML.
    """
    pages = [
        {
            "src": sheet.src, "width": sheet.width_mm, "height": sheet.height_mm, "x": 0, "y": 0,
            "mm": sheet.scaled, "speed": sheet.speed_mm_s, "gain": sheet.gain_mm_mv, "assumed": sheet.assumed,
            "outline": sheet.outline, "marks": [asdict(mark) for mark in sheet.marks],
            "curves": [
                {"points": [(round(x, 2), round(y, 2)) for x, y in curve.points], "colour": curve.colour,
                 "doubtful": curve.doubtful, "name": curve.name}
                for curve in sheet.curves
            ],
            "areas": [asdict(area) for area in sheet.areas],
            "frame": framed(sheet.outline, (sheet.width_mm, sheet.height_mm)),
            "title": title, "caption": caption,
        }
        for sheet, title, caption in sheets
    ]  # fmt: skip
    names = {
        "calipers": "v_calipers", "fit": "v_fit", "zoom_in": "v_in", "zoom_out": "v_out", "hint": "v_hint",
        "hint_calipers": "v_hint_calipers", "bpm": "v_bpm", "shift": "v_shift", "no_scale": "scale_unknown",
        "stack": "v_stack", "assumed": "v_assumed", "region": "v_region", "hint_region": "v_hint_region",
    }  # fmt: skip
    shown = {key: word(name) for key, name in names.items()}
    data = {"dark": dark, "share": share, "sized": sized, "pages": pages, "overlay": overlay, "texts": shown}
    # "<" as a reference: no text can end the script element.
    packed = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<!doctype html><html lang="{word("v_lang")}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>ECG</title>'
        f"<style>{asset('viewer.css')}</style></head>"
        f"<body><script>const DATA = {packed};</script><script>{asset('viewer.js')}</script></body></html>"
    )


def height_css(
    place: str,
    size_mm: tuple[float, float],
    across: int = 1,
    *,
    share: float = SHARE,
    phone_mm: tuple[float, float] | None = None,
    phone_bars: int = 1,
) -> str:
    """The height of a viewer as a rule, so that nothing moves when its page comes.

    It is as wide as the window, no higher than most of it, and never below 3.8 px a millimetre where there is room.

    Args:
        place: Class of the room that is kept for the viewer.
        size_mm: Width and height of what it shows.
        across: How many of these it shows beside each other.
        share: Of the window's height that it may take at most.
        phone_mm: Width and height of what it shows on a phone, where that is another drawing.
        phone_bars: Lines that its buttons take there.

    Returns:
        A `<style>` element.
    """
    (width, height), (narrow, high) = size_mm, phone_mm or size_mm
    return (
        f"<style>.{place} {{ --ek-w: {width:.1f}; --ek-h: {height:.1f}; --ek-n: {across}; "
        f"--ek-most: {100 * share:.0f}vh; }} "
        f"@media (max-width: 600px) {{ .{place} {{ --ek-w: {narrow:.1f}; --ek-h: {high:.1f}; "
        f"--ek-bars: {phone_bars}; }} }}</style>"
    )


def show(html: str, height_px: int, key: str, room: DeltaGenerator | None = None) -> None:
    """Put a viewer on the page; it takes the height that it needs, `height_px` until then.

    Args:
        html: From `viewer_html`.
        height_px: Height at first.
        key: Names its place in the page's style sheet and tests.
        room: A place of that name that is there already.
    """
    import streamlit as st

    with room if room is not None else st.container(key=key):
        st.iframe(html, height=height_px)
