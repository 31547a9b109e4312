"""Examples in docstrings as code on the docs site: paragraphs that begin with >>> go into fences (griffe extension)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^(?P<indent>[ \t]*)>>> .*(?:\n(?![ \t]*$).*)*)", re.MULTILINE)


def fenced(text: str) -> str:
    """The same docstring with its examples in fences.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2"))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    return _EXAMPLE.sub(lambda m: f"{m['indent']}```pycon\n{m[0]}\n{m['indent']}```", text)


class Examples(griffe.Extension):
    """Fences the examples of every object that has a docstring."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called by griffe for each object that it has read."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
