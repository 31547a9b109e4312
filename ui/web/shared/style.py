"""The style sheet of the page, for light and dark."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from ecgkin.ui.web.shared.texts import Lang, words

# As many cards as a search can have on this page.
MOST_CARDS = 50

_CROP = ("crop", "crop_hint", "crop_corner", "crop_use", "crop_whole", "crop_cancel")


@cache
def css(dark: bool, lang: Lang) -> str:
    """The style sheet as one element.

    Hovering or focusing a citation lights up its card, and a card its citations.

    Args:
        dark: Whether the page is dark.
        lang: Of the words beside the button for files, which Streamlit has in English alone.

    Returns:
        A `<style>` element.
    """
    lit = "".join(
        f"body:has(a.ek-cite-{n}:is(:hover,:focus-visible)) .st-key-card-{n}"
        "{outline:3px solid var(--ek-main);outline-offset:-1px;box-shadow:0 0 0 6px var(--ek-shared)}"
        f"body:has(.st-key-card-{n}:hover) a.ek-cite-{n}{{background:var(--ek-main);color:var(--ek-on-main)!important}}"
        for n in range(1, MOST_CARDS + 1)
    )
    word = words(lang)
    drop = f'[data-testid="stFileUploaderDropzone"]::after{{content:"{word("drop")}"}}'
    if lang != "en":
        choose = '[data-testid="stFileUploaderDropzone"] [data-testid="stMarkdownContainer"] p'
        drop += f'{choose}{{font-size:0!important}}{choose}::after{{content:"{word("choose_file")}";font-size:.875rem}}'
    return f"<style>{asset('dark.css' if dark else 'light.css')}{asset('page.css')}{lit}{drop}</style>"


@cache
def asset(name: str) -> str:
    """A file of the folder `assets`."""
    return (files("ecgkin.ui.web") / "assets" / name).read_text(encoding="utf-8")


@cache
def script(lang: Lang = "en") -> str:
    """What runs in the page: cards, focus, small pictures; fixed text, nothing of a case in it.

    Args:
        lang: Of the words on the frame that crops a photo.
    """
    word = words(lang)
    said = json.dumps({name: word(name) for name in _CROP}).replace("<", "\\u003c")
    return f"<script>window.ecgkinWords = {said};\n{asset('page.js')}\n{asset('upload.js')}</script>"
