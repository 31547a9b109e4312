"""What people type who describe a finding without naming it: training texts of the text tower.

The sentences stand in `descriptions.json` beside this file, for each of the 71 statements in English and German:
criteria, mechanisms, appearance, measured values, lay wording, requests, keywords, a few common misspellings. They
were written for this project from clinical knowledge; none is a report, and none is a query of the evaluation (a test
compares them with `retrieval.evaluation.text_search`, where these must stay unseen by the training).

>>> len(descriptions("AFLT")) > 40, "saw-tooth baseline in II, III and aVF" in descriptions("AFLT")
(True, True)
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from ecgkin.retrieval.ecg.statements import statement
from ecgkin.retrieval.errors import QueryError

LANGUAGES: tuple[str, ...] = ("en", "de")


@cache
def _texts() -> dict[str, dict[str, list[str]]]:
    path = files("ecgkin.retrieval.encoders").joinpath("descriptions.json")
    raw: dict[str, dict[str, list[str]]] = json.loads(path.read_text("utf-8"))
    return raw


@cache
def descriptions(code: str, language: str | None = None) -> tuple[str, ...]:
    """Sentences that describe one statement, in the order of the file.

    Args:
        code: SCP code as PTB-XL writes it ("LAO/LAE", "NST_"); other cases of letters are understood.
        language: "en" or "de"; None for the English ones followed by the German ones.

    Raises:
        QueryError: There is no such statement (the message names near codes) or no such language.
    """
    if language is not None and language not in LANGUAGES:
        raise QueryError(
            f"no descriptions in language {language!r}, expected one of {', '.join(LANGUAGES)}",
            hint="leave the language out for all of them",
        )
    of = _texts()[statement(code).code]
    return tuple(text for name in LANGUAGES if language in (None, name) for text in of[name])
