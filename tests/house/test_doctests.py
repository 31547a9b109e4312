"""The examples in the docstrings run.

`pytest --doctest-modules` would load a second copy of every module under its path, so each is imported by its name.
"""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("retrieval", "generation", "index", "ui") for path in (ROOT / folder).rglob("*.py"))
NAMES = [
    ".".join(("ecgkin", *path.relative_to(ROOT).with_suffix("").parts))
    for path in FILES
    if re.search(r"^\s*>>> ", path.read_text("utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str) -> None:
    """Each example prints what its docstring says."""
    module = importlib.import_module(name.removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0, f"{name} shows >>> but no example was found"
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name} print something else"
