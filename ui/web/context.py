"""`Page`: what every panel is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecgkin.ui.web.texts import Words

if TYPE_CHECKING:
    from ecgkin.retrieval.errors import EcgkinError
    from ecgkin.ui.api.answers import InfoOut
    from ecgkin.ui.web.state import Api
    from ecgkin.ui.web.texts import Lang


@dataclass(frozen=True)
class Page:
    """What every panel is given.

    Attributes:
        api: The server.
        info: What runs there.
        lang: Language of the page.
        word: Texts in it.
        dark: Whether the page is dark.
    """

    api: Api
    info: InfoOut
    lang: Lang
    word: Words
    dark: bool


def show_error(error: EcgkinError, word: Words) -> None:
    """A mistake or a failure in one box: what was found, and what to do next. As text, whatever it holds."""
    import streamlit as st

    lines = [str(error), error.hint]
    st.error(word("problem"), icon=":material/error:")
    st.text("\n".join(line for line in lines if line))
