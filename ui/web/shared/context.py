"""`Page`: what every panel is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import RateUnknownError
from ecgkin.ui.web.shared.texts import TEXTS, Words

if TYPE_CHECKING:
    from ecgkin.retrieval.errors import EcgkinError
    from ecgkin.ui.api.answers import InfoOut
    from ecgkin.ui.web.shared.state import Api
    from ecgkin.ui.web.shared.texts import Lang

# What the page's own reading of a file says in the words that the server has for it.
_KINDS = {"ImageError": "image", "RecordError": "record", "InputError": "input", "QueryError": "query"}


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


def show_error(error: EcgkinError, word: Words, files: Sequence[str] = ()) -> None:
    """A mistake or a failure in one box: what was found, and what to do next. As text, whatever it holds.

    Args:
        error: Whatever it is.
        word: Texts.
        files: Names of the files that were sent; the server has names of its own for them.
    """
    import streamlit as st

    said = re.sub(r"upload-(\d+)(\.\w+)?", lambda match: _named(match, files), str(error))
    hint = word("rate_hint") if is_rate(error) else error.hint
    kind = f"problem_{getattr(error, 'kind', '') or _KINDS.get(type(error).__name__, '')}".replace("-", "_")
    st.error(f"{word('problem')} {word(kind)}" if kind in TEXTS else word("problem"), icon=":material/error:")
    st.text("\n".join(line for line in (said, hint) if line))


def is_rate(error: EcgkinError) -> bool:
    """Whether all that is missing is the sampling rate."""
    return isinstance(error, RateUnknownError) or getattr(error, "kind", "") == "rate-unknown"


def _named(match: re.Match[str], files: Sequence[str]) -> str:
    number = int(match[1])
    return files[number - 1] if 1 <= number <= len(files) else match[0]
