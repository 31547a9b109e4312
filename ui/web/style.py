"""The style sheet of the page, for light and dark."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


def css(dark: bool, n_cards: int) -> str:
    """The style sheet as one element.

    Args:
        dark: Whether the page is dark.
        n_cards: Neighbours: hovering or focusing a citation of one lights up its card.
    """
    lit = "".join(
        f"body:has(a.ek-cite-{n}:is(:hover,:focus-visible)) .st-key-card-{n}"
        "{outline:3px solid var(--ek-main);outline-offset:-1px;box-shadow:0 0 0 6px var(--ek-shared)}"
        for n in range(1, n_cards + 1)
    )
    return f"<style>{asset('dark.css' if dark else 'light.css')}{asset('page.css')}{lit}</style>"


@cache
def asset(name: str) -> str:
    """A file of the folder `assets`."""
    return (files("ecgkin.ui.web") / "assets" / name).read_text(encoding="utf-8")
